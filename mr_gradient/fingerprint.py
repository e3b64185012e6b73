"""What the bits depend on: numpy build, BLAS and its kernels, CPU type (law 2).

Every split's summary carries the fingerprint of the process that computed it. Equal fingerprints
promise equal bits; the driver warns once when a job mixes two.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform

import numpy as np


def _cpu_features() -> list[str]:
    try:
        from numpy._core._multiarray_umath import __cpu_features__ as features
    except ImportError:  # numpy 1.x
        from numpy.core._multiarray_umath import __cpu_features__ as features
    return sorted(name for name, present in features.items() if present)


#: Variables that choose the kernels of BLAS and numpy. A task on a cluster gets the driver's only if
#: they are passed on.
KERNELS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS",
            "BLIS_ARCH_TYPE", "NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES")


@functools.cache
def describe() -> dict[str, str]:
    """The parts, in words: ``numpy``, ``blas``, ``cpu`` and the ``digest`` of them all."""
    build = np.show_config(mode="dicts") or {}
    blas = build.get("Build Dependencies", {}).get("blas", {})
    parts = {"numpy": np.__version__,
             "blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
             "cpu": platform.machine()}
    chosen = {name: os.environ[name] for name in KERNELS if name in os.environ}
    everything = json.dumps([parts, blas, _cpu_features(), chosen], sort_keys=True, default=str)
    return {**parts, "digest": hashlib.sha256(everything.encode()).hexdigest()[:12]}
