"""The change of variables: a linear map, its inverse, its transpose; and what it is good for."""

import numpy as np
import pytest
from search_problems import Softmax, digits, drive

from mr_gradient.optimizers.base import Evaluation
from mr_gradient.optimizers.change_of_variables import ChangeOfVariables, hessian_scale
from mr_gradient.optimizers.lbfgs import LBFGS

pytestmark = pytest.mark.fast

MEAN, SCALE = np.linspace(-3, 5, 7), np.geomspace(0.1, 20, 7)
CHANGES = {"none": ChangeOfVariables(), "centred": ChangeOfVariables(MEAN),
           "scaled": ChangeOfVariables(None, SCALE), "both": ChangeOfVariables(MEAN, SCALE)}
every_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


def tensors(seed, dtype=np.float64):
    generator = np.random.default_rng(seed)
    return {"weight": generator.normal(size=(3, 7)).astype(dtype),
            "bias": generator.normal(size=3).astype(dtype)}


def inner(one, other):
    return sum(float(np.sum(one[name] * other[name])) for name in one)


@every_change
def test_outputs_are_those_of_the_features_centred_and_scaled(change):
    """x W^T + b = ((x - mean) scale) U^T + c."""
    x, variables = np.random.default_rng(0).normal(size=(9, 7)), tensors(1)
    model = change.to_model(variables)
    mean = 0 if change.mean is None else change.mean
    scale = 1 if change.scale is None else change.scale
    np.testing.assert_allclose(x @ model["weight"].T + model["bias"],
                               ((x - mean) * scale) @ variables["weight"].T + variables["bias"],
                               rtol=1e-12, atol=1e-12)


@every_change
def test_from_model_is_the_inverse(change):
    for name, tensor in change.from_model(change.to_model(tensors(0))).items():
        np.testing.assert_allclose(tensor, tensors(0)[name], rtol=0, atol=1e-12)


@every_change
def test_the_gradient_goes_back_by_the_transpose(change):
    """<T phi, g> = <phi, T' g>."""
    phi, g = tensors(0), tensors(1)
    assert inner(change.to_model(phi), g) == pytest.approx(inner(phi, change.gradient(g)), rel=1e-12)


@every_change
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_types_stay_and_nothing_is_changed_in_place(change, dtype):
    given = tensors(0, dtype)
    for tensor in given.values():
        tensor.setflags(write=False)
    for function in (change.to_model, change.from_model, change.gradient):
        assert {tensor.dtype for tensor in function(given).values()} == {np.dtype(dtype)}


def test_intercepts_are_rounded_once():
    """c and W mean are both near 1e4: in float32 their difference would keep 3 digits."""
    change = ChangeOfVariables(np.full(7, 1e4 / 7))
    variables = {"weight": np.ones((1, 7), np.float32), "bias": np.array([1e4 + 0.125], np.float32)}
    expected = float(variables["bias"][0]) - 1e4
    assert change.to_model(variables)["bias"][0] == pytest.approx(expected, rel=1e-6)


def test_the_scale_makes_the_hessians_diagonal_one():
    x = np.random.default_rng(0).normal(size=(50, 4)) * [1, 10, 0.1, 0]
    square, mean = (x * x).mean(axis=0), x.mean(axis=0)
    scale = hessian_scale(square, 0.25, 1e-3)
    np.testing.assert_allclose(scale ** 2 * (0.25 * square + 1e-3), 1, rtol=1e-12)
    centred = hessian_scale(square, 0.25, 1e-3, mean)
    np.testing.assert_allclose(centred ** 2 * (0.25 * x.var(axis=0) + 1e-3), 1, rtol=1e-12)
    np.testing.assert_array_equal(hessian_scale(square, 0.25, 0.0)[3], 1.0)


def search_in(change, problem, jobs=1000, until=-np.inf):
    """L-BFGS over the variables of ``change``; its objective is that of the model."""
    def named(flat):
        return {"weight": flat[:problem.split].reshape(problem.classes, -1),
                "bias": flat[problem.split:]}

    def flat(named):
        return np.concatenate([named["weight"].ravel(), named["bias"]])

    def evaluate(phi):
        found = problem(flat(change.to_model(named(phi))))
        return Evaluation(found.objective, flat(change.gradient(named(found.gradient))))

    return drive(LBFGS(memory=30, gradient_tolerance=1e-6, objective_tolerance=0), evaluate,
                 np.zeros(problem.size), jobs=jobs, until=until)


def test_centering_saves_jobs_on_digits():
    """To 1.001 of the optimum, which is the same for both."""
    problem = Softmax(*digits(), 1e-4)
    plain, centred = ChangeOfVariables(), ChangeOfVariables(problem.x.mean(axis=0))
    optimum = search_in(centred, problem).objective
    assert search_in(plain, problem).objective == pytest.approx(optimum, rel=1e-6)
    jobs = search_in(centred, problem, until=1.001 * optimum).jobs
    assert jobs < 0.8 * search_in(plain, problem, until=1.001 * optimum).jobs


def test_scaling_saves_jobs_where_features_are_rare_and_frequent():
    generator = np.random.default_rng(0)
    frequency = np.geomspace(0.5, 0.005, 100)
    x = (generator.uniform(size=(1000, 100)) < frequency).astype(float)
    z = x @ (generator.normal(size=100) / np.sqrt(frequency)) / 3
    problem = Softmax(x, (z > np.median(z)).astype(int), 1e-5)
    scaled = ChangeOfVariables(None, hessian_scale((x * x).mean(axis=0), 0.25, 1e-5))
    optimum = search_in(scaled, problem).objective
    jobs = search_in(scaled, problem, until=1.001 * optimum).jobs
    assert search_in(ChangeOfVariables(), problem, jobs=2 * jobs).objective > 1.001 * optimum
