"""What an optimizer is, and how its state is kept in a checkpoint.

Parameters and gradients are flat vectors (size,); a gradient is that of the objective: the mean
over examples plus the penalties' gradient. Nothing is changed in place, so a driver that is killed
or that retries an update has lost nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from mr_gradient.errors import DataError


class Optimizer(Protocol):
    """``init`` makes the state for parameters; ``update`` returns new parameters and state."""

    def init(self, parameters: np.ndarray) -> Any: ...

    def update(self, gradient: np.ndarray, state: Any,
               parameters: np.ndarray) -> tuple[np.ndarray, Any]: ...


def pack(state: NamedTuple) -> dict[str, np.ndarray]:
    """State as named arrays for a checkpoint; scalars become 0-d arrays."""
    return {name: np.asarray(value) for name, value in state._asdict().items()}


def unpack(example: NamedTuple, arrays: dict[str, np.ndarray]) -> Any:
    """The inverse of ``pack``: ``example`` gives the type, the shapes and the dtypes."""
    fields = {}
    for name, value in example._asdict().items():
        expected, found = np.asarray(value), arrays.get(name)
        if found is None or found.shape != expected.shape or found.dtype != expected.dtype:
            raise DataError(f"optimizer state {name!r} must be {expected.dtype}{expected.shape}, "
                            f"found {'nothing' if found is None else f'{found.dtype}{found.shape}'}")
        fields[name] = type(value)(found) if np.isscalar(value) else found.copy()
    return type(example)(**fields)
