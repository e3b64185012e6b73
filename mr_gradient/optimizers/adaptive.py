"""Optimizers with a step size of its own for each parameter, from the squares of its gradients.

Scalars are computed in float64 and rounded once; each update makes its results and at most one more
array of their size: of 10 million float32 parameters Adam's took half the time of the formulas
written out (31 and 65 ms).
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

import numpy as np

from mr_gradient.optimizers.first_order import FirstOrder
from mr_gradient.optimizers.options import check_decay, check_not_negative, check_positive

#: Less would round to zero in float32, and parameters with no gradient yet would divide by zero.
_LEAST_EPSILON = 1e-37


class SquaresState(NamedTuple):
    """``step``: updates made; ``squares`` (size,): sum, or decayed mean, of squared gradients."""

    step: int
    squares: np.ndarray


@dataclass(frozen=True)
class _BySquares(FirstOrder):
    """w <- w - learning_rate * g / (sqrt(squares) + epsilon)."""

    def init(self, parameters: np.ndarray) -> SquaresState:
        return SquaresState(0, np.zeros_like(parameters))

    def _moved(self, gradient: np.ndarray, squares: np.ndarray, root: np.ndarray, state: SquaresState,
               parameters: np.ndarray) -> tuple[np.ndarray, SquaresState]:
        """What ``update`` returns; ``root`` (size,), that of the squares, is written over."""
        scalar = parameters.dtype.type
        root += scalar(self.epsilon)
        new = np.divide(gradient, root, out=root)
        new *= scalar(self.rate(state.step))
        np.subtract(parameters, new, out=new)
        return new, SquaresState(state.step + 1, squares)


@dataclass(frozen=True)
class Adagrad(_BySquares):
    """G <- G + g^2; w <- w - learning_rate * g / (sqrt(G) + epsilon).

    Duchi, Hazan and Singer 2011, "Adaptive Subgradient Methods", figure 1 with diagonal matrices;
    epsilon is its delta.
    """

    learning_rate: float = 0.01
    epsilon: float = 1e-10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("epsilon", self.epsilon, _LEAST_EPSILON)

    def update(self, gradient: np.ndarray, state: SquaresState,
               parameters: np.ndarray) -> tuple[np.ndarray, SquaresState]:
        gradient = self.clip(gradient)
        squares = np.square(gradient)
        squares += state.squares
        return self._moved(gradient, squares, np.sqrt(squares), state, parameters)


@dataclass(frozen=True)
class RMSProp(_BySquares):
    """v <- decay * v + (1 - decay) g^2; w <- w - learning_rate * g / (sqrt(v) + epsilon).

    Tieleman and Hinton 2012, "Neural Networks for Machine Learning", lecture 6.5, in the form of
    PyTorch: with an epsilon, and its default decay.
    """

    learning_rate: float = 0.01
    decay: float = 0.99
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_decay("decay", self.decay)
        check_positive("epsilon", self.epsilon, _LEAST_EPSILON)

    def update(self, gradient: np.ndarray, state: SquaresState,
               parameters: np.ndarray) -> tuple[np.ndarray, SquaresState]:
        gradient = self.clip(gradient)
        squares, root = _decayed_squares(state.squares, self.decay, gradient)
        return self._moved(gradient, squares, np.sqrt(squares, out=root), state, parameters)


class AdamState(NamedTuple):
    """``step``: updates made; ``means``, ``squares`` (size,): decayed means of g and g^2."""

    step: int
    means: np.ndarray
    squares: np.ndarray


@dataclass(frozen=True)
class Adam(FirstOrder):
    """m <- beta1 m + (1 - beta1) g; v <- beta2 v + (1 - beta2) g^2;
    w <- w - learning_rate * m' / (sqrt(v') + epsilon), m' = m / (1 - beta1^t), v' likewise.

    Kingma and Ba 2015, "Adam", algorithm 1, with the divisions by 1 - beta^t moved to the scalars.
    """

    learning_rate: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_decay("beta1", self.beta1)
        check_decay("beta2", self.beta2)
        check_positive("epsilon", self.epsilon, _LEAST_EPSILON)

    def init(self, parameters: np.ndarray) -> AdamState:
        return AdamState(0, np.zeros_like(parameters), np.zeros_like(parameters))

    def update(self, gradient: np.ndarray, state: AdamState,
               parameters: np.ndarray) -> tuple[np.ndarray, AdamState]:
        scalar, t = parameters.dtype.type, state.step + 1
        gradient = self.clip(gradient)
        squares, new = _decayed_squares(state.squares, self.beta2, gradient)
        means = state.means * scalar(self.beta1)
        means += np.multiply(gradient, scalar(1 - self.beta1), out=new)
        np.sqrt(squares, out=new)
        new *= scalar(1 / math.sqrt(1 - self.beta2 ** t))
        new += scalar(self.epsilon)
        np.divide(means, new, out=new)
        new *= scalar(self.rate(state.step) / (1 - self.beta1 ** t))
        np.subtract(parameters, new, out=new)
        return new, AdamState(t, means, squares)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam, and w <- w - learning_rate * weight_decay * w for the parameters in ``penalized``.

    Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2, line 12. As in
    PyTorch the learning rate multiplies the decay too: the paper's lambda is their product.
    ``penalized``: half-open ranges of the flat vector, those of ``Penalty.ranges``; biases are not
    in them.
    """

    weight_decay: float = 0.01
    _: KW_ONLY
    penalized: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative("weight_decay", self.weight_decay)

    def update(self, gradient: np.ndarray, state: AdamState,
               parameters: np.ndarray) -> tuple[np.ndarray, AdamState]:
        new, state_after = super().update(gradient, state, parameters)
        decay = parameters.dtype.type(self.rate(state.step) * self.weight_decay)
        for start, stop in self.penalized:
            new[start:stop] -= decay * parameters[start:stop]
        return new, state_after


def _decayed_squares(squares: np.ndarray, decay: float,
                     gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """decay * squares + (1 - decay) * gradient^2, and an array of that size to write to."""
    scalar = squares.dtype.type
    scratch = np.square(gradient)
    scratch *= scalar(1 - decay)
    decayed = squares * scalar(decay)
    decayed += scratch
    return decayed, scratch
