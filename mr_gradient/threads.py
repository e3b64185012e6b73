"""BLAS on one thread in every computing process (law 2); parallelism comes from splits.

Import this before numpy where that is possible: the environment variables then keep the pool of
BLAS threads from being made at all, and every process started from here inherits them.
"""

from __future__ import annotations

import os

VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
             "VECLIB_MAXIMUM_THREADS", "OMP_NUM_THREADS")


def set_environment() -> None:
    """Ask every BLAS that is loaded from now on, here or in a child, for one thread."""
    for name in VARIABLES:
        os.environ[name] = "1"
