"""Layers beside scipy: convolutions, the error function, the softmax; and sparse rows."""

from __future__ import annotations

import numpy as np
import pytest
from gradient_checker import zero_gradient
from network_tools import Alone, network, problem_of
from scipy.ndimage import maximum_filter, uniform_filter
from scipy.signal import correlate, correlate2d
from scipy.sparse import csr_array
from scipy.special import erf as scipy_erf
from scipy.special import softmax

from mr_gradient.models import network as network_module
from mr_gradient.models.layers.gelu import erf


@pytest.mark.parametrize(("kernel", "padding", "stride", "channels"), [
    ((3, 3), 0, 1, 3), ((5, 5), 2, 1, 1), ((2, 4), 1, 1, 6), ((3, 3), 1, 2, 4), ((4, 3), 2, 3, 13)])
def test_convolution_is_the_correlation_of_every_pair_of_channels(kernel, padding, stride, channels):
    options = {"out": 5, "kernel": list(kernel), "padding": padding, "stride": stride}
    alone = Alone([{"conv2d": options}], (channels, 11, 10))
    x = np.random.default_rng(0).normal(size=(3, channels, 11, 10))
    padded = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
    weight, bias = alone.parameters["0.weight"], alone.parameters["0.bias"]
    expected = [[bias[o] + sum(correlate2d(image[c], weight[o, c], "valid") for c in range(channels))
                 for o in range(5)] for image in padded]
    expected = np.array(expected)[:, :, ::stride, ::stride]
    np.testing.assert_allclose(alone.forward(x), expected, rtol=0, atol=1e-12)


def test_gradients_of_a_convolution_are_correlations():
    """dW: of inputs with output gradients; dx: of output gradients with the kernel turned round."""
    alone = Alone([{"conv2d": {"out": 4, "kernel": [3, 5]}}], (6, 9, 10))
    generator = np.random.default_rng(1)
    x = generator.normal(size=(3, 6, 9, 10))
    dy = generator.normal(size=alone.forward(x).shape)
    dx = alone.backward(dy)
    weight = alone.parameters["0.weight"]
    for o, c in np.ndindex(4, 6):
        of_weight = sum(correlate2d(x[n, c], dy[n, o], "valid") for n in range(3))
        np.testing.assert_allclose(alone.gradient["0.weight"][o, c], of_weight, rtol=0, atol=1e-12)
    for n, c in np.ndindex(3, 6):
        of_inputs = sum(correlate(dy[n, o], weight[o, c, ::-1, ::-1], "full") for o in range(4))
        np.testing.assert_allclose(dx[n, c], of_inputs, rtol=0, atol=1e-12)
    np.testing.assert_allclose(alone.gradient["0.bias"], dy.sum(axis=(0, 2, 3)), rtol=1e-12)


def test_pooling_is_scipys_filter_at_the_windows():
    x = np.random.default_rng(2).normal(size=(2, 3, 9, 12))
    options = {"kernel": 3, "stride": 3}
    for name, filtered in (("max_pool2d", maximum_filter), ("avg_pool2d", uniform_filter)):
        expected = filtered(x, (1, 1, 3, 3))[:, :, 1::3, 1::3]
        found = Alone([{name: options}], (3, 9, 12)).forward(x)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_error_function(dtype):
    """To four units in the last place."""
    edges = np.array([0, -0.0, 0.46875, 4, 1e-300, 1e-30, 5.5, 6, 10, 27, 1e5, 1e300, np.inf])
    x = np.concatenate([np.linspace(-7, 7, 200_001), edges, -edges, np.nextafter(edges, 0)])
    with np.errstate(over="ignore"):
        x = x.astype(dtype)
    found = erf(x)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, scipy_erf(x.astype(np.float64)), rtol=4 * np.finfo(dtype).eps,
                               atol=1e-320)


@pytest.mark.parametrize("shape", [(12,), (3, 2, 2)])
@pytest.mark.parametrize("first", ["dense", "relu"])
def test_sparse_rows_give_what_dense_ones_give(shape, first, monkeypatch):
    """A dense layer takes them as they are; before any other they are made dense."""
    monkeypatch.setattr(network_module, "_BYTES_AT_ONCE", 0)
    monkeypatch.setattr(network_module, "_LEAST_AT_ONCE", 4)
    if len(shape) == 3:
        layers = (["flatten", {"dense": 4}] if first == "dense"
                  else [{"conv2d": {"out": 2, "kernel": 2}}])
    else:
        layers = [{"dense": 4}, "relu"] if first == "dense" else ["relu", "layer_norm"]
    model = network(shape, layers)
    problem = problem_of(model, 10, weighted=True)
    dense = np.where(np.random.default_rng(3).random((10, 12)) < 0.3, problem.x, 0)
    results = []
    for x in (dense, csr_array(dense)):
        gradient = zero_gradient(problem)
        sums = model.accumulate(*problem._replace(x=x), gradient)
        results.append((sums, gradient, model.predict(problem.parameters, x)))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-12)
    for name, array in results[0][1].items():
        np.testing.assert_allclose(results[1][1][name], array, rtol=0, atol=1e-12)
    np.testing.assert_allclose(results[1][2], results[0][2], rtol=0, atol=1e-12)


def test_probabilities_are_the_softmax_of_the_outputs():
    model = network((6,), [{"dense": 5}, "tanh"])
    problem = problem_of(model)
    outputs = Alone(list(model.layers), (6,), parameters=problem.parameters).forward(problem.x)
    np.testing.assert_allclose(model.predict(problem.parameters, problem.x), softmax(outputs, axis=1),
                               rtol=1e-12)
