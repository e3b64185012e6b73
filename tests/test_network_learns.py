"""LeNet and its like learn digits in a plain loop, where nothing but the model can be at fault."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from shared_data import ROOT, shared_data
from threadpoolctl import threadpool_limits

from mr_gradient import models
from mr_gradient.models.base import layout

pytestmark = pytest.mark.fast

MOMENTUM, L2 = 0.9, 1e-4


@pytest.fixture(autouse=True)
def one_thread():
    """As in tasks (law 2): BLAS threads that wait for each other made this ten times as long."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def mnist(request, tmp_path_factory):
    """Images (n, 784) from 0 to 1 and labels of the training and the test part."""
    folder = shared_data(request, tmp_path_factory)
    if folder != ROOT.parent / "shared" / "data":
        pytest.skip("there is nothing to learn in made up images")

    def read(part, name, header, width):
        data = gzip.decompress((folder / "mnist" / f"{part}-{name}-ubyte.gz").read_bytes())
        return np.frombuffer(data, np.uint8, offset=header).reshape(-1, *width)

    return [(read(part, "images-idx3", 16, (784,)) / np.float32(255), read(part, "labels-idx1", 8, ()))
            for part in ("train", "t10k")]


def digits():
    """The 1,797 digits that come with the project, 8 x 8 made 32 x 32; the last 397 to test."""
    table = np.loadtxt(ROOT / "data" / "digits.csv", np.float32, delimiter=",", skiprows=1)
    images = np.kron(table[:, :-1].reshape(-1, 8, 8) / 16, np.ones((4, 4), np.float32))
    x, y = images.reshape(-1, 1024), table[:, -1].astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(y))
    return [(x[rows], y[rows]) for rows in (order[:1400], order[1400:])]


def accuracy_after(model, parts, epochs, rate, batch, seed=0):
    """Of the test part, after stochastic gradient descent with momentum and a cosine schedule."""
    (x, y), (test_x, test_y) = parts
    where = layout(model)
    flat = where.flatten(model.init(seed), np.float32)
    velocity, gradient = np.zeros_like(flat), np.zeros_like(flat)
    parameters, views = where.views(flat), where.views(gradient)
    steps = [(epoch, lo) for epoch in range(epochs) for lo in range(0, len(y) - batch + 1, batch)]
    for step, (epoch, lo) in enumerate(steps):
        if lo == 0:
            order = np.random.default_rng([seed, epoch]).permutation(len(y))
        rows = order[lo:lo + batch]
        gradient.fill(0)
        model.accumulate(parameters, x[rows], y[rows], None, views,
                         generator=np.random.default_rng(np.random.SeedSequence([seed, step, 0])))
        gradient /= batch
        gradient += L2 * flat
        velocity *= MOMENTUM
        velocity -= rate * (1 + float(np.cos(np.pi * step / len(steps)))) / 2 * gradient
        flat += velocity
    assert flat.dtype == np.float32
    return np.mean(model.predict(parameters, test_x).argmax(axis=1) == test_y)


#: A bit of every kind of layer that a network for images is made of.
SMALL = [{"conv2d": {"out": 8, "kernel": 5, "stride": 2, "padding": 2}}, "leaky_relu", "layer_norm",
         {"residual": [{"conv2d": {"out": 8, "kernel": 3, "padding": 1, "groups": 2}}, "gelu"]},
         {"avg_pool2d": 4}, "flatten", {"dropout": 0.2}, {"dense": 32}, "tanh", {"dense": 10}]


@pytest.mark.parametrize(("name", "options", "epochs"), [
    ("lenet", {}, 3), ("network", {"layers": SMALL, "input_shape": (1, 32, 32)}, 4)])
def test_digits_are_learned(name, options, epochs):
    model = models.create(name, 1024, "class", 10, options)
    assert accuracy_after(model, digits(), epochs, 0.05, 32) > 0.93


def test_lenet_learns_from_a_part_of_mnist(mnist):
    (x, y), test = mnist
    model = models.create("lenet", 784, "class", 10, {})
    assert accuracy_after(model, [(x[:4000], y[:4000]), test], 2, 0.05, 32) > 0.94


@pytest.mark.long
@pytest.mark.timeout(900)
def test_lenet_reaches_99_percent_on_mnist(mnist):
    assert accuracy_after(models.create("lenet", 784, "class", 10, {}), mnist, 10, 0.05, 64) >= 0.99
