"""A close look at a model before it is trained: its sums, its weights and its gradient.

The gradient is compared with central differences of the loss in float64, as HIPS/autograd's
``test_util`` does: at the coordinates where it is largest, at random ones, and along a random
direction within each tensor, which no wrong coordinate escapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn

import numpy as np

from mr_gradient.models.base import Model, layout
from mr_gradient.models.guard import Guard

ROWS = 7
#: The gradient's buffers begin at this, so that a model that assigns instead of adding is found.
_ALREADY_THERE = 0.75
#: How far from its start a model is looked at: at zeros, much is symmetric.
_AWAY = 0.05
#: Of sums in another order, relative.
_ROUNDING = 1e-3


class _Rows(NamedTuple):
    x: Any
    y: np.ndarray
    weight: np.ndarray | None

    def row(self, number: int) -> _Rows:
        """One row alone, with no weight."""
        return _Rows(self.x[number:number + 1], self.y[number:number + 1], None)


def check_model(model: Model, features: int, kind: str, classes: int,
                rows: Callable[[np.dtype], tuple] | None = None, seed: int = 0) -> None:
    """Raises ``ModelError`` with what is wrong, and with the tensor whose gradient is.

    ``kind``: ``class``, or ``value`` with 0 ``classes``. ``rows``: from a type to a few examples
    ``(x, y)`` of that type; made up if it is None.
    """
    guard = getattr(model, "guard", None) or Guard(model, type(model).__name__, kind, classes)
    _Check(guard, rows or made_up(features, kind, classes, seed), seed).all()


def made_up(features: int, kind: str, classes: int, seed: int) -> Callable[[np.dtype], tuple]:
    """Normal features, and labels of every class if there are enough rows."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((ROWS, features))
    y = (generator.standard_normal(ROWS) if kind == "value"
         else np.arange(ROWS, dtype=np.int64) % classes)
    return lambda dtype: (x.astype(dtype), y)


class _Check:
    """What is looked at, in the order in which a first mistake explains later ones."""

    def __init__(self, guard: Guard, rows: Callable[[np.dtype], tuple], seed: int) -> None:
        self._guard, self._rows_of = guard, rows
        self._layout = layout(guard)
        self._generator = np.random.default_rng(np.random.SeedSequence([seed, 1]))
        start, again = guard.init(seed), guard.init(seed)
        for name, array in start.items():
            if not np.isfinite(array).all():
                guard.fail(f"init: {name!r} has values that are not finite")
            if not np.array_equal(array, again[name]):
                guard.fail(f"init: {name!r} must be the same for the same seed; draw it from "
                           "numpy.random.default_rng(seed)")
        self._flat = self._layout.flatten(start, np.float64)
        self._flat += _AWAY * self._generator.standard_normal(self._flat.size)
        x, y = rows(np.dtype(np.float64))
        self._weight = self._generator.uniform(0.5, 2.0, len(y))
        self._rows = self._held(_Rows(x, y, self._weight))

    @staticmethod
    def _held(rows: _Rows) -> _Rows:
        """With arrays that refuse to be written to."""
        for array in (rows.x, rows.y, rows.weight):
            if isinstance(array, np.ndarray):
                array.setflags(write=False)
        return rows

    def all(self) -> None:
        with np.errstate(all="ignore"):
            loss, gradient = self._with_gradient(self._rows)
            self._finite(loss, gradient)
            if self._loss(self._rows) != loss:
                self._fail("accumulate: the loss must be the same when the same examples come again, "
                           "and with gradient=None; draw what is random from generator, which may be "
                           "None")
            self._sums(loss, gradient)
            self._gradient(gradient, self._in_float32() == loss)
            self._predictions()

    def _fail(self, what: str) -> NoReturn:
        """With the way out, in case it is this check that is wrong."""
        self._guard.fail(what + "; --skip-model-check trains all the same")

    def _parameters(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        flat = flat.view()
        flat.setflags(write=False)
        return self._layout.views(flat)

    def _loss(self, rows: _Rows) -> float:
        return self._guard.accumulate(self._parameters(self._flat), *rows, None)["loss"]

    def _with_gradient(self, rows: _Rows) -> tuple[float, np.ndarray]:
        gradient = np.full(self._flat.size, _ALREADY_THERE)
        loss = self._guard.accumulate(self._parameters(self._flat), *rows,
                                      self._layout.views(gradient))["loss"]
        return loss, gradient - _ALREADY_THERE

    def _finite(self, loss: float, gradient: np.ndarray) -> None:
        if not np.isfinite(loss):
            self._fail(f"accumulate: the loss of {len(self._rows.y)} examples near init is {loss}; "
                       "guard exponentials and logarithms")
        for name, part in self._layout.views(gradient).items():
            if not np.isfinite(part).all():
                self._fail(f"accumulate: the gradient of {name!r} is not finite near init")

    def _sums(self, loss: float, gradient: np.ndarray) -> None:
        """Of all rows: those of each row alone, times its weight, added up."""
        each = [self._with_gradient(self._rows.row(number)) for number in range(len(self._weight))]
        expected = float(sum(w * one for w, (one, _) in zip(self._weight, each)))
        total = sum(w * one for w, (_, one) in zip(self._weight, each))
        rules = "accumulate must add up sums over examples, each times its weight, never means: "
        if not np.isclose(loss, expected, rtol=_ROUNDING, atol=1e-6):
            self._fail(f"{rules}the loss of {len(each)} examples is {loss:.6g}, but one by one they "
                       f"have {expected:.6g}")
        for name, found in self._layout.views(gradient).items():
            wanted = self._layout.views(total)[name]
            scale = float(np.abs(wanted).max())
            if not np.allclose(found, wanted, rtol=_ROUNDING, atol=_ROUNDING * scale + 1e-6):
                self._fail(f"{rules}the gradient of {name!r} for {len(each)} examples is not what they "
                           "have one by one")

    def _in_float32(self) -> float:
        """The loss in float32, where everything must be finite too."""
        dtype = np.dtype(np.float32)
        x, y = self._rows_of(dtype)
        gradient = np.zeros(self._flat.size, dtype)
        loss = self._guard.accumulate(
            self._parameters(self._flat.astype(dtype)), *self._held(_Rows(x, y, self._weight)),
            self._layout.views(gradient))["loss"]
        self._finite(loss, gradient)
        return loss

    def _gradient(self, gradient: np.ndarray, coarse: bool) -> None:
        """``coarse``: the model computes in float32 whatever it gets, so small steps say nothing."""
        step, tolerance = (1e-2, 5e-2) if coarse else (1e-5, 1e-4)
        for name, where, direction in self._directions(gradient):
            found = float(gradient @ direction)
            near, far = self._slope(direction, step), self._slope(direction, 2 * step)
            start, stop = self._layout.ranges[name]
            scale = max(abs(near), float(np.abs(gradient[start:stop]).max()))
            # Where both slopes differ the loss bends: it may have a kink there.
            if not abs(found - near) <= tolerance * scale + 2 * abs(near - far) + 1e-7:
                self._fail(f"accumulate: the gradient of {name!r} is wrong: {where} it is "
                           f"{found:.6g}, but the loss has a slope of {near:.6g}")

    def _directions(self, gradient: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
        """Tensor, place in words, and unit vector (size,)."""
        for (name, (start, stop)), (_, shape) in zip(self._layout.ranges.items(), self._layout.shapes):
            part = np.abs(gradient[start:stop])
            drawn = self._generator.integers(0, stop - start, 2).tolist()
            for at in dict.fromkeys([int(part.argmax()), *drawn]):
                direction = np.zeros(gradient.size)
                direction[start + at] = 1.0
                place = [int(each) for each in np.unravel_index(at, shape)]
                yield name, f"at {place}", direction
            direction = np.zeros(gradient.size)
            direction[start:stop] = self._generator.standard_normal(stop - start)
            yield name, "along a random direction", direction / np.linalg.norm(direction)

    def _slope(self, direction: np.ndarray, step: float) -> float:
        """(f(p + h d) - f(p - h d)) / 2h."""
        middle = self._flat
        try:
            self._flat = middle + step * direction
            after = self._loss(self._rows)
            self._flat = middle - step * direction
            return (after - self._loss(self._rows)) / (2 * step)
        finally:
            self._flat = middle

    def _predictions(self) -> None:
        found = self._guard.predict(self._parameters(self._flat), self._rows.x)
        if not np.isfinite(found).all():
            self._fail("predict: values that are not finite")
        if found.ndim == 2 and (found.min() < 0 or not np.allclose(found.sum(axis=1), 1, atol=1e-3)):
            self._fail("predict must return the probabilities of the classes, which add up to 1 in "
                       f"each row; found {found[0].tolist()!r:.80}")
