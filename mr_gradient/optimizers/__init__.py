"""Optimizers: pure ``init`` and ``update`` over flat vectors and explicit state."""

from __future__ import annotations

import functools
import json
from typing import Any

from mr_gradient.errors import DataError, UsageError
from mr_gradient.optimizers.adaptive import Adagrad, Adam, AdamW, RMSProp
from mr_gradient.optimizers.base import EachGradient, Optimizer, Search
from mr_gradient.optimizers.lbfgs import LBFGS
from mr_gradient.optimizers.newton import Newton
from mr_gradient.optimizers.owlqn import OWLQN
from mr_gradient.optimizers.sgd import GradientDescent, Momentum, Nesterov

#: Whoever adds an optimizer adds a file and a line here.
REGISTRY: dict[str, type] = {
    "gd": GradientDescent, "momentum": Momentum, "nesterov": Nesterov, "adagrad": Adagrad,
    "rmsprop": RMSProp, "adam": Adam, "adamw": AdamW,
}

#: Batch optimizers, asked between jobs where the next shall evaluate the objective.
SEARCHES: dict[str, type] = {"lbfgs": LBFGS, "owlqn": OWLQN, "newton": Newton}


def create(name: str, options: dict) -> Optimizer:
    """The optimizer ``name``; of ``options`` it takes the fields that it has.

    What is None takes the optimizer's own default. ``adamw`` needs ``penalized``.
    """
    if name not in REGISTRY:
        raise UsageError(f"--optimizer {name}: must be one of {', '.join(REGISTRY)}")
    return _make(REGISTRY[name], options)


def search(name: str, options: dict) -> Search:
    """The search ``name``, or the optimizer of this name as one; ``options`` as for ``create``.

    ``owlqn`` needs ``l1`` and ``penalized``.
    """
    if name in SEARCHES:
        return _make(SEARCHES[name], options)
    if name not in REGISTRY:
        raise UsageError(f"--optimizer {name}: must be one of {', '.join([*REGISTRY, *SEARCHES])}")
    return EachGradient(create(name, options))


def _make(kind: type, options: dict) -> Any:
    return kind(**{key: value for key, value in options.items()
                   if key in kind.__dataclass_fields__ and value is not None})


def to_json(optimizer: Optimizer) -> str:
    """The optimizer's name and options, for tasks that make updates by themselves."""
    name = next(name for name, kind in REGISTRY.items() if kind is type(optimizer))
    fields = {field: getattr(optimizer, field) for field in optimizer.__dataclass_fields__}
    return json.dumps({"optimizer": name, **fields}, sort_keys=True)


@functools.lru_cache(maxsize=16)
def from_json(text: str) -> Optimizer:
    """The inverse of ``to_json``."""
    try:
        fields = json.loads(text)
        name = fields.pop("optimizer")
        if "penalized" in fields:
            fields["penalized"] = tuple((lo, hi) for lo, hi in fields["penalized"])
        return REGISTRY[name](**fields)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f"damaged optimizer description: {error!r}: {text[:200]}") from None
