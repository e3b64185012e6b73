"""A model from a loss function in JAX, which finds the gradient; see examples/own_model.

    def loss(parameters, x, y): ...        # a dictionary of tensors, (n, features), (n,) -> (n,)
    def predict(parameters, x): ...        # -> (n, classes) probabilities, or (n,) values
    def make(features, kind, classes):
        return JaxModel({"weight": Tensor((classes, features))}, loss, predict)

Both are compiled once for each type and number of rows; so that these are few, rows are filled up. JAX
is imported when something is computed, which the driver does not do: JAX's threads do not survive a
fork.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from mr_gradient.errors import ModelError
from mr_gradient.models.base import Tensor

#: One thread for each task (law 2): for XLA's pool, and for the products of its CPU backend.
_ONE_THREAD = {"NPROC": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}


class JaxModel:
    """``tensors``: as ``base.Model.tensors`` gives them. ``loss(parameters, x, y)``: the loss of each
    example (n,), without weights. ``predict(parameters, x)``: probabilities (n, classes), or values.

    ``init(generator)``: initial parameters, numpy arrays drawn from numpy's generator; zeros without
    it. x comes dense in the type of the parameters, float32 or float64, whatever ``jax_enable_x64`` is;
    class labels as int32, values in the type of x.
    """

    def __init__(self, tensors: dict[str, Tensor], loss: Callable[..., Any],
                 predict: Callable[..., Any],
                 init: Callable[[np.random.Generator], dict[str, np.ndarray]] | None = None) -> None:
        self._tensors, self._loss, self._predict, self._init = tensors, loss, predict, init

    def tensors(self) -> dict[str, Tensor]:
        return dict(self._tensors)

    def init(self, seed: int) -> dict[str, np.ndarray]:
        if self._init is None:
            return {name: np.zeros(tensor.shape) for name, tensor in self._tensors.items()}
        return self._init(np.random.default_rng(np.random.SeedSequence([seed])))

    def accumulate(self, parameters: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray,
                   weight: np.ndarray | None, gradient: dict[str, np.ndarray] | None,
                   generator: np.random.Generator | None = None) -> dict[str, float]:
        """JAX multiplies the losses with the weights and adds them up for the gradient; for the sums
        that are returned numpy does, in float64."""
        rows, dtype = x.shape[0], next(iter(parameters.values())).dtype
        weight = np.ones(rows) if weight is None else np.asarray(weight, np.float64)
        padded = np.zeros(_padded(rows), dtype)
        padded[:rows] = weight
        labels = y.astype(dtype if y.dtype.kind == "f" else np.int32)
        with _precision(dtype):
            compute = self._forward if gradient is None else self._backward
            losses, predicted, slopes = compute(parameters, _filled(x), _filled(labels), padded)
            losses, predicted = (np.asarray(each)[:rows] for each in (losses, predicted))
            if gradient is not None:
                for name, slope in slopes.items():
                    gradient[name] += np.asarray(slope)
        sums = {"loss": weight @ losses.astype(np.float64)}
        if predicted.ndim == 2:
            sums["correct"] = weight @ (predicted.argmax(axis=1) == y)
        else:
            sums["squared_error"] = weight @ np.square(predicted - y, dtype=np.float64)
        return sums

    def predict(self, parameters: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        with _precision(next(iter(parameters.values())).dtype):
            return np.asarray(self._predictions(parameters, _filled(x)))[:x.shape[0]]

    @cached_property
    def _predictions(self) -> Callable[..., Any]:
        return _jax().jit(self._predict)

    @cached_property
    def _forward(self) -> Callable[..., tuple]:
        """Losses and predictions, and no gradient."""
        def forward(parameters, x, y, weight):
            return self._losses(parameters, x, y), self._predict(parameters, x), {}

        return _jax().jit(forward)

    @cached_property
    def _backward(self) -> Callable[..., tuple]:
        """Losses, predictions and the gradient of the weighted loss sum, by ``jax.value_and_grad``."""
        def total(parameters, x, y, weight):
            losses = self._losses(parameters, x, y)
            return (weight * losses).sum(), (losses, self._predict(parameters, x))

        differentiated = _jax().value_and_grad(total, has_aux=True)

        def backward(parameters, x, y, weight):
            (_, found), slopes = differentiated(parameters, x, y, weight)
            return *found, slopes

        return _jax().jit(backward)

    def _losses(self, parameters: Any, x: Any, y: Any) -> Any:
        losses = self._loss(parameters, x, y)
        if losses.shape != (x.shape[0],):
            raise ModelError(f"the loss function of a JaxModel must return the loss of each example, "
                             f"{(x.shape[0],)}, and add nothing up; found {losses.shape}")
        return losses


def _padded(rows: int) -> int:
    """At least ``rows``, and no more than seven or an eighth more: few numbers, whatever the rows."""
    step = max(8, 1 << max(0, rows.bit_length() - 4))
    return max(1, -(-rows // step)) * step


def _filled(array: Any) -> np.ndarray:
    """Dense, with the first row again and again at the end: what is valid there is finite."""
    array = array if isinstance(array, np.ndarray) else array.toarray()
    rows = len(array)
    filled = np.zeros((_padded(rows), *array.shape[1:]), array.dtype)
    filled[:rows] = array
    filled[rows:] = array[0] if rows else 0
    return filled


def _jax() -> Any:
    for name, value in _ONE_THREAD.items():
        os.environ.setdefault(name, value)
    try:
        import jax
    except ImportError:
        raise ModelError("JAX is not here; on every node, pip install 'mr_gradient[jax]'") from None
    return jax


def _precision(dtype: np.dtype) -> Any:
    """A context in which JAX computes in this type."""
    wide = dtype == np.float64
    jax = _jax()
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(wide)
    from jax import experimental  # before 0.8

    return experimental.enable_x64(wide)
