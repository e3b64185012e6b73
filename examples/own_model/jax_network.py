"""A network of one hidden layer whose gradient JAX finds; pip install 'mr_gradient[jax]'.

JAX's own numpy is imported where something is computed: the process that reads this file first only
asks for shapes and initial parameters.
"""

import numpy as np

from mr_gradient.models.base import Tensor
from mr_gradient.models.jax_model import JaxModel


def make(features, kind, classes, hidden=32):
    """What ``--model jax_network.py:make`` calls; further arguments are --model-options."""
    if kind != "class":
        raise ValueError("needs a target of classes")
    return JaxModel({"hidden.weight": Tensor((hidden, features)),
                     "hidden.bias": Tensor((hidden,), penalized=False),
                     "out.weight": Tensor((classes, hidden)),
                     "out.bias": Tensor((classes,), penalized=False)},
                    loss, predict, lambda generator: init(generator, features, classes, hidden))


def init(generator, features, classes, hidden):
    """Glorot and Bengio 2010, equation 16: uniform up to sqrt(6 / (inputs + outputs))."""
    def uniform(outputs, inputs):
        return generator.uniform(-1, 1, (outputs, inputs)) * (6 / (inputs + outputs)) ** 0.5

    return {"hidden.weight": uniform(hidden, features), "hidden.bias": np.zeros(hidden),
            "out.weight": uniform(classes, hidden), "out.bias": np.zeros(classes)}


def scores(parameters, x):
    """(n, classes)."""
    import jax.numpy as jnp

    hidden = jnp.tanh(x @ parameters["hidden.weight"].T + parameters["hidden.bias"])
    return hidden @ parameters["out.weight"].T + parameters["out.bias"]


def loss(parameters, x, y):
    """Cross-entropy of each example (n,)."""
    import jax

    return -jax.nn.log_softmax(scores(parameters, x))[jax.numpy.arange(len(y)), y]


def predict(parameters, x):
    """Probabilities (n, classes)."""
    import jax

    return jax.nn.softmax(scores(parameters, x))
