"""The models' sums against scikit-learn's metrics. Not fast: only one Python has scikit-learn."""

import numpy as np
import pytest
from gradient_checker import random_problem, zero_gradient

from mr_gradient import models
from mr_gradient.models.metrics import ClassMetrics, ValueMetrics

SEEDS = range(3)
weighted_or_not = pytest.mark.parametrize("weighted", [False, True])
CLASSIFIERS = {
    "logistic": models.create("logistic", 6, "class", 2, {}),
    "softmax": models.create("softmax", 6, "class", 4, {}),
    "mlp": models.create("mlp", 6, "class", 4, {"hidden": (5, 5)})}
REGRESSORS = {
    "linear": models.create("linear", 6, "value", 0, {}),
    "mlp": models.create("mlp", 6, "value", 0, {"hidden": (5,)})}


@pytest.fixture
def metrics():
    """Imported late: the fast tests collect this file where scikit-learn is absent."""
    import sklearn.metrics
    return sklearn.metrics


def total(weight, rows):
    return rows if weight is None else weight.sum()


@weighted_or_not
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("model", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_loss_and_correct_of_classes(metrics, model, seed, weighted):
    parameters, x, y, weight = random_problem(model, 150, weighted, seed=seed)
    sums = model.accumulate(parameters, x, y, weight, None)
    predicted = model.predict(parameters, x)
    labels = np.arange(predicted.shape[1])
    mean = metrics.log_loss(y, predicted, labels=labels, sample_weight=weight)
    accuracy = metrics.accuracy_score(y, predicted.argmax(axis=1), sample_weight=weight)
    assert sums["loss"] == pytest.approx(mean * total(weight, 150), rel=1e-9)
    assert sums["correct"] == pytest.approx(accuracy * total(weight, 150), rel=1e-12)


@weighted_or_not
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("model", REGRESSORS.values(), ids=REGRESSORS)
def test_squared_error_of_values(metrics, model, seed, weighted):
    parameters, x, y, weight = random_problem(model, 150, weighted, seed=seed)
    sums = model.accumulate(parameters, x, y, weight, None)
    mean = metrics.mean_squared_error(y, model.predict(parameters, x), sample_weight=weight)
    assert sums["squared_error"] == pytest.approx(mean * total(weight, 150), rel=1e-12)
    assert sums["loss"] == pytest.approx(mean * total(weight, 150) / 2, rel=1e-12)


def test_gradient_vanishes_where_scikit_learn_finds_the_minimum():
    """Softmax with penalty 0.5 |W|^2, which is scikit-learn's objective at C = 1."""
    from sklearn.linear_model import LogisticRegression

    model = CLASSIFIERS["softmax"]
    problem = random_problem(model, 150)
    fitted = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(problem.x, problem.y)
    at_minimum = problem._replace(parameters={"weight": fitted.coef_, "bias": fitted.intercept_})
    gradient = zero_gradient(at_minimum)
    model.accumulate(*at_minimum, gradient)
    np.testing.assert_allclose(gradient["weight"] + fitted.coef_, 0, rtol=0, atol=1e-4)
    np.testing.assert_allclose(gradient["bias"], 0, rtol=0, atol=1e-4)


@weighted_or_not
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "kind"), [("huber", "value"), ("poisson", "value"), ("svm", "class")])
def test_the_other_losses_of_linear_models(metrics, name, kind, seed, weighted):
    from scipy.special import huber, xlogy

    model = models.create(name, 6, kind, 2, {"huber_delta": 0.7})
    parameters, x, y, weight = random_problem(model, 150, weighted, seed=seed)
    loss = model.accumulate(parameters, x, y, weight, None)["loss"]
    predicted = model.predict(parameters, x)
    weight = np.ones(150) if weight is None else weight
    if name == "poisson":
        half_deviance = metrics.mean_poisson_deviance(y, predicted, sample_weight=weight) / 2
        expected = half_deviance * weight.sum() - np.sum(weight * (xlogy(y, y) - y))
    elif name == "huber":
        expected = np.sum(weight * huber(0.7, predicted - y))
    else:
        expected = np.sum(weight * np.maximum(0, 1 - (2 * y - 1) * predicted[:, 1]) ** 2)
    assert loss == pytest.approx(expected, rel=1e-11)


def test_gradients_vanish_where_scikit_learn_finds_the_other_minima():
    """LinearSVC: |w|^2 / 2 + C sum of losses; it penalizes its intercept, scaled by 1000, a little.
    PoissonRegressor: mean of losses + alpha / 2 |w|^2."""
    from sklearn.linear_model import PoissonRegressor
    from sklearn.svm import LinearSVC

    for name, kind, classes, estimator, penalty in (
            ("svm", "class", 2, LinearSVC(C=0.5, dual=False, tol=1e-10, max_iter=100_000,
                                          intercept_scaling=1000), 1 / 0.5),
            ("poisson", "value", 0, PoissonRegressor(alpha=0.1, tol=1e-9, max_iter=10_000), 0.1 * 150)):
        model = models.create(name, 6, kind, classes, {})
        problem = random_problem(model, 150)
        fitted = estimator.fit(problem.x, problem.y)
        coefficients = fitted.coef_.reshape(1, 6)
        at_minimum = problem._replace(parameters={
            "weight": coefficients, "bias": np.reshape(fitted.intercept_, 1)})
        gradient = zero_gradient(at_minimum)
        model.accumulate(*at_minimum, gradient)
        np.testing.assert_allclose(gradient["weight"] + penalty * coefficients, 0, rtol=0, atol=1e-4)
        np.testing.assert_allclose(gradient["bias"], 0, rtol=0, atol=1e-4)


@weighted_or_not
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("classes", [2, 7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_metrics_of_classes(metrics, classes, seed, weighted, dtype):
    generator = np.random.default_rng(seed)
    y = generator.integers(0, classes, 400)
    y[y == 1] = 0 if classes > 2 else 1  # a class that is absent
    z = generator.normal(size=(400, classes)) + np.eye(classes)[y]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    p = p.astype(dtype)
    weight = generator.uniform(0.1, 3, 400) if weighted else None
    ours = ClassMetrics(classes, top=3)
    sums = ours.zeros()
    ours.add(sums, p, y, weight, 0.0)
    found, labels = ours.finish(sums), np.arange(classes)
    chosen = p.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(y, chosen, sample_weight=weight))
    np.testing.assert_allclose(found["confusion"], metrics.confusion_matrix(
        y, chosen, labels=labels, sample_weight=weight), rtol=1e-12)
    exact = p.astype(np.float64)
    assert found["log_loss"] == pytest.approx(metrics.log_loss(
        y, exact / exact.sum(axis=1, keepdims=True), labels=labels, sample_weight=weight), rel=1e-6)
    if classes == 2:
        area = metrics.roc_auc_score(y, p[:, 1], sample_weight=weight)
        assert abs(found["auc"] - area) <= found["auc_error"] + 1e-12
        assert found["auc_error"] < 2e-3
    else:
        assert found["top_3_accuracy"] == pytest.approx(metrics.top_k_accuracy_score(
            y, p, k=3, labels=labels, sample_weight=weight), rel=1e-12)


@weighted_or_not
@pytest.mark.parametrize("seed", SEEDS)
def test_metrics_of_values(metrics, seed, weighted):
    generator = np.random.default_rng(seed)
    y = generator.normal(10, 3, 400)
    predicted = y + generator.normal(size=400)
    weight = generator.uniform(0.1, 3, 400) if weighted else None
    ours = ValueMetrics()
    sums = ours.zeros()
    ours.add(sums, predicted, y, weight, 0.0)
    found = ours.finish(sums)
    for name, expected in (("rmse", np.sqrt(metrics.mean_squared_error(y, predicted,
                                                                       sample_weight=weight))),
                           ("mae", metrics.mean_absolute_error(y, predicted, sample_weight=weight)),
                           ("r2", metrics.r2_score(y, predicted, sample_weight=weight))):
        assert found[name] == pytest.approx(expected, rel=1e-12), name
