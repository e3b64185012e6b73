"""What the tests of sparse data share: examples with empty rows, as arrays and as CSR."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

WIDTH = 40


class Examples(NamedTuple):
    """The same features twice; labels are classes."""

    dense: np.ndarray
    sparse: Any
    y: np.ndarray
    weight: np.ndarray


def examples(rows: int = 300, width: int = WIDTH, density: float = 0.1, classes: int = 3,
             dtype: type = np.float32, ones: bool = False, seed: int = 0) -> Examples:
    """Every seventh row has no features, the last column has no examples."""
    from scipy.sparse import csr_array

    generator = np.random.default_rng([seed, rows, width])
    x = np.ones((rows, width)) if ones else generator.standard_normal((rows, width))
    x[generator.random((rows, width)) >= density] = 0
    x[::7] = 0
    x[:, -1] = 0
    y = generator.integers(0, classes, rows).astype(np.uint8)
    weight = generator.uniform(0.1, 3, rows)
    return Examples(x.astype(dtype), csr_array(x.astype(dtype)), y, weight)
