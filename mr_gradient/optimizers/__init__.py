"""Optimizers: pure ``init`` and ``update`` over flat vectors and explicit state."""

from __future__ import annotations

from mr_gradient.errors import UsageError
from mr_gradient.optimizers.adaptive import Adagrad, Adam, AdamW, RMSProp
from mr_gradient.optimizers.base import Optimizer
from mr_gradient.optimizers.sgd import GradientDescent, Momentum, Nesterov

#: Whoever adds an optimizer adds a file and a line here.
REGISTRY: dict[str, type] = {
    "gd": GradientDescent, "momentum": Momentum, "nesterov": Nesterov, "adagrad": Adagrad,
    "rmsprop": RMSProp, "adam": Adam, "adamw": AdamW,
}


def create(name: str, options: dict) -> Optimizer:
    """The optimizer ``name``; of ``options`` it takes the fields that it has.

    What is None takes the optimizer's own default. ``adamw`` needs ``penalized``.
    """
    if name not in REGISTRY:
        raise UsageError(f"--optimizer {name}: must be one of {', '.join(REGISTRY)}")
    kind = REGISTRY[name]
    return kind(**{key: value for key, value in options.items()
                   if key in kind.__dataclass_fields__ and value is not None})
