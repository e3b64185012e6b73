"""Every layer: its gradient, its values against a rewrite in plain loops, its names and layout."""

from __future__ import annotations

import math

import numpy as np
import pytest
from gradient_checker import check_gradient
from network_tools import Alone, network, problem_of

from mr_gradient.models.layers import LAYERS, read_layers

pytestmark = pytest.mark.fast

CONVOLUTION = {"conv2d": {"out": 4, "kernel": 3, "padding": 1}}
#: Layers that follow a convolution of 4 channels and 6 x 7 places, or a dense layer of 6 numbers.
ON_IMAGES = {
    "conv2d": [{"conv2d": {"out": 5, "kernel": 3}}],
    "conv2d, one channel out": [{"conv2d": {"out": 1, "kernel": [2, 3]}}],
    "conv2d, padding": [{"conv2d": {"out": 3, "kernel": [3, 2], "padding": [2, 1]}}],
    "conv2d, more padding than kernel": [{"conv2d": {"out": 3, "kernel": 2, "padding": 3}}],
    "conv2d, stride": [{"conv2d": {"out": 3, "kernel": 3, "stride": 2, "padding": 1}}],
    "conv2d, stride beyond the kernel": [{"conv2d": {"out": 2, "kernel": 2, "stride": [3, 4]}}],
    "conv2d, groups": [{"conv2d": {"out": 6, "kernel": 3, "groups": 2, "padding": 1}}],
    "conv2d, groups and stride": [{"conv2d": {"out": 6, "kernel": 3, "groups": 2, "stride": 2}}],
    "conv2d, a group a channel": [{"conv2d": {"out": 8, "kernel": 3, "groups": 4}}],
    "conv2d, 1 x 1": [{"conv2d": {"out": 5, "kernel": 1}}],
    "conv2d, 1 x 1, groups": [{"conv2d": {"out": 4, "kernel": 1, "groups": 2}}],
    "conv2d, 1 x 1, stride": [{"conv2d": {"out": 5, "kernel": 1, "stride": 2}}],
    "conv2d, long rows": [{"conv2d": {"out": 3, "kernel": [2, 5], "padding": 2}}],
    "conv2d, no bias": [{"conv2d": {"out": 3, "kernel": 3, "bias": False}}],
    "max_pool2d": [{"max_pool2d": 2}],
    "max_pool2d, of one": [{"max_pool2d": 1}],
    "max_pool2d, that fits exactly": [{"max_pool2d": [3, 7]}],
    "max_pool2d, overlapping": [{"max_pool2d": {"kernel": 3, "stride": 2}}],
    "max_pool2d, gaps": [{"max_pool2d": {"kernel": 2, "stride": 3}}],
    "max_pool2d, padding": [{"max_pool2d": {"kernel": 3, "stride": 2, "padding": 1}}],
    "avg_pool2d": [{"avg_pool2d": 2}],
    "avg_pool2d, overlapping": [{"avg_pool2d": {"kernel": [3, 2], "stride": [2, 1]}}],
    "avg_pool2d, padding": [{"avg_pool2d": {"kernel": 3, "stride": 2, "padding": 1}}],
    "avg_pool2d, of all": [{"avg_pool2d": [6, 7]}],
    "layer_norm": ["layer_norm"],
    "relu before max_pool2d": ["relu", {"max_pool2d": 2}],
    "relu, layer_norm, relu": ["relu", "layer_norm", "relu"],
    "tanh after max_pool2d": [{"max_pool2d": 2}, "tanh"],
    "flatten between": ["flatten", "tanh"],
    "residual": [{"residual": ["relu", {"conv2d": {"out": 4, "kernel": 3, "padding": 1}}]}],
    "residual, shortcut": ["relu", {"residual": {
        "layers": [{"conv2d": {"out": 6, "kernel": 3, "stride": 2, "padding": 1}}, "relu",
                   {"conv2d": {"out": 6, "kernel": 3, "padding": 1}}],
        "shortcut": [{"conv2d": {"out": 6, "kernel": 1, "stride": 2}}]}}, "relu"],
    "residual, shortcut without parameters": [{"residual": {
        "layers": [{"conv2d": {"out": 4, "kernel": 2, "stride": 2}}],
        "shortcut": [{"avg_pool2d": 2}]}}],
    "residual in residual": [{"residual": [CONVOLUTION, {"residual": ["tanh", CONVOLUTION]}, "tanh"]}],
}
ON_ROWS = {
    "dense": [{"dense": 4}],
    "dense, no bias": [{"dense": {"out": 4, "bias": False}}],
    "relu": ["relu"],
    "leaky_relu": ["leaky_relu"],
    "leaky_relu, other slope": [{"leaky_relu": 0.3}],
    "tanh": ["tanh"],
    "sigmoid": ["sigmoid"],
    "gelu": ["gelu"],
    "gelu, tanh": [{"gelu": "tanh"}],
    "layer_norm": ["layer_norm"],
    "layer_norm, large eps": [{"layer_norm": 0.5}],
    "dropout": [{"dropout": 0.3}],
    "residual": [{"residual": [{"dense": 6}, "tanh"]}],
    "residual of relu alone": [{"residual": ["relu"]}],
    "activations in turn": ["tanh", "leaky_relu", "sigmoid", "relu", "gelu"],
}


@pytest.mark.parametrize("layers", ON_IMAGES.values(), ids=ON_IMAGES)
@pytest.mark.parametrize("weighted", [False, True])
def test_gradient_on_images(layers, weighted):
    model = network((2, 6, 7), [CONVOLUTION, *layers])
    check_gradient(model, problem_of(model, weighted=weighted))


@pytest.mark.parametrize("layers", ON_ROWS.values(), ids=ON_ROWS)
@pytest.mark.parametrize("loss", ["softmax", "squared"])
def test_gradient_on_rows(layers, loss):
    model = network((5,), [{"dense": 6}, *layers], 1 if loss == "squared" else 3, loss)
    check_gradient(model, problem_of(model, weighted=True))


@pytest.mark.parametrize("layers", ON_IMAGES.values(), ids=ON_IMAGES)
def test_gradient_as_the_first_layer(layers):
    """There nobody wants the gradient by the inputs."""
    model = network((4, 6, 7), layers)
    check_gradient(model, problem_of(model))


def test_every_layer_is_checked():
    used = {name for layers in (*ON_IMAGES.values(), *ON_ROWS.values()) for each in layers
            for name in ([each] if isinstance(each, str) else each)}
    assert used == set(LAYERS)


@pytest.mark.parametrize(("shape", "layers"), [
    *(((4, 6, 7), layers) for layers in ON_IMAGES.values()),
    *(((6,), layers) for layers in ON_ROWS.values())])
def test_gradient_by_the_inputs(shape, layers):
    """Central differences of the sum of the outputs, each times a random number."""
    generator = np.random.default_rng(1)
    alone = Alone(layers, shape)
    x = generator.normal(size=(3, *shape))
    times = generator.normal(size=alone.forward(x).shape)
    found = alone.backward(times)
    for direction in generator.normal(size=(5, *x.shape)):
        up, down = (np.sum(alone.forward(x + step * direction) * times) for step in (1e-6, -1e-6))
        slope = (up - down) / 2e-6
        assert np.sum(found * direction) == pytest.approx(slope, rel=1e-6, abs=1e-6)


def convolution(x, weight, bias, stride, padding, groups):
    """A torch.nn.Conv2d in plain loops."""
    n, _, height, width = x.shape
    out, channels, high, wide = weight.shape
    padded = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    rows = (height + 2 * padding[0] - high) // stride[0] + 1
    columns = (width + 2 * padding[1] - wide) // stride[1] + 1
    y = np.empty((n, out, rows, columns))
    for o in range(out):
        first = o // (out // groups) * channels
        for i in range(rows):
            for j in range(columns):
                window = padded[:, first:first + channels, i * stride[0]:i * stride[0] + high,
                                j * stride[1]:j * stride[1] + wide]
                y[:, o, i, j] = np.sum(window * weight[o], axis=(1, 2, 3)) + bias[o]
    return y


@pytest.mark.parametrize("channels", [1, 4, 16])
@pytest.mark.parametrize(("kernel", "stride", "padding", "groups"), [
    ((3, 3), (1, 1), (0, 0), 1), ((3, 3), (1, 1), (1, 1), 1), ((2, 3), (2, 1), (1, 2), 1),
    ((5, 1), (1, 3), (4, 0), 1), ((1, 1), (1, 1), (0, 0), 1), ((3, 2), (2, 2), (1, 0), 2),
    ((3, 3), (1, 1), (1, 1), 4)])
def test_convolution_is_that_of_plain_loops(channels, kernel, stride, padding, groups):
    if channels % groups:
        channels = groups
    options = {"out": 8, "kernel": list(kernel), "stride": list(stride), "padding": list(padding),
               "groups": groups}
    alone = Alone([{"conv2d": options}], (channels, 9, 7))
    x = np.random.default_rng(2).normal(size=(5, channels, 9, 7))
    expected = convolution(x, alone.parameters["0.weight"], alone.parameters["0.bias"], stride,
                           padding, groups)
    np.testing.assert_allclose(alone.forward(x), expected, rtol=0, atol=1e-12)


def pooled(x, kernel, stride, padding, reduce, fill):
    """A torch.nn.MaxPool2d or AvgPool2d in plain loops."""
    padded = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2), constant_values=fill)
    rows, columns = ((size - kernel) // stride + 1 for size in padded.shape[2:])
    y = np.empty((*x.shape[:2], rows, columns))
    for i in range(rows):
        for j in range(columns):
            y[:, :, i, j] = reduce(padded[:, :, i * stride:i * stride + kernel,
                                          j * stride:j * stride + kernel], axis=(2, 3))
    return y


@pytest.mark.parametrize(("kernel", "stride", "padding"), [
    (2, 2, 0), (3, 2, 0), (3, 2, 1), (2, 3, 0), (3, 1, 1), (4, 4, 2), (1, 1, 0)])
def test_pooling_is_that_of_plain_loops(kernel, stride, padding):
    x = np.random.default_rng(3).normal(size=(3, 5, 8, 11))
    for name, reduce, fill in (("max_pool2d", np.max, -np.inf), ("avg_pool2d", np.mean, 0)):
        options = {"kernel": kernel, "stride": stride, "padding": padding}
        np.testing.assert_allclose(Alone([{name: options}], (5, 8, 11)).forward(x),
                                   pooled(x, kernel, stride, padding, reduce, fill),
                                   rtol=0, atol=1e-14)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (2, 1, 0), (3, 3, 0)])
def test_the_first_of_equal_numbers_has_the_gradient_of_their_maximum(kernel, stride, padding):
    """As in PyTorch: first by row, then by column; all that comes in goes out, once."""
    x = np.random.default_rng(4).integers(0, 2, size=(4, 3, 7, 8)).astype(float)
    alone = Alone([{"max_pool2d": {"kernel": kernel, "stride": stride, "padding": padding}}], (3, 7, 8))
    dy = np.random.default_rng(5).normal(size=alone.forward(x).shape)
    expected = np.zeros((4, 3, 7 + 2 * padding, 8 + 2 * padding))
    padded = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2), constant_values=-np.inf)
    for n, c, i, j in np.ndindex(dy.shape):
        window = padded[n, c, i * stride:i * stride + kernel, j * stride:j * stride + kernel]
        row, column = divmod(int(window.argmax()), window.shape[1])
        expected[n, c, i * stride + row, j * stride + column] += dy[n, c, i, j]
    inside = expected[:, :, padding:padding + 7, padding:padding + 8]
    np.testing.assert_allclose(alone.backward(dy), inside, rtol=0, atol=1e-14)
    assert inside.sum() == pytest.approx(dy.sum())


def test_relu_and_max_pooling_in_both_orders_agree():
    """The network computes relu last, and must give what relu first gives, on ties too."""
    x = np.random.default_rng(6).integers(-2, 3, size=(4, 3, 6, 6)).astype(float)
    swapped = Alone(["relu", {"max_pool2d": 2}], (3, 6, 6))
    relu, pool = Alone(["relu"], (3, 6, 6)), Alone([{"max_pool2d": 2}], (3, 6, 6))
    y = pool.forward(relu.forward(x))
    np.testing.assert_array_equal(swapped.forward(x), y)
    dy = np.random.default_rng(7).normal(size=y.shape)
    np.testing.assert_array_equal(swapped.backward(dy), relu.backward(pool.backward(dy)))


def _norm(v):
    return (v - np.mean(v)) / math.sqrt(np.var(v) + 1e-5)


@pytest.mark.parametrize(("name", "formula"), [
    ("relu", lambda v: max(v, 0)),
    ("leaky_relu", lambda v: v if v > 0 else 0.01 * v),
    ("tanh", math.tanh),
    ("sigmoid", lambda v: 1 / (1 + math.exp(-v))),
    ("gelu", lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2)])
def test_activations_are_their_formulas(name, formula):
    x = np.concatenate([np.linspace(-9, 9, 1001), [0.0, -0.0, 1e-300, -1e-9, 30, -30, 600, -600]])
    expected = [formula(v) for v in x]
    np.testing.assert_allclose(Alone([name], (len(x),)).forward(x[None])[0], expected,
                               rtol=1e-14, atol=1e-15 if name == "gelu" else 1e-34)


def test_gelu_by_tanh_is_near_the_exact_one():
    x = np.linspace(-8, 8, 10_001)[None]
    exact, near = (Alone([each], x.shape[1:]).forward(x) for each in ("gelu", {"gelu": "tanh"}))
    assert 1e-4 < np.abs(exact - near).max() < 5e-4


@pytest.mark.parametrize("shape", [(6,), (3, 4, 5)])
def test_layer_norm_is_its_formula(shape):
    x = np.random.default_rng(8).normal(3, 2, size=(5, *shape))
    alone = Alone(["layer_norm"], shape)
    expected = [_norm(row) * alone.parameters["0.weight"] + alone.parameters["0.bias"] for row in x]
    np.testing.assert_allclose(alone.forward(x), expected, rtol=1e-12, atol=1e-12)


def test_a_constant_example_passes_layer_norm():
    assert not Alone(["layer_norm"], (4,), parameters={
        "0.weight": np.ones(4), "0.bias": np.zeros(4)}).forward(np.full((2, 4), 1e8)).any()


def test_flatten_is_in_the_order_of_pytorch():
    x = np.random.default_rng(9).normal(size=(3, 4, 5, 2))
    for shape in ((4, 5, 2), (1, 5, 8), (40, 1, 1)):
        images = x.reshape(3, *shape)
        alone = Alone(["flatten"], shape)
        np.testing.assert_array_equal(alone.forward(images), x.reshape(3, 40))
        np.testing.assert_array_equal(alone.backward(x.reshape(3, 40)), images)


def test_residual_adds_its_input():
    x = np.random.default_rng(10).normal(size=(3, 6))
    branch = Alone([{"dense": 6}, "tanh"], (6,))
    whole = Alone([{"residual": [{"dense": 6}, "tanh"]}], (6,), parameters={
        f"0.{name}": array for name, array in branch.parameters.items()})
    np.testing.assert_allclose(whole.forward(x), branch.forward(x) + x, rtol=0, atol=1e-15)


#: Modules of torch.nn, and names and shapes of their parameters, as ``state_dict`` gives them:
#:   Sequential(Conv2d(3, 8, (5, 3), groups=1), ReLU(), MaxPool2d(2), Conv2d(8, 6, 3, groups=2,
#:   bias=False), LayerNorm([6, 3, 4]), Residual(Conv2d(6, 6, 3, padding=1), GELU(), shortcut=
#:   Sequential(Conv2d(6, 6, 1))), Flatten(), Dropout(), Linear(72, 10), Tanh(), Linear(10, 4, False))
#: with ``Residual`` a Sequential that has ``shortcut`` as another module.
TORCH = [
    ("0.weight", (8, 3, 5, 3)), ("0.bias", (8,)),
    ("3.weight", (6, 4, 3, 3)),
    ("4.weight", (6, 3, 4)), ("4.bias", (6, 3, 4)),
    ("5.0.weight", (6, 6, 3, 3)), ("5.0.bias", (6,)),
    ("5.shortcut.0.weight", (6, 6, 1, 1)), ("5.shortcut.0.bias", (6,)),
    ("8.weight", (10, 72)), ("8.bias", (10,)),
    ("10.weight", (4, 10)),
]


def test_names_and_layouts_are_those_of_pytorch():
    model = network((3, 14, 14), [
        {"conv2d": {"out": 8, "kernel": [5, 3]}}, "relu", {"max_pool2d": 2},
        {"conv2d": {"out": 6, "kernel": 3, "groups": 2, "bias": False}}, "layer_norm",
        {"residual": {"layers": [{"conv2d": {"out": 6, "kernel": 3, "padding": 1}}, "gelu"],
                      "shortcut": [{"conv2d": {"out": 6, "kernel": 1}}]}},
        "flatten", "dropout", {"dense": 10}, "tanh", {"dense": {"out": 4, "bias": False}}], 3)
    tensors = model.tensors()
    assert [(name, tensor.shape) for name, tensor in tensors.items()][:-2] == TORCH
    not_penalized = {name for name, tensor in tensors.items() if not tensor.penalized}
    assert not_penalized == {name for name in tensors if name.endswith("bias")} | {"4.weight"}


def test_layers_compare_by_their_options():
    short, long = read_layers([{"max_pool2d": 2}]), read_layers([{"max_pool2d": {"kernel": [2, 2]}}])
    assert short == long != read_layers([{"max_pool2d": 3}])
    assert hash(short) == hash(long)
