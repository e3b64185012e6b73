"""A guard around a user's own model: every mistake is one line that names the model.

What it looks at costs nothing beside a model's work; ``check`` looks closer, once.
"""

from __future__ import annotations

import re
import traceback
from functools import cached_property
from operator import index
from typing import Any, NoReturn

import numpy as np

from mr_gradient.errors import ModelError, MrGradientError
from mr_gradient.models.base import Model, Tensor
from mr_gradient.models.source_code import line_of

_METHODS = ("tensors", "init", "accumulate", "predict")
_SUMS = ("loss", "correct", "squared_error")


class Guard:
    """The four methods of ``base.Model`` over those of ``own``, which ``name`` names in messages.

    ``kind`` and ``classes`` are the target's. Raises ``ModelError`` where ``own`` breaks the
    protocol or fails; its ``details`` hold the traceback.
    """

    def __init__(self, own: Model, name: str, kind: str, classes: int) -> None:
        self._own, self.name = own, name
        self._kind, self._classes = kind, classes
        missing = [each for each in _METHODS if not callable(getattr(own, each, None))]
        if missing:
            self.fail(f"must have the methods {', '.join(_METHODS)}; found a {type(own).__name__} "
                      f"without {', '.join(missing)}; see mr_gradient/models/base.py")

    def fail(self, what: str, details: str = "") -> NoReturn:
        raise ModelError(f"model {self.name}: {what}", details)

    def _call(self, method: str, *arguments: Any, **named: Any) -> Any:
        try:
            return getattr(self._own, method)(*arguments, **named)
        except MrGradientError:
            raise
        except Exception as error:
            said = " ".join(str(error).split())
            self.fail(f"{method} failed: {type(error).__name__}: {said}"
                      f"{line_of(error, self.name.rpartition(':')[0])}", traceback.format_exc())

    def tensors(self) -> dict[str, Tensor]:
        return dict(self._tensors)

    @cached_property
    def _tensors(self) -> dict[str, Tensor]:
        found = self._call("tensors")
        if not isinstance(found, dict) or not found:
            self.fail("tensors() must return a dictionary from names to Tensor(shape, penalized), "
                      f"found {found!r:.80}")
        tensors = {}
        for name, tensor in found.items():
            if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_][\w.-]*", name)):
                self.fail("tensors(): a name must be of letters, digits, '_', '.' and '-', found "
                          f"{name!r:.80}")
            try:
                shape, penalized = tuple(map(index, tensor.shape)), bool(tensor.penalized)
            except (AttributeError, TypeError):
                self.fail(f"tensors(): {name!r} must be Tensor(shape, penalized) of "
                          f"mr_gradient.models.base, found {tensor!r:.80}")
            if any(size < 1 for size in shape):
                self.fail(f"tensors(): {name!r} must have a shape of sizes from 1, found {shape}")
            tensors[name] = Tensor(shape, penalized)
        return tensors

    def init(self, seed: int) -> dict[str, np.ndarray]:
        """In float64."""
        found = self._call("init", seed)
        if not isinstance(found, dict) or set(found) != set(self._tensors):
            names = sorted(found) if isinstance(found, dict) else f"{found!r:.80}"
            self.fail(f"init must return the tensors {sorted(self._tensors)}, found {names}")
        return {name: self._numbers(f"init: {name!r}", found[name], tensor.shape).astype(np.float64)
                for name, tensor in self._tensors.items()}

    def _numbers(self, what: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
        """An array of numbers of a shape."""
        try:
            array = np.asarray(value)
        except Exception:  # what a user's object may raise is not ours to list
            array = np.asarray(None)
        if array.dtype.kind not in "fiub" or array.shape != shape:
            self.fail(f"{what} must be numbers {shape}, found {array.dtype}{array.shape}")
        return array

    def accumulate(self, parameters: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray,
                   weight: np.ndarray | None, gradient: dict[str, np.ndarray] | None,
                   generator: np.random.Generator | None = None) -> dict[str, float]:
        given = None if gradient is None else dict(gradient)
        sums = self._call("accumulate", parameters, x, y, weight, given, generator=generator)
        for name in given or ():
            if name not in gradient:
                self.fail(f"accumulate: there is no tensor {name!r} to add a gradient to; tensors() "
                          f"names {', '.join(gradient)}")
            if given[name] is not gradient[name]:
                other = np.asarray(given[name])
                self.fail(f"accumulate must add in place: gradient[{name!r}] += ...; found it replaced "
                          f"by {other.dtype}{other.shape}")
        if not isinstance(sums, dict) or "loss" not in sums:
            self.fail("accumulate must return a dictionary with 'loss', the sum over the examples, "
                      f"found {sums!r:.80}")
        return {name: self._sum(name, value) for name, value in sums.items()}

    def _sum(self, name: str, value: Any) -> float:
        if name not in _SUMS:
            self.fail(f"accumulate must return sums of {', '.join(_SUMS)} only, found {name!r:.80}")
        try:
            return float(value)
        except Exception:
            self.fail(f"accumulate: {name!r} must be a number, found {value!r:.80}")

    def predict(self, parameters: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        rows = (x.shape[0],)
        shape = (*rows, self._classes) if self._kind == "class" else rows
        what = "predict: class probabilities" if self._kind == "class" else "predict: values"
        return self._numbers(what, self._call("predict", parameters, x), shape)
