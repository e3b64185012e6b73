"""Wrong layer lists: one line that names the layer, what must be, what was found."""

from __future__ import annotations

import pytest

from mr_gradient import models
from mr_gradient.errors import UsageError
from mr_gradient.models.layers import LAYERS, read_layers, to_plain
from mr_gradient.models.network import Network

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(("layers", "message"), [
    ([], "layers: must be a list like .* found \\[\\]"),
    (None, "layers: must be a list like .* found None"),
    ("relu", "layers: must be a list like .* found 'relu'"),
    ({"dense": 3}, "layers: must be a list like .* found {'dense': 3}"),
    (["relu", 3], "layer 1: must be a layer's name or {name: options}; found 3"),
    ([["relu"]], "layer 0: must be a layer's name or {name: options}; found \\['relu'\\]"),
    ([{}], "layer 0: must be a layer's name .* found {}"),
    ([{"dense": 3, "relu": None}], "layer 0: must be a layer's name .* found {'dense': 3, 'relu'"),
    ([{3: 4}], "layer 0: must be a layer's name .* found 3"),
    (["relu", "ReLU"], "layer 1: no such layer 'ReLU'; did you mean 'relu'\\?"),
    ([{"conv": {"out": 3}}], "layer 0: no such layer 'conv'; did you mean 'conv2d'\\?"),
    (["xyzzy"], "layer 0: no such layer 'xyzzy'; known are dense, conv2d, .*, residual"),
    ([{"conv2d": {"out": 3, "kernels": 3}}],
     "layer 0: conv2d: no such option 'kernels'; did you mean 'kernel'\\?"),
    ([{"dense": {"out": 3, 7: 3}}], "layer 0: dense: no such option 7; known are out, bias"),
    ([{"relu": {"slope": 1}}], "layer 0: relu: no such option 'slope'; it has none"),
    ([{"relu": 1}], "layer 0: relu: has no options; found 1"),
    (["dense"], "layer 0: dense: needs 'out': a whole number of at least 1"),
    ([{"conv2d": 3}], "layer 0: conv2d: needs 'kernel': a whole number of at least 1, or two of them"),
    (["residual"], "layer 0: residual: needs 'layers': a list of layers"),
    ([{"dense": 0}], "layer 0: dense: out must be a whole number of at least 1; found 0"),
    ([{"dense": 1.5}], "layer 0: dense: out must be .* found 1.5"),
    ([{"dense": True}], "layer 0: dense: out must be .* found True"),
    ([{"dense": "10"}], "layer 0: dense: out must be .* found '10'"),
    ([{"dense": None}], "layer 0: dense: out must be .* found None"),
    ([{"dense": {"out": 3, "bias": 1}}], "layer 0: dense: bias must be true or false; found 1"),
    ([{"max_pool2d": [2, 2, 2]}], "layer 0: max_pool2d: kernel must be .* found \\[2, 2, 2\\]"),
    ([{"max_pool2d": [2, 0]}], "layer 0: max_pool2d: kernel must be .* found \\[2, 0\\]"),
    ([{"max_pool2d": {"kernel": 2, "padding": -1}}], "padding must be .* at least 0, .* found -1"),
    ([{"dropout": 1}], "layer 0: dropout: rate must be a number from 0 to below 1; found 1"),
    ([{"dropout": float("nan")}], "layer 0: dropout: rate must be .* found nan"),
    ([{"leaky_relu": -0.1}], "layer 0: leaky_relu: slope must be .* found -0.1"),
    ([{"gelu": "erf"}], "layer 0: gelu: approximate must be one of none, tanh; found 'erf'"),
    ([{"layer_norm": 0}], "layer 0: layer_norm: eps must be a number above 0, below 1; found 0"),
    ([{"residual": []}], "layer 0: residual: layers must be a list of layers; found \\[\\]"),
    ([{"residual": ["rely"]}], "layer 0: residual: layer 0: no such layer 'rely'; did you mean"),
    ([{"residual": [{"residual": [{"dense": 0}]}]}],
     "layer 0: residual: layer 0: residual: layer 0: dense: out must be")])
def test_a_wrong_list_is_refused(layers, message):
    with pytest.raises(UsageError, match=message) as refused:
        read_layers(layers)
    assert "\n" not in str(refused.value)


IMAGES = {"features": 48, "input_shape": (3, 4, 4)}


@pytest.mark.parametrize(("layers", "fields", "message"), [
    (["relu", {"dense": 3}], {},
     "layers: the last one must give 2 numbers, an output each; found 3 numbers; end .* {dense: 2}"),
    ([{"conv2d": {"out": 3, "kernel": 1}}], IMAGES, "must give 2 .* found images of 3 x 4 x 4; end"),
    ([{"dense": 4}, {"conv2d": {"out": 3, "kernel": 3}}], {},
     r"layer 1: conv2d: needs images \(channels, height, width\); found 4 numbers; give input_shape"),
    ([{"max_pool2d": 2}], {}, "layer 0: max_pool2d: needs images .* found 6 numbers"),
    ([{"dense": 2}], IMAGES,
     "layer 0: dense: needs a row of numbers; found images of 3 x 4 x 4; put flatten before it"),
    ([{"conv2d": {"out": 3, "kernel": 7, "padding": 1}}], IMAGES,
     "layer 0: conv2d: kernel must be at most 6 x 6, its input with padding; found 7 x 7"),
    ([{"avg_pool2d": [1, 5]}], IMAGES,
     "layer 0: avg_pool2d: kernel must be at most 4 x 4, its input with padding; found 1 x 5"),
    ([{"max_pool2d": {"kernel": 2, "padding": [1, 2]}}], IMAGES,
     "layer 0: max_pool2d: padding must be at most half of the kernel; found 1 x 2 for 2 x 2"),
    ([{"conv2d": {"out": 4, "kernel": 1, "groups": 2}}], IMAGES,
     "groups must divide the channels of input and output; found 2 for images of 3 x 4 x 4 and out 4"),
    ([{"conv2d": {"out": 4, "kernel": 1, "groups": 3}}], IMAGES, "found 3 .* and out 4"),
    ([{"residual": [{"dense": 3}]}], {},
     "layer 0: residual: its layers must give what the shortcut gives, 6 numbers; found 3 numbers"),
    ([{"residual": {"layers": [{"dense": 3}], "shortcut": ["relu", {"max_pool2d": 2}]}}], {},
     "layer 0: residual: shortcut: layer 1: max_pool2d: needs images"),
    ([{"residual": ["relu", {"conv2d": {"out": 1, "kernel": 1}}]}], {},
     "layer 0: residual: layer 1: conv2d: needs images"),
    ([{"dense": 2}], {"input_shape": (2, 3)}, r"input_shape: must be channels, .* 6; found \[2, 3\]"),
    ([{"dense": 2}], {"input_shape": (1, 2, 4)}, r"input_shape: must be .* found \[1, 2, 4\]"),
    ([{"dense": 2}], {"input_shape": (-1, -2, 3)}, r"input_shape: must be .* found \[-1, -2, 3\]"),
    (["relu"], {"outputs": 6}, "layers: at least one must have parameters; add {dense: 6}"),
    ([{"dense": 2}], {"loss": "softmaxx"}, "loss: must be one of squared, .* found 'softmaxx'"),
    ([{"dense": 2}], {"loss": "squared"}, "loss: squared needs 1 output; found 2")])
def test_layers_that_do_not_fit_are_refused(layers, fields, message):
    with pytest.raises(UsageError, match=message) as refused:
        Network(**{"features": 6, "outputs": 2, "layers": layers, **fields})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("name", "features", "options", "message"), [
    ("lenet", 783, {}, "--model lenet: needs images, and 783 features are no square of one channel; "
                       "give input_shape: channels, height, width"),
    ("lenet", 784, {"input_shape": (1, 28, 27)}, "input_shape: must be .* 784; found"),
    ("lenet", 16, {}, "layer 3: conv2d: kernel must be at most 2 x 2"),
    ("alexnet-small", 3072, {}, "--model alexnet-small: needs images, and 3072 features"),
    ("network", 784, {}, "layers: must be a list")])
def test_presets_that_do_not_fit_are_refused(name, features, options, message):
    with pytest.raises(UsageError, match=message):
        models.create(name, features, "class", 10, options)


def test_a_read_list_comes_back_from_its_plain_form():
    layers = read_layers([
        {"conv2d": {"out": 4, "kernel": [3, 1], "stride": 2, "padding": 1, "groups": 2, "bias": False}},
        "relu", {"leaky_relu": 0.2}, "tanh", "sigmoid", {"gelu": "tanh"}, {"layer_norm": 1e-3},
        {"max_pool2d": {"kernel": 3, "stride": 2, "padding": 1}}, {"avg_pool2d": 2}, "dropout",
        {"residual": {"layers": ["relu", {"residual": ["tanh"]}], "shortcut": [{"avg_pool2d": 1}]}},
        "flatten", {"dense": 3}])
    assert {layer.name for layer in layers} == set(LAYERS)
    plain = [to_plain(layer) for layer in layers]
    assert read_layers(plain) == read_layers(layers) == layers
    assert plain[0] == {"conv2d": {"out": 4, "kernel": [3, 1], "stride": [2, 2], "padding": [1, 1],
                                   "groups": 2, "bias": False}}
    assert plain[1] == "relu"
    assert plain[9] == {"dropout": {"rate": 0.5}}
