"""Gradient descent, plain and with heavy-ball momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class GradientDescentState(NamedTuple):
    """Plain gradient descent remembers nothing."""


@dataclass(frozen=True)
class GradientDescent:
    """w <- w - learning_rate * g (Cauchy 1847)."""

    learning_rate: float = 0.1

    def init(self, parameters: np.ndarray) -> GradientDescentState:
        return GradientDescentState()

    def update(self, gradient: np.ndarray, state: GradientDescentState,
               parameters: np.ndarray) -> tuple[np.ndarray, GradientDescentState]:
        return parameters - parameters.dtype.type(self.learning_rate) * gradient, state


class MomentumState(NamedTuple):
    """``velocity`` (size,): the decayed sum of past gradients."""

    velocity: np.ndarray


@dataclass(frozen=True)
class Momentum:
    """v <- momentum * v + g; w <- w - learning_rate * v.

    Polyak 1964, "Some methods of speeding up the convergence of iteration methods", in the form
    of PyTorch's SGD: the learning rate multiplies the velocity, not each gradient that enters it.
    """

    learning_rate: float = 0.1
    momentum: float = 0.9

    def init(self, parameters: np.ndarray) -> MomentumState:
        return MomentumState(np.zeros_like(parameters))

    def update(self, gradient: np.ndarray, state: MomentumState,
               parameters: np.ndarray) -> tuple[np.ndarray, MomentumState]:
        scalar = parameters.dtype.type
        velocity = scalar(self.momentum) * state.velocity + gradient
        return parameters - scalar(self.learning_rate) * velocity, MomentumState(velocity)
