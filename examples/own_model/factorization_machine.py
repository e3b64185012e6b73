"""A factorization machine (Rendle 2010, "Factorization Machines", section III) as an own model.

    z(x) = w0 + sum_i w_i x_i + sum_{i<j} <v_i, v_j> x_i x_j
         = w0 + x w + sum_f ((x V)_f^2 - x^2 V_f^2) / 2

The second line takes rows * features * factors steps, not features^2, and works for sparse rows too.
The loss is (z - y)^2 / 2 of a value, and log(1 + exp(-z)) or log(1 + exp(z)) of two classes.
"""

import numpy as np

from mr_gradient.models.base import Tensor


def make(features, kind, classes, factors=8, spread=0.05):
    """What ``--model factorization_machine.py:make`` calls; further arguments are --model-options."""
    if kind == "class" and classes != 2:
        raise ValueError(f"needs a target of 2 classes or of values, found {classes} classes")
    return FactorizationMachine(features, kind == "class", factors, spread)


class FactorizationMachine:
    """``weight`` w (features,), ``bias`` w0 (1,), ``factors`` V (features, factors)."""

    def __init__(self, features, two_classes, factors, spread):
        self.features, self.two_classes = features, two_classes
        self.factors, self.spread = factors, spread

    def tensors(self):
        return {"weight": Tensor((self.features,)), "bias": Tensor((1,), penalized=False),
                "factors": Tensor((self.features, self.factors))}

    def init(self, seed):
        """At V = 0 its gradient is 0: it begins at random."""
        start = {name: np.zeros(tensor.shape) for name, tensor in self.tensors().items()}
        start["factors"] = np.random.default_rng(seed).normal(0, self.spread, start["factors"].shape)
        return start

    def outputs(self, parameters, x):
        """z (n,), x V (n, factors) and x^2, element by element."""
        squares = x * x if isinstance(x, np.ndarray) else x.power(2)
        products, v = x @ parameters["factors"], parameters["factors"]
        pairs = (products * products).sum(axis=1) - squares @ (v * v).sum(axis=1)
        return x @ parameters["weight"] + parameters["bias"] + pairs / 2, products, squares

    def accumulate(self, parameters, x, y, weight, gradient, generator=None):
        z, products, squares = self.outputs(parameters, x)
        y = y.astype(z.dtype)
        weight = np.ones_like(z) if weight is None else weight.astype(z.dtype)
        if self.two_classes:
            sign = 1 - 2 * y
            loss = np.logaddexp(0, sign * z)
            dz = sign * np.exp(sign * z - loss)  # the derivative: sign / (1 + exp(-sign z))
            extra = {"correct": weight @ ((z > 0) == (y > 0))}
        else:
            dz = z - y
            loss = dz * dz / 2
            extra = {"squared_error": weight @ (dz * dz)}
        if gradient is not None:
            dz = weight * dz
            gradient["weight"] += dz @ x
            gradient["bias"] += dz.sum()
            # x is turned over once: its transpose is quick for arrays and for sparse rows alike.
            gradient["factors"] += x.T @ (dz[:, None] * products)
            gradient["factors"] -= (dz @ squares)[:, None] * parameters["factors"]
        return {"loss": np.sum(weight * loss, dtype=np.float64), **extra}

    def predict(self, parameters, x):
        z = self.outputs(parameters, x)[0]
        if not self.two_classes:
            return z
        one = np.exp(-np.logaddexp(0, -z))
        return np.stack([1 - one, one], axis=1)
