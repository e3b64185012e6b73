"""Models: forward and backward in numpy, nothing of storage, jobs or optimizers."""

from __future__ import annotations

import functools
import inspect
import json
import math
from collections.abc import Callable
from dataclasses import fields

from mr_gradient.errors import DataError, UsageError
from mr_gradient.models import presets
from mr_gradient.models.base import Model
from mr_gradient.models.custom import Custom, check_code
from mr_gradient.models.data_sums import DataSums
from mr_gradient.models.layers import to_plain
from mr_gradient.models.linear import Linear
from mr_gradient.models.network import Network
from mr_gradient.models.source_code import Code

#: Name on the command line -> (what makes it, fixed arguments, kind of target that it predicts).
#: Whoever adds a model adds a file and a line here.
REGISTRY: dict[str, tuple[Callable[..., Model], dict, str]] = {
    "linear": (Linear, {"loss": "squared"}, "value"),
    "huber": (Linear, {"loss": "huber"}, "value"),
    "poisson": (Linear, {"loss": "poisson"}, "value"),
    "logistic": (Linear, {"loss": "logistic"}, "class"),
    "svm": (Linear, {"loss": "squared_hinge"}, "class"),
    "softmax": (Linear, {"loss": "softmax"}, "class"),
    "mlp": (presets.mlp, {}, "any"),
    "lenet": (presets.lenet, {}, "any"),
    "alexnet-small": (presets.alexnet_small, {}, "any"),
    "network": (Network, {}, "any"),
}

#: Models of two classes with one output.
_BINARY = ("logistic", "svm")


def create(name: str, features: int, kind: str, classes: int, options: dict) -> Model:
    """The model ``name`` for a data set's columns.

    ``kind`` and ``classes`` are the target's; of ``options`` it takes those that it has.
    Raises ``UsageError`` for an unknown name or a target that the model cannot predict.
    """
    if name not in REGISTRY:
        raise UsageError(f"--model {name}: must be one of {', '.join(REGISTRY)}, or a model "
                         "of your own as path/to/file.py:factory")
    make, fixed, wanted = REGISTRY[name]
    if wanted not in ("any", kind):
        fitting = ", ".join(n for n, (_, _, k) in REGISTRY.items() if k in ("any", kind))
        raise UsageError(f"--model {name}: predicts a {wanted}, but the data set's target is a "
                         f"{kind}; choose one of {fitting}, or prepare with --target-type {wanted}")
    if name in _BINARY and classes != 2:
        raise UsageError(f"--model {name}: needs a target of 2 classes, found {classes}; "
                         "choose softmax")
    delta = options.get("huber_delta", 1.0)
    if not (delta > 0 and math.isfinite(delta)):
        raise UsageError(f"--huber-delta {delta}: must be a finite number above 0")
    taken = inspect.signature(make).parameters
    known = {key: value for key, value in options.items() if key in taken}
    outputs = classes if kind == "class" and name not in _BINARY else 1
    loss = "softmax" if kind == "class" else "squared"
    return make(**{"features": features, "outputs": outputs, "loss": loss, **known, **fixed})


_CLASSES = {cls.__name__: cls for cls in (Linear, Network, DataSums)}


def to_json(model: Model) -> str:
    """The model's class and fields as one line of JSON."""
    values = {each.name: getattr(model, each.name) for each in fields(model)}
    return json.dumps({"class": type(model).__name__, **values}, sort_keys=True, default=to_plain)


@functools.lru_cache(maxsize=16)
def from_json(text: str, code: Code | None = None) -> Model:
    """The inverse of ``to_json``; a process that serves several jobs makes each model once.

    ``code``: what the user named, for a model of the user's own.
    """
    try:
        values = json.loads(text)
        cls = values.pop("class")
        if cls != Custom.__name__:
            return _CLASSES[cls](**{name: tuple(value) if isinstance(value, list) else value
                                    for name, value in values.items()})
        factory, sha256 = values.pop("factory"), values.pop("sha256")
        check_code(factory, sha256, code)
        return Custom(**values, code=code)
    except (UsageError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f"damaged model description: {error!r}: {text[:200]}") from None
