"""What a model of one's own may do wrong, each mistake in one line; right models pass."""

from __future__ import annotations

import numpy as np
import pytest

from mr_gradient import models
from mr_gradient.errors import ModelError
from mr_gradient.models.base import Tensor
from mr_gradient.models.check import check_model

pytestmark = pytest.mark.fast

FEATURES, CLASSES = 5, 3


class Softmax:
    """Softmax regression, right in all; those below are wrong in one thing each."""

    def tensors(self):
        return {"weight": Tensor((CLASSES, FEATURES)), "bias": Tensor((CLASSES,), penalized=False)}

    def init(self, seed):
        return {name: np.zeros(tensor.shape) for name, tensor in self.tensors().items()}

    def predict(self, parameters, x):
        z = x @ parameters["weight"].T + parameters["bias"]
        p = np.exp(z - z.max(axis=1, keepdims=True))
        return p / p.sum(axis=1, keepdims=True)

    def derivative(self, p, y):
        return p - np.eye(CLASSES, dtype=p.dtype)[y]

    def accumulate(self, parameters, x, y, weight, gradient, generator=None):
        p = self.predict(parameters, x)
        weight = np.ones(len(y), p.dtype) if weight is None else weight.astype(p.dtype)
        if gradient is not None:
            dz = weight[:, None] * self.derivative(p, y)
            gradient["weight"] += dz.T @ x
            gradient["bias"] += dz.sum(axis=0)
        return {"loss": -(weight @ np.log(p[np.arange(len(y)), y])),
                "correct": weight @ (p.argmax(axis=1) == y)}


def changed(**methods) -> object:
    """A softmax regression with some methods of another kind; None for without."""
    made = type("Changed", (Softmax,), {name: each for name, each in methods.items() if each})()
    for name in (name for name, each in methods.items() if each is None):
        setattr(made, name, None)
    return made


def after(change) -> object:
    """``accumulate`` that is right, and then changed by ``change(sums, gradient, arguments)``."""
    def accumulate(self, parameters, x, y, weight, gradient, generator=None):
        sums = Softmax.accumulate(self, parameters, x, y, weight, gradient)
        return change(sums, gradient, (parameters, x, y, weight))
    return changed(accumulate=accumulate)


def replaced(sums, gradient, _):
    if gradient is not None:
        gradient["bias"] = gradient["bias"].astype(np.float16)
    return sums


def assigned(sums, gradient, _):
    if gradient is not None:
        gradient["bias"][:] -= 0.75
    return sums


def twice_the_bias(sums, gradient, arguments):
    if gradient is not None:
        parameters, x, y, weight = arguments
        other = {name: np.zeros_like(array) for name, array in gradient.items()}
        Softmax().accumulate(parameters, x, y, weight, other)
        gradient["bias"] += other["bias"]
    return sums


def one_wrong_of_many(sums, gradient, _):
    """Only a random direction finds it."""
    if gradient is not None:
        gradient["weight"][1, 2] += 0.01 * sums["loss"]
    return sums


def means(sums, gradient, arguments):
    rows = len(arguments[2])
    if gradient is not None:
        for array in gradient.values():
            array -= 0.75
            array /= rows
            array += 0.75
    return {name: value / rows for name, value in sums.items()}


def overwrites(sums, gradient, arguments):
    arguments[1][:] = 0
    return sums


RANDOM = np.random.default_rng(0)
WRONG = {
    "no method predict": (changed(predict=None), "without predict"),
    "tensors is a list": (changed(tensors=lambda self: ["w"]), "must return a dictionary"),
    "a shape alone": (changed(tensors=lambda self: {"weight": (3, 5)}), "'weight' must be Tensor("),
    "a shape of no size": (changed(tensors=lambda self: {"w": Tensor((0,))}), "'w' must have a shape"),
    "a name with a slash": (changed(tensors=lambda self: {"1/w": Tensor((2,))}), "'1/w'"),
    "init of another shape": (changed(init=lambda self, seed: {
        "weight": np.zeros((5, 3)), "bias": np.zeros(3)}),
        "init: 'weight' must be numbers (3, 5), found float64(5, 3)"),
    "init without a tensor": (changed(init=lambda self, seed: {"bias": np.zeros(3)}),
                              "init must return"),
    "init at random": (changed(init=lambda self, seed: {
        "weight": RANDOM.normal(size=(3, 5)), "bias": np.zeros(3)}), "the same for the same seed"),
    "init that fails": (changed(init=lambda self, seed: 1 / 0), "init failed: ZeroDivisionError"),
    "init of NaN": (changed(init=lambda self, seed: {
        "weight": np.full((3, 5), np.nan), "bias": np.zeros(3)}), "'weight' has values that are not"),
    "no loss": (after(lambda sums, *_: {"correct": 1.0}), "a dictionary with 'loss'"),
    "nothing": (after(lambda *_: None), "'loss', the sum over the examples, found None"),
    "another sum": (after(lambda sums, *_: {**sums, "acc": 1.0}), "found 'acc'"),
    "a loss for each example": (after(lambda *_: {"loss": np.ones(7)}), "'loss' must be a number"),
    "a loss of NaN": (after(lambda sums, *_: {"loss": np.nan}), "near init is nan"),
    "a gradient of another type": (after(replaced),
                                   "gradient['bias'] += ...; found it replaced by float16"),
    "a gradient that is assigned": (after(assigned), "gradient of 'bias'"),
    "a wrong gradient": (after(twice_the_bias), "the gradient of 'bias' is wrong"),
    "one wrong coordinate": (after(one_wrong_of_many), "gradient of 'weight'"),
    "means": (after(means), "never means: the loss of 7 examples is"),
    "a loss at random": (after(lambda sums, *_: {"loss": sums["loss"] + RANDOM.normal()}),
                         "the same when"),
    "rows that are overwritten": (after(overwrites), "accumulate failed: ValueError"),
    "weights left out": (changed(
        accumulate=lambda self, p, x, y, weight, gradient, generator=None:
        Softmax.accumulate(self, p, x, y, None, gradient)), "times its weight"),
    "no generator": (changed(accumulate=lambda self, p, x, y, weight, gradient:
                             Softmax.accumulate(self, p, x, y, weight, gradient)), "'generator'"),
    "scores": (changed(predict=lambda self, p, x: x @ p["weight"].T, accumulate=lambda self, *a, **_:
                       Softmax.accumulate(Softmax(), *a)), "probabilities of the classes"),
    "one probability": (changed(predict=lambda self, p, x: Softmax.predict(self, p, x)[:, 0],
                                accumulate=lambda self, *a, **_: Softmax.accumulate(Softmax(), *a)),
                        "must be numbers (7, 3)"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_told_in_one_line_that_names_the_model(mistake):
    model, words = WRONG[mistake]
    with pytest.raises(ModelError) as raised:
        check_model(model, FEATURES, "class", CLASSES)
    text = str(raised.value)
    assert words in text, text
    assert text.startswith("model Changed: ")
    assert "\n" not in text


def test_what_fails_inside_keeps_its_traceback():
    with pytest.raises(ModelError) as raised:
        check_model(WRONG["init that fails"][0], FEATURES, "class", CLASSES)
    assert "1 / 0" in raised.value.details


@pytest.mark.parametrize("name", ["linear", "huber", "logistic", "softmax", "mlp", "network"])
def test_the_models_of_this_project_pass(name):
    kind, classes = ("class", 2) if models.REGISTRY[name][2] == "class" else ("value", 0)
    options = {"layers": [{"dense": 4}, "tanh", {"dense": 1}]} if name == "network" else {}
    check_model(models.create(name, FEATURES, kind, classes, options), FEATURES, kind, classes)


@pytest.mark.parametrize("seed", range(20))
def test_a_right_model_passes_at_every_seed(seed):
    check_model(Softmax(), FEATURES, "class", CLASSES, seed=seed)


def in_float32(self, parameters, x, y, weight, gradient, generator=None):
    """As a library that knows no other type."""
    narrow = {name: array.astype(np.float32) for name, array in parameters.items()}
    inner = None if gradient is None else {name: np.zeros_like(a) for name, a in narrow.items()}
    sums = Softmax.accumulate(Softmax(), narrow, x.astype(np.float32), y, weight, inner)
    for name, array in (inner or {}).items():
        gradient[name] += self.factor * array
    return sums


@pytest.mark.parametrize("seed", range(20))
def test_a_model_that_computes_in_float32_passes_and_its_mistakes_do_not(seed):
    right = changed(accumulate=in_float32, factor=1)
    check_model(right, FEATURES, "class", CLASSES, seed=seed)
    with pytest.raises(ModelError, match="is wrong"):
        check_model(changed(accumulate=in_float32, factor=1.5), FEATURES, "class", CLASSES, seed=seed)


@pytest.mark.parametrize("seed", range(20))
def test_kinks_are_no_mistakes(seed):
    network = models.create("mlp", FEATURES, "class", CLASSES, {"hidden": (50,)})
    check_model(network, FEATURES, "class", CLASSES, seed=seed)
