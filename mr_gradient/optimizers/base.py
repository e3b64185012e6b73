"""What an optimizer is, and how its state is kept in a checkpoint.

Parameters and gradients are flat vectors (size,); a gradient is that of the objective: the mean
over examples plus the penalties' gradient. Nothing is changed in place, so a driver that is killed
or that retries an update has lost nothing.

There are two kinds. An ``Optimizer`` makes new parameters from each gradient. A ``Search`` is asked
between jobs at which points the next job shall evaluate the objective, and told what was found; its
parameters change only when a point is accepted. ``EachGradient`` makes the first the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from mr_gradient.errors import DataError


class Optimizer(Protocol):
    """``init`` makes the state for parameters; ``update`` returns new parameters and state."""

    def init(self, parameters: np.ndarray) -> Any: ...

    def update(self, gradient: np.ndarray, state: Any,
               parameters: np.ndarray) -> tuple[np.ndarray, Any]: ...


class Evaluation(NamedTuple):
    """What a job finds at one point.

    ``objective`` is the mean loss plus the smooth penalties; ``gradient`` (size,) and ``hessian``
    (size, size), in float64 where a search wants it, are its derivatives.
    """

    objective: float
    gradient: np.ndarray
    hessian: np.ndarray | None = None


class Search(Protocol):
    """A batch optimizer as a state machine that rests between jobs.

    ``points`` are the vectors (size,) to evaluate in the next job, and ``update`` takes their
    evaluations in this order. The parameters that it returns are always usable as a model: the last
    point accepted. ``reason`` is empty while the search goes on, and then says why it has ended;
    after that ``points`` is empty, and so the last job is the one before.
    """

    #: Whether the evaluations must hold Hessians.
    wants_hessian: bool

    def init(self, parameters: np.ndarray) -> Any: ...

    def points(self, state: Any, parameters: np.ndarray) -> list[np.ndarray]: ...

    def update(self, evaluations: Sequence[Evaluation], state: Any,
               parameters: np.ndarray) -> tuple[np.ndarray, Any]: ...

    def reason(self, state: Any) -> str: ...


@dataclass(frozen=True)
class EachGradient:
    """A first-order optimizer as a search: every job evaluates the parameters, and every gradient
    moves them. Its state is the optimizer's, and it never ends."""

    optimizer: Optimizer
    wants_hessian = False

    def init(self, parameters: np.ndarray) -> Any:
        return self.optimizer.init(parameters)

    def points(self, state: Any, parameters: np.ndarray) -> list[np.ndarray]:
        return [parameters]

    def update(self, evaluations: Sequence[Evaluation], state: Any,
               parameters: np.ndarray) -> tuple[np.ndarray, Any]:
        return self.optimizer.update(evaluations[0].gradient, state, parameters)

    def reason(self, state: Any) -> str:
        return ""


def pack(state: NamedTuple) -> dict[str, np.ndarray]:
    """State as named arrays for a checkpoint.

    Scalars become 0-d arrays, the fields of a state in a state ``outer.inner``, and a tuple of
    arrays ``name.0``, ``name.1``... The arrays are the state's own: one that an update did not
    replace is the same object in the next packing, so a writer need not write it again.
    """
    arrays = {}
    for name, value in state._asdict().items():
        if hasattr(value, "_asdict"):
            inner = pack(value)
        elif isinstance(value, tuple):
            inner = {str(index): array for index, array in enumerate(value)}
        else:
            arrays[name] = np.asarray(value)
            continue
        arrays |= {f"{name}.{key}": array for key, array in inner.items()}
    return arrays


def unpack(example: NamedTuple, arrays: dict[str, np.ndarray]) -> Any:
    """The inverse of ``pack``: ``example`` gives the type, the shapes and the dtypes.

    A tuple takes as many arrays as there are: the history of a search grows.
    """
    return _unpack(example, arrays, "")


def _unpack(example: NamedTuple, arrays: dict[str, np.ndarray], prefix: str) -> Any:
    fields = {}
    for name, value in example._asdict().items():
        key = prefix + name
        if hasattr(value, "_asdict"):
            fields[name] = _unpack(value, arrays, key + ".")
            continue
        if isinstance(value, tuple):
            members = []
            while (member := arrays.get(f"{key}.{len(members)}")) is not None:
                members.append(member.copy())
            fields[name] = tuple(members)
            continue
        expected, found = np.asarray(value), arrays.get(key)
        if found is None or found.shape != expected.shape or found.dtype != expected.dtype:
            raise DataError(f"optimizer state {key!r} must be {expected.dtype}{expected.shape}, "
                            f"found {'nothing' if found is None else f'{found.dtype}{found.shape}'}")
        fields[name] = type(value)(found) if np.isscalar(value) else found.copy()
    return type(example)(**fields)


def vectors(state: NamedTuple) -> list[str]:
    """Names, as ``pack`` has them, of the parts of a state that are vectors like the parameters."""
    return [name for name, array in pack(state).items() if array.ndim == 1]
