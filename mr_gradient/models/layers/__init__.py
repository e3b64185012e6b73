"""Layers of networks: their names, and layer lists from and to plain data.

    [{conv2d: {out: 6, kernel: 5, padding: 2}}, relu, {max_pool2d: 2}, flatten, {dense: 10}]
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from mr_gradient.errors import UsageError
from mr_gradient.models.layers.activations import LeakyRelu, Relu, Sigmoid, Tanh
from mr_gradient.models.layers.base import Layer
from mr_gradient.models.layers.conv2d import Conv2d
from mr_gradient.models.layers.dense import Dense
from mr_gradient.models.layers.dropout import Dropout
from mr_gradient.models.layers.flatten import Flatten
from mr_gradient.models.layers.gelu import Gelu
from mr_gradient.models.layers.layer_norm import LayerNorm
from mr_gradient.models.layers.pooling import AvgPool2d, MaxPool2d
from mr_gradient.models.layers.residual import Residual

#: Whoever adds a layer adds a file and a line here.
LAYERS: dict[str, type[Layer]] = {cls.name: cls for cls in (
    Dense,
    Conv2d,
    MaxPool2d,
    AvgPool2d,
    Flatten,
    Relu,
    LeakyRelu,
    Tanh,
    Sigmoid,
    Gelu,
    LayerNorm,
    Dropout,
    Residual,
)}


def read_layers(value: Any) -> tuple[Layer, ...]:
    """A layer list as YAML or JSON has it; layers that were read already stay what they are.

    Raises ``UsageError`` that names the layer by its number in the list, from 0 as in PyTorch.
    """
    if not isinstance(value, list | tuple) or not value:
        raise UsageError(f"layers: must be a list like [{{dense: 100}}, relu, {{dense: 10}}]; found "
                         f"{value!r:.60}")
    layers = []
    for number, each in enumerate(value):
        try:
            layers.append(each if isinstance(each, Layer) else _read_layer(each))
        except UsageError as error:
            raise UsageError(f"layer {number}: {error}") from None
    return tuple(layers)


def _read_layer(value: Any) -> Layer:
    """A layer: ``name``, ``{name: options}``, or ``{name: first option}``."""
    if isinstance(value, dict) and len(value) == 1:
        (name, options), = value.items()
    else:
        name, options = value, {}
    if not isinstance(name, str):
        raise UsageError(f"must be a layer's name or {{name: options}}; found {name!r:.60}")
    if name not in LAYERS:
        raise UsageError(f"no such layer {name!r:.40}; {_nearest(name, LAYERS)}")
    cls = LAYERS[name]
    known = [each.name for each in fields(cls)]
    if not isinstance(options, dict):
        if not known:
            raise UsageError(f"{name}: has no options; found {options!r:.60}")
        options = {known[0]: options}
    for key in options:
        if key not in known:
            raise UsageError(f"{name}: no such option {key!r:.40}; {_nearest(str(key), known)}")
    for key, must in cls.needed().items():
        if key not in options:
            raise UsageError(f"{name}: needs {key!r}: {must}")
    return cls(**options)


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name.lower(), list(known), 1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known are {', '.join(known)}" if known else "it has none"


def to_plain(layer: Layer) -> str | dict:
    """A layer as JSON can hold it, with all its options; ``read_layers`` takes it back."""
    options = {each.name: getattr(layer, each.name) for each in fields(layer)}
    for name, value in options.items():
        if isinstance(value, tuple):
            options[name] = [to_plain(each) if isinstance(each, Layer) else each for each in value]
    return {layer.name: options} if options else layer.name
