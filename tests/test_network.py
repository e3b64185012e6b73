"""Networks as wholes: gradients, types, buffers, dropout, presets, first values, descriptions."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import numpy as np
import pytest
from gradient_checker import check_gradient, zero_gradient
from network_tools import Alone, network, problem_of

from mr_gradient import models
from mr_gradient.errors import DataError
from mr_gradient.models import network as network_module
from mr_gradient.models.layers.base import Workspace
from mr_gradient.models.network import Network

pytestmark = pytest.mark.fast

CONVOLUTION = {"conv2d": {"out": 4, "kernel": 3, "padding": 1}}
EVERYTHING = [
    {"conv2d": {"out": 4, "kernel": 5, "padding": 2}}, "relu", {"max_pool2d": 2},
    {"conv2d": {"out": 6, "kernel": 3, "stride": 2, "groups": 2, "padding": 1}}, "leaky_relu",
    {"residual": ["layer_norm", {"conv2d": {"out": 6, "kernel": 3, "padding": 1}}, "gelu"]},
    {"residual": {"layers": [{"conv2d": {"out": 3, "kernel": 1}}], "shortcut": [
        {"conv2d": {"out": 3, "kernel": 3, "padding": 1}}]}},
    {"avg_pool2d": {"kernel": 2, "stride": 1}}, {"gelu": "tanh"}, {"dropout": 0.4}, "flatten",
    {"dense": 9}, "tanh", "layer_norm", "sigmoid", {"dense": 8}, {"dropout": 0.2}]
NETWORKS = {
    "everything": network((3, 12, 12), EVERYTHING),
    "values": network((1, 12, 12), EVERYTHING, 1, "squared"),
    "two classes, one output": network((1, 12, 12), EVERYTHING, 1, "logistic"),
    "views first": Network(6, 3, ("flatten", "dropout", "relu", {"dense": 3})),
    "relu last": Network(6, 3, ({"dense": 3}, "relu")),
    "tanh last": Network(6, 1, ({"dense": 1}, "tanh"), "squared"),
}
every_network = pytest.mark.parametrize("model", NETWORKS.values(), ids=NETWORKS)


def results(model, problem, generator=None):
    gradient = zero_gradient(problem)
    sums = model.accumulate(*problem, gradient, generator=generator)
    return sums, gradient


def equal(found, expected):
    return found[0] == expected[0] and all(
        np.array_equal(found[1][name], array) for name, array in expected[1].items())


@pytest.fixture
def few_at_once(monkeypatch):
    """Three examples at a time."""
    monkeypatch.setattr(network_module, "_BYTES_AT_ONCE", 0)
    monkeypatch.setattr(network_module, "_LEAST_AT_ONCE", 3)


def smooth(model):
    """The network without kinks, of which it has too many for differences of finite steps."""
    instead = {"relu": "tanh", "leaky_relu": "gelu", "max_pool2d": {"avg_pool2d": 2}}
    return replace(model, layers=[instead.get(layer.name, layer) for layer in model.layers])


@every_network
@pytest.mark.parametrize("seed", range(2))
def test_gradient_of_whole_networks(model, seed):
    check_gradient(smooth(model), problem_of(model, weighted=True, seed=seed), seed)


def test_gradient_when_few_examples_go_at_once(few_at_once):
    model = NETWORKS["everything"]
    check_gradient(smooth(model), problem_of(model, rows=8, weighted=True))


@every_network
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4, 11])
def test_how_many_go_at_once_changes_only_the_rounding(model, rows, few_at_once, monkeypatch):
    problem = problem_of(model, max(rows, 1), weighted=True)
    problem = problem._replace(x=problem.x[:rows], y=problem.y[:rows], weight=problem.weight[:rows])
    few, predicted = results(model, problem), model.predict(problem.parameters, problem.x)
    monkeypatch.undo()
    sums, gradient = results(model, problem)
    assert few[0] == pytest.approx(sums, rel=1e-12, abs=1e-12)
    for name, array in gradient.items():
        np.testing.assert_allclose(few[1][name], array, rtol=0, atol=1e-10)
    np.testing.assert_allclose(predicted, model.predict(problem.parameters, problem.x), atol=1e-14)
    assert len(predicted) == rows


class Watched(np.ndarray):
    """An array that, with all that is computed from it, notes the type of every result."""

    found: set

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        def plain(array):
            return array.view(np.ndarray) if isinstance(array, Watched) else array

        if out is not None:
            kwargs["out"] = tuple(map(plain, out))
        result = getattr(ufunc, method)(*map(plain, inputs), **kwargs)
        if method == "__call__":  # in which type, whatever the result was put into
            types = [each.dtype if hasattr(each, "dtype") else type(each) for each in inputs]
            computed = ufunc.resolve_dtypes((*types, *(None,) * ufunc.nout))
            self.found.update(each.name for each in computed)
        self.found.add(np.asarray(result).dtype.name)
        if out is not None:
            return out[0]
        return result.view(Watched) if isinstance(result, np.ndarray) else result


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_nothing_is_computed_in_another_type(precision, monkeypatch):
    """Every ufunc that an array of the network goes into is watched, the loss apart."""
    Watched.found = set()
    model = network((3, 12, 12), EVERYTHING)
    problem = problem_of(model, dtype=precision)
    gradient = {name: array.view(Watched) for name, array in zero_gradient(problem).items()}
    problem = problem._replace(x=problem.x.view(Watched), parameters={
        name: array.view(Watched) for name, array in problem.parameters.items()})
    buffers = Workspace.array
    monkeypatch.setattr(Workspace, "array", lambda *arguments, **options: (
        buffers(*arguments, **options).view(Watched)))
    of_loss = []

    def loss(z, y, weight, gradient):
        z = z.view(np.ndarray)
        assert z.dtype == precision
        dz = np.ones_like(z) - z
        of_loss.append(dz.dtype)
        return {"loss": 0.0}, dz.view(Watched)

    monkeypatch.setitem(network_module.LOSSES, "softmax", loss)
    network_module._store.clear()
    model.accumulate(*problem, gradient, generator=np.random.default_rng(0))
    network_module._store.clear()
    # Masks are bool, and the random numbers of dropout float32.
    assert Watched.found - {"bool", "float32"} == {precision} - {"float32"}
    assert {"bool", precision} <= Watched.found
    assert of_loss == [np.dtype(precision)]


@every_network
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_results_have_the_type_of_the_parameters(model, precision):
    problem = problem_of(model, dtype=precision)
    _, gradient = results(model, problem)
    assert {array.dtype.name for array in gradient.values()} == {precision}
    assert model.predict(problem.parameters, problem.x).dtype == precision


def test_float32_is_near_float64():
    model = NETWORKS["everything"]
    exact, rounded = (results(model, problem_of(model, dtype=dtype)) for dtype in ("f8", "f4"))
    assert rounded[0] == pytest.approx(exact[0], rel=1e-5)
    for name, array in exact[1].items():
        np.testing.assert_allclose(rounded[1][name], array, rtol=1e-3, atol=1e-4)


@every_network
def test_buffers_keep_nothing_from_call_to_call(model):
    """Calls of all sizes, parameters, types and models in turn give what each gives first."""
    other = network((2, 8, 8), [CONVOLUTION, "relu", {"max_pool2d": 2}])
    calls = [(each, problem_of(each, rows, dtype=dtype, seed=seed))
             for each in (model, other) for rows in (5, 2, 20) for dtype in ("f4", "f8")
             for seed in (0, 1)]
    fresh = []
    for each, problem in calls:
        network_module._store.clear()
        fresh.append((results(each, problem), each.predict(problem.parameters, problem.x)))
    network_module._store.clear()
    for order in (calls, calls[::-1], calls[::3]):
        for each, problem in order:
            (expected, predicted), = (found for call, found in zip(calls, fresh)
                                      if call[1] is problem)
            assert equal(results(each, problem), expected)
            assert np.array_equal(each.predict(problem.parameters, problem.x), predicted)
    assert len(network_module._store) <= network_module._STORED


def test_a_smaller_chunk_finds_no_rows_of_a_larger_one_in_the_borders():
    model = network((1, 5, 5), [CONVOLUTION, {"conv2d": {"out": 2, "kernel": 3, "padding": 1}}])
    large, small = problem_of(model, 12), problem_of(model, 12, seed=1)
    network_module._store.clear()
    expected = [results(model, small._replace(x=small.x[:n], y=small.y[:n])) for n in (3, 7, 12)]
    results(model, large)
    for n, each in zip((3, 7, 12), expected):
        assert equal(results(model, small._replace(x=small.x[:n], y=small.y[:n])), each)


def test_the_store_holds_nothing_of_the_caller():
    model = NETWORKS["everything"]
    problem = problem_of(model)
    results(model, problem)
    workspace = network_module._store[model, np.dtype(np.float64)]
    pending = [workspace]
    while pending:
        each = pending.pop()
        assert (each.parameters, each.gradient, each.generator, each.kept) == ({}, None, None, None)
        pending += each._inner.values()


def test_models_serve_several_threads_at_once():
    """Each call has a workspace of its own."""
    model = NETWORKS["everything"]
    problems = [problem_of(model, 9, seed=seed) for seed in range(4)]
    expected = [results(model, problem) for problem in problems]
    wrong = []

    def work(number):
        for _ in range(15):
            if not equal(results(model, problems[number]), expected[number]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_call_that_fails_leaves_no_trace():
    model = NETWORKS["everything"]
    problem = problem_of(model)
    expected = results(model, problem)
    with pytest.raises(IndexError):
        results(model, problem._replace(y=problem.y + 3))
    assert equal(results(model, problem), expected)


def test_dropout_is_the_same_for_the_same_generator_and_absent_without(few_at_once, monkeypatch):
    model = NETWORKS["everything"]
    problem = problem_of(model, 10)

    def with_seed(*seed):
        generator = np.random.default_rng(np.random.SeedSequence(seed))
        return [results(model, problem, generator) for _ in range(2)]

    first, again, other = with_seed(1, 2, 3), with_seed(1, 2, 3), with_seed(1, 2, 4)
    assert all(map(equal, first, again))
    assert not equal(first[0], first[1])  # the second chunk of a split has masks of its own
    assert not equal(first[0], other[0])
    assert equal(results(model, problem), results(model, problem))
    assert not equal(results(model, problem), first[0])
    monkeypatch.undo()  # all examples at once
    whole = with_seed(1, 2, 3)
    for few, all_at_once in zip(first, whole):
        assert few[0] == pytest.approx(all_at_once[0], rel=1e-12)


def test_dropout_keeps_the_mean_and_its_masks_can_be_cut():
    """Layer k draws from the k-th spawned generator, example by example over the full width."""
    rate, shape = 0.3, (40, 2, 25)
    x = np.random.default_rng(0).normal(1, 0.1, size=(200, *shape))
    alone = Alone([{"dropout": rate}, "relu", {"dropout": 0.5}], shape)
    y = alone.forward(x, np.random.default_rng(7))
    first, second = np.random.default_rng(7).spawn(2)
    # Inside, channels are last.
    masks = [(each.random((200, 2, 25, 40), np.float32) >= p).transpose(0, 3, 1, 2)
             for each, p in ((first, rate), (second, 0.5))]
    expected = np.maximum(x * masks[0] / (1 - rate), 0) * masks[1] / 0.5
    np.testing.assert_allclose(y, expected, rtol=1e-14)
    # 400,000 numbers: 7 standard errors of the mean.
    assert y.mean() == pytest.approx(x.mean(), abs=7 * np.sqrt((1 / 0.35 - 1) / x.size))
    dy = np.random.default_rng(1).normal(size=y.shape)
    slope = masks[0] / (1 - rate) * masks[1] / 0.5 * (expected > 0)
    np.testing.assert_allclose(alone.backward(dy), dy * slope, rtol=1e-14)


def test_dropout_of_rate_zero_changes_nothing():
    x = np.random.default_rng(0).normal(size=(4, 6))
    np.testing.assert_array_equal(Alone([{"dropout": 0}], (6,)).forward(x, np.random.default_rng(0)), x)


def test_large_outputs_are_safe():
    """Outputs of about 1e4 and all-zero rows: finite sums, without a warning."""
    model = NETWORKS["everything"]
    problem = problem_of(model, dtype="f4")
    for scale in (0, 1e4):
        far = problem._replace(x=problem.x * np.float32(scale), parameters={
            name: array * np.float32(100 if scale else 1)
            for name, array in problem.parameters.items()})
        sums, gradient = results(model, far)
        assert np.isfinite(sums["loss"])
        assert all(np.isfinite(array).all() for array in gradient.values())
        assert np.isfinite(model.predict(far.parameters, far.x)).all()


def test_first_values_are_as_layers_say():
    """Spread by He et al., by Glorot and Bengio before tanh and sigmoid; keyed by seed and number."""
    model = network((30, 12, 12), [
        {"conv2d": {"out": 60, "kernel": 3}}, "tanh", {"conv2d": {"out": 60, "kernel": 3, "groups": 2}},
        "relu", {"residual": [{"conv2d": {"out": 60, "kernel": 3, "padding": 1}}, "sigmoid"]},
        "layer_norm", "flatten", {"dense": 20}], 10)
    first, again, other = model.init(3), model.init(3), model.init(4)
    assert {name: array.shape for name, array in first.items()} == {
        name: tensor.shape for name, tensor in model.tensors().items()}
    spread = {"0.weight": 2 / (9 * 90), "2.weight": 2 / (9 * 30), "4.0.weight": 2 / (9 * 120),
              "7.weight": 2 / 3840}
    for number, (name, array) in enumerate(first.items()):
        assert array.dtype == np.float64
        np.testing.assert_array_equal(array, again[name])
        if name in spread:
            assert array.var() == pytest.approx(spread[name], rel=0.1)
            assert not np.array_equal(array, other[name])
            generator = np.random.default_rng(np.random.SeedSequence([3, number]))
            np.testing.assert_array_equal(
                array, generator.normal(0, np.sqrt(spread[name]), array.shape))
    assert not any(array.any() for name, array in first.items() if name.endswith("bias"))
    assert (first["5.weight"] == 1).all()


def test_first_values_of_mlp_are_those_of_its_formula():
    """He et al. for every layer, the last one too."""
    first = models.create("mlp", 7, "class", 3, {"hidden": (5, 4)}).init(11)
    assert list(first) == ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"]
    for number, inputs in ((0, 7), (2, 5), (4, 4)):
        generator = np.random.default_rng(np.random.SeedSequence([11, number]))
        weight = first[f"{number}.weight"]
        np.testing.assert_array_equal(weight, generator.normal(0, np.sqrt(2 / inputs), weight.shape))


@pytest.mark.parametrize(("name", "features", "options", "parameters"), [
    ("mlp", 784, {"hidden": (512, 256)}, 535_818),
    ("lenet", 784, {}, 61_706),  # LeNet-5 with full connections, known from many texts
    ("lenet", 3072, {"input_shape": (3, 32, 32)}, 83_126),
    ("alexnet-small", 3072, {"input_shape": (3, 32, 32)}, 3_071_946),
    ("alexnet-small", 784, {}, 2_415_722),
    ("network", 12, {"layers": [{"dense": 3}, "relu", {"dense": 10}], "hidden": (7,)}, 79)])
def test_presets(name, features, options, parameters):
    model = models.create(name, features, "class", 10, options)
    assert sum(int(np.prod(tensor.shape)) for tensor in model.tensors().values()) == parameters
    assert models.from_json(models.to_json(model)) == model
    value = models.create(name, features, "value", 0, {**options, **(
        {"layers": [{"dense": 1}]} if "layers" in options else {})})
    assert (value.loss, value.outputs) == ("squared", 1)


@pytest.mark.parametrize("change", [
    {"layers": []}, {"layers": [{"dense": 2}]}, {"layers": ["relo"]}, {"layers": 3},
    {"input_shape": [1, 2]}, {"outputs": 2}, {"loss": "x"}, {"hidden": 3}])
def test_a_damaged_description_is_a_data_error(change):
    description = json.loads(models.to_json(models.create("mlp", 6, "class", 3, {})))
    with pytest.raises(DataError, match="damaged model description"):
        models.from_json(json.dumps({**description, **change}))


def test_rows_that_overlap_in_memory_or_are_read_only_are_left_as_they_are():
    model = network((2, 6, 6), ["relu", CONVOLUTION])
    problem = problem_of(model, 4)
    base = np.random.default_rng(0).normal(size=90)
    x = np.lib.stride_tricks.as_strided(base, (4, 72), (48, 8), writeable=False)
    before = base.copy()
    overlapping = results(model, problem._replace(x=x))
    assert equal(overlapping, results(model, problem._replace(x=x.copy())))
    np.testing.assert_array_equal(base, before)
