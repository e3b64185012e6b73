"""Gradient descent: plain, with heavy-ball momentum and with Nesterov's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mr_gradient.optimizers.first_order import FirstOrder
from mr_gradient.optimizers.options import check_decay


class GradientDescentState(NamedTuple):
    """``step``: updates made."""

    step: int


@dataclass(frozen=True)
class GradientDescent(FirstOrder):
    """w <- w - learning_rate * g (Cauchy 1847)."""

    def init(self, parameters: np.ndarray) -> GradientDescentState:
        return GradientDescentState(0)

    def update(self, gradient: np.ndarray, state: GradientDescentState,
               parameters: np.ndarray) -> tuple[np.ndarray, GradientDescentState]:
        new = self.clip(gradient) * parameters.dtype.type(self.rate(state.step))
        np.subtract(parameters, new, out=new)
        return new, GradientDescentState(state.step + 1)


class MomentumState(NamedTuple):
    """``step``: updates made; ``velocity`` (size,): the decayed sum of past gradients."""

    step: int
    velocity: np.ndarray


@dataclass(frozen=True)
class Momentum(FirstOrder):
    """v <- momentum * v + g; w <- w - learning_rate * v.

    Polyak 1964, "Some methods of speeding up the convergence of iteration methods", in the form
    of PyTorch's SGD: the learning rate multiplies the velocity, not each gradient that enters it.
    """

    momentum: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        check_decay("momentum", self.momentum)

    def init(self, parameters: np.ndarray) -> MomentumState:
        return MomentumState(0, np.zeros_like(parameters))

    def update(self, gradient: np.ndarray, state: MomentumState,
               parameters: np.ndarray) -> tuple[np.ndarray, MomentumState]:
        velocity = parameters.dtype.type(self.momentum) * state.velocity
        velocity += self.clip(gradient)
        new = velocity * parameters.dtype.type(self.rate(state.step))
        np.subtract(parameters, new, out=new)
        return new, MomentumState(state.step + 1, velocity)


@dataclass(frozen=True)
class Nesterov(Momentum):
    """v <- momentum * v + g; w <- w - learning_rate * (g + momentum * v).

    Sutskever, Martens, Dahl and Hinton 2013, "On the importance of initialization and momentum in
    deep learning", equations 3 and 4, in the form of PyTorch's SGD: w is the point ahead,
    theta + momentum * (its velocity), at which the paper takes the gradient.
    """

    def update(self, gradient: np.ndarray, state: MomentumState,
               parameters: np.ndarray) -> tuple[np.ndarray, MomentumState]:
        scalar = parameters.dtype.type
        gradient = self.clip(gradient)
        velocity = scalar(self.momentum) * state.velocity
        velocity += gradient
        new = velocity * scalar(self.momentum)
        new += gradient
        new *= scalar(self.rate(state.step))
        np.subtract(parameters, new, out=new)
        return new, MomentumState(state.step + 1, velocity)
