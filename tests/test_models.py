"""Every model: its gradient, its sums, its predictions, its description."""

import numpy as np
import pytest
from gradient_checker import check_gradient, random_problem, zero_gradient

from mr_gradient import models
from mr_gradient.errors import DataError, UsageError
from mr_gradient.models.base import AtPoint, accumulate_chunks, layout
from mr_gradient.models.linear import Linear
from mr_gradient.models.losses import has_probabilities
from mr_gradient.models.presets import mlp

pytestmark = pytest.mark.fast

MODELS = {
    "linear": models.create("linear", 5, "value", 0, {}),
    "huber": models.create("huber", 5, "value", 0, {"huber_delta": 0.8}),
    "poisson": models.create("poisson", 5, "value", 0, {}),
    "logistic": models.create("logistic", 5, "class", 2, {}),
    "svm": models.create("svm", 5, "class", 2, {}),
    "softmax": models.create("softmax", 5, "class", 3, {}),
    "mlp, no hidden layer": models.create("mlp", 5, "class", 3, {"hidden": ()}),
    "mlp, one hidden layer": models.create("mlp", 5, "class", 3, {"hidden": (4,)}),
    "mlp, two hidden layers": models.create("mlp", 5, "class", 3, {"hidden": (6, 4)}),
    "mlp, values": models.create("mlp", 5, "value", 0, {"hidden": (4,)}),
    "mlp, wide": models.create("mlp", 20, "class", 3, {"hidden": (30,)}),
}
OF_VALUES = ("squared", "huber", "poisson")
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
with_and_without_weights = pytest.mark.parametrize("weighted", [False, True])


@every_model
@with_and_without_weights
@pytest.mark.parametrize("seed", range(3))
def test_gradient_is_that_of_the_loss_sum(model, weighted, seed):
    check_gradient(model, random_problem(model, weighted=weighted, seed=seed), seed)


class Mutant:
    """A model whose loss is right and whose gradient is wrong."""

    def __init__(self, model, spoil):
        self._model, self._spoil = model, spoil
        self.tensors, self.features, self.loss = model.tensors, model.features, model.loss

    def accumulate(self, parameters, x, y, weight, gradient):
        if gradient is None:
            return self._model.accumulate(parameters, x, y, weight, None)
        right = {name: np.zeros_like(array) for name, array in gradient.items()}
        sums = self._model.accumulate(parameters, x, y, weight, right)
        unweighted = {name: np.zeros_like(array) for name, array in gradient.items()}
        self._model.accumulate(parameters, x, y, None, unweighted)
        self._spoil(gradient, right, unweighted, len(x))
        return sums


def _add(gradient, wrong):
    for name, array in wrong.items():
        gradient[name] += array


def _one_coordinate(gradient, right, unweighted, rows):
    last = list(right)[-2]
    right[last][-1, -1] *= 1.01
    _add(gradient, right)


def _assigned(gradient, right, unweighted, rows):
    for name, array in right.items():
        gradient[name][...] = array


def _transposed_layers(gradient, right, unweighted, rows):
    _add(gradient, {name: array[::-1] for name, array in right.items()})


MUTANTS = {
    "sign": lambda gradient, right, unweighted, rows: _add(
        gradient, {name: -array for name, array in right.items()}),
    "no weights": lambda gradient, right, unweighted, rows: _add(gradient, unweighted),
    "mean": lambda gradient, right, unweighted, rows: _add(
        gradient, {name: array / rows for name, array in right.items()}),
    "no biases": lambda gradient, right, unweighted, rows: _add(
        gradient, {name: array for name, array in right.items() if name.endswith("weight")}),
    "one coordinate off by 1%": _one_coordinate,
    "assigned, not added": _assigned,
    "outputs in reverse": _transposed_layers,
}


@pytest.mark.parametrize("name", ["softmax", "mlp, two hidden layers", "mlp, wide"])
@pytest.mark.parametrize("spoil", MUTANTS.values(), ids=MUTANTS)
def test_the_checker_catches_a_wrong_gradient(name, spoil):
    mutant = Mutant(MODELS[name], spoil)
    with pytest.raises(AssertionError, match="the loss has slope"):
        check_gradient(mutant, random_problem(MODELS[name], weighted=True))


def test_the_checker_passes_what_a_mutant_leaves_right():
    harmless = Mutant(MODELS["softmax"], lambda gradient, right, *_: _add(gradient, right))
    check_gradient(harmless, random_problem(MODELS["softmax"], weighted=True))


@every_model
@with_and_without_weights
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_are_the_same_with_and_without_a_gradient(model, weighted, dtype):
    problem = random_problem(model, weighted=weighted, dtype=dtype)
    gradient = zero_gradient(problem)
    sums = model.accumulate(*problem, gradient)
    assert sums == model.accumulate(*problem, None)
    assert all(type(value) is float for value in sums.values())
    assert set(sums) == {"loss", "squared_error" if model.loss in OF_VALUES else "correct"}
    assert all(array.any() for array in gradient.values())


@every_model
def test_sample_weights_equal_repeated_rows(model):
    problem = random_problem(model, rows=9)
    times = np.array([0, 1, 2, 3, 1, 0, 2, 1, 4])
    repeated = [np.repeat(array, times, axis=0) for array in (problem.x, problem.y)]
    weighted_gradient, repeated_gradient = zero_gradient(problem), zero_gradient(problem)
    weighted = model.accumulate(*problem[:3], times.astype(float), weighted_gradient)
    expected = model.accumulate(problem.parameters, *repeated, None, repeated_gradient)
    assert weighted == pytest.approx(expected, rel=1e-12)
    for name, array in repeated_gradient.items():
        np.testing.assert_allclose(weighted_gradient[name], array, rtol=1e-10, atol=1e-12)


@every_model
@with_and_without_weights
@pytest.mark.parametrize("rows", [1, 7, 23, 100])
def test_chunks_add_up_to_the_whole(model, weighted, rows):
    problem = random_problem(model, rows=23, weighted=weighted)
    whole, in_chunks = zero_gradient(problem), zero_gradient(problem)
    expected = model.accumulate(*problem, whole)
    chunks = [(problem.x[lo:lo + rows], problem.y[lo:lo + rows],
               problem.weight[lo:lo + rows] if weighted else None) for lo in range(0, 23, rows)]
    sums, = accumulate_chunks(model, [AtPoint(problem.parameters, in_chunks)], chunks)
    assert sums.pop("examples") == 23
    assert sums.pop("weight") == pytest.approx(problem.weight.sum() if weighted else 23)
    assert sums == pytest.approx(expected, rel=1e-12)
    for name, array in whole.items():
        np.testing.assert_allclose(in_chunks[name], array, rtol=1e-10, atol=1e-12)


@every_model
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_predictions_agree_with_the_sums(model, dtype):
    problem = random_problem(model, rows=200, dtype=dtype)
    predicted = model.predict(problem.parameters, problem.x)
    sums = model.accumulate(*problem, None)
    assert predicted.dtype == dtype
    if model.loss in OF_VALUES:
        assert predicted.shape == (200,)
        assert np.sum((predicted - problem.y) ** 2) == pytest.approx(sums["squared_error"], rel=1e-5)
    else:
        assert predicted.shape == (200, max(2, model.outputs))
        if has_probabilities(model.loss):
            assert predicted.min() >= 0
            np.testing.assert_allclose(predicted.sum(axis=1), 1, rtol=0, atol=1e-6)
        assert np.sum(predicted.argmax(axis=1) == problem.y) == sums["correct"]


@every_model
def test_float32_gradient_is_close_to_float64(model):
    exact = random_problem(model)
    rounded = random_problem(model, dtype=np.float32)
    expected, found = zero_gradient(exact), zero_gradient(rounded)
    model.accumulate(*exact, expected)
    model.accumulate(*rounded, found)
    for name, array in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], array, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("loss", "outputs"), [("softmax", 3), ("squared", 1), ("logistic", 1)])
def test_a_network_without_hidden_layers_is_the_linear_model(loss, outputs):
    linear = Linear(5, outputs, loss)
    network = mlp(5, outputs, (), loss)
    problem = random_problem(linear, weighted=True)
    renamed = problem._replace(parameters={
        f"0.{name}": array for name, array in problem.parameters.items()})
    expected, found = zero_gradient(problem), zero_gradient(renamed)
    sums = network.accumulate(*renamed, found)
    assert sums == pytest.approx(linear.accumulate(*problem, expected), rel=1e-12)
    for name, array in expected.items():
        np.testing.assert_allclose(found[f"0.{name}"], array, rtol=1e-12, atol=1e-12)


def test_initial_parameters_depend_on_the_seed_alone():
    model = mlp(300, 3, (200, 100))
    first, again, other = model.init(1), model.init(1), model.init(2)
    assert {name: array.shape for name, array in first.items()} == dict(layout(model).shapes)
    for name, array in first.items():
        assert array.dtype == np.float64
        np.testing.assert_array_equal(array, again[name])
        if name.endswith("bias"):
            assert not array.any()
        else:
            assert not np.array_equal(array, other[name])
    variance = first["0.weight"].var()
    assert variance == pytest.approx(2 / 300, rel=0.03)  # 60,000 draws: five standard errors
    one, other = (first[name].flat[:50] * np.sqrt(size)
                  for name, size in (("0.weight", 300), ("2.weight", 200)))
    assert not np.allclose(one, other)  # each tensor draws from a generator of its own


def test_convex_models_start_at_zero_and_intercepts_are_not_penalized():
    for model in MODELS.values():
        assert all(tensor.penalized == name.endswith("weight")
                   for name, tensor in model.tensors().items())
        if isinstance(model, Linear):
            assert not any(array.any() for array in model.init(5).values())


@pytest.mark.parametrize(("name", "kind", "classes", "message"), [
    ("forest", "class", 2, "--model forest: must be one of linear, huber, .*, softmax, mlp"),
    ("linear", "class", 2, "--model linear: predicts a value, but .* is a class"),
    ("softmax", "value", 0, "--model softmax: predicts a class, .* one of linear, huber, poisson, mlp"),
    ("logistic", "class", 3, "needs a target of 2 classes, found 3; choose softmax"),
    ("svm", "class", 3, "--model svm: needs a target of 2 classes, found 3; choose softmax")])
def test_create_refuses_what_does_not_fit(name, kind, classes, message):
    with pytest.raises(UsageError, match=message):
        models.create(name, 4, kind, classes, {})


@pytest.mark.parametrize("delta", [0, -1, float("nan"), float("inf")])
def test_a_wrong_delta_is_refused(delta):
    with pytest.raises(UsageError, match=f"--huber-delta {delta}: must be a finite number above 0"):
        models.create("huber", 4, "value", 0, {"huber_delta": delta})


@every_model
def test_description_round_trip(model):
    assert models.from_json(models.to_json(model)) == model


@pytest.mark.parametrize("text", [
    "", "no JSON", "[]", "3", "{}", '{"class": "Forest"}', '{"class": ["Linear"]}',
    '{"class": "Linear"}', '{"class": "Linear", "features": 3, "depth": 2}', "[" * 100_000],
    ids=lambda text: text[:40])
def test_a_damaged_description_is_a_data_error(text):
    with pytest.raises(DataError, match="damaged model description"):
        models.from_json(text)
