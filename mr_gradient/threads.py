"""BLAS on one thread in every computing process (law 2); parallelism comes from splits.

Import this before numpy where that is possible: the environment variables then keep the pool of
BLAS threads from being made at all, and every process started from here inherits them.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
             "VECLIB_MAXIMUM_THREADS", "OMP_NUM_THREADS")


def set_environment() -> None:
    """Ask every BLAS that is loaded from now on, here or in a child, for one thread."""
    for name in VARIABLES:
        os.environ[name] = "1"


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold a BLAS that is already loaded to one thread, and give the user's setting back after.

    Driver only: tasks load numpy after ``set_environment`` and need no threadpoolctl.
    """
    saved = {name: os.environ.get(name) for name in VARIABLES}
    loaded = "numpy" in sys.modules
    set_environment()
    try:
        if loaded:
            from threadpoolctl import threadpool_limits

            with threadpool_limits(limits=1, user_api="blas"):
                yield
        else:
            yield
    finally:
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
