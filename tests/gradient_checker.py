"""The one gradient checker of the project: central differences in float64, for every model.

It compares a model's gradient with (f(p + h d) - f(p - h d)) / 2h, f being the loss sum that the
model itself returns, along random directions d and, in small tensors, along every coordinate.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mr_gradient.models.base import Model, layout

_STEP = 1e-5
_TOLERANCE = 1e-6
_SMALL = 64
_DIRECTIONS = 5
#: The gradient buffer starts at this, so a model that assigns instead of adding is found out.
_ALREADY_THERE = 0.75


class Problem(NamedTuple):
    """Arguments of ``Model.accumulate``, in its order, without the gradient."""

    parameters: dict[str, np.ndarray]
    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None


def random_problem(model: Model, rows: int = 23, weighted: bool = False, dtype: type = np.float64,
                   seed: int = 0) -> Problem:
    """Random parameters, examples and labels that fit the model, all read-only.

    A model that writes to what it was given therefore fails in every test.
    """
    generator = np.random.default_rng(seed)
    parameters = {name: generator.normal(0, 0.7, tensor.shape).astype(dtype)
                  for name, tensor in model.tensors().items()}
    x = generator.normal(size=(rows, model.features)).astype(dtype)
    if model.loss in ("squared", "huber"):
        y = generator.normal(size=rows)
    elif model.loss == "poisson":
        y = generator.poisson(1.5, rows).astype(float)
    else:
        y = generator.integers(0, max(2, model.outputs), rows)
    weight = generator.uniform(0.1, 3, rows) if weighted else None
    for array in (*parameters.values(), x, y, weight):
        if array is not None:
            array.setflags(write=False)
    return Problem(parameters, x, y, weight)


def zero_gradient(problem: Problem) -> dict[str, np.ndarray]:
    """Buffers for the gradient, like the parameters in shape and type."""
    return {name: np.zeros_like(array) for name, array in problem.parameters.items()}


def check_gradient(model: Model, problem: Problem, seed: int = 0) -> None:
    """Raises ``AssertionError`` that names the first direction along which the gradient is wrong."""
    where = layout(model)
    flat = where.flatten(problem.parameters, np.float64)
    gradient = np.full(where.size, _ALREADY_THERE)
    model.accumulate(*problem, where.views(gradient))
    gradient -= _ALREADY_THERE

    def loss(at: np.ndarray) -> float:
        return model.accumulate(where.views(at), *problem[1:], None)["loss"]

    for label, direction in _directions(where, np.random.default_rng(seed)):
        slope = (loss(flat + _STEP * direction) - loss(flat - _STEP * direction)) / (2 * _STEP)
        found = float(gradient @ direction)
        assert abs(found - slope) <= _TOLERANCE * max(1.0, abs(slope)), (
            f"gradient along {label}: {found!r}, but the loss has slope {slope!r}")


def _directions(where, generator: np.random.Generator):
    """Pairs of a label and a vector (size,): across all tensors, then within each of them."""
    for number in range(_DIRECTIONS):
        yield f"random direction {number}", generator.normal(size=where.size)
    for name, (start, stop) in where.ranges.items():
        small = stop - start <= _SMALL
        for number in range(stop - start if small else _DIRECTIONS):
            direction = np.zeros(where.size)
            if small:
                direction[start + number] = 1
            else:
                direction[start:stop] = generator.normal(size=stop - start)
            yield f"{name}, {'coordinate' if small else 'direction'} {number}", direction
