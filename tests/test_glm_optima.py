"""Whole trainings of linear models end at the optimum that scikit-learn, scipy or a formula finds.

Objectives are compared in float64, by formulas of their own, on digits and a9a.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.special import expit, logsumexp
from shared_data import shared_data
from sklearn.datasets import load_svmlight_file
from sklearn.linear_model import ElasticNet, LogisticRegression, PoissonRegressor, Ridge
from threadpoolctl import threadpool_limits
from trainings import run

from mr_gradient import model_folder
from mr_gradient.dataset.schema import Dataset
from mr_gradient.dataset.writer import write_arrays

DIGITS = Path(__file__).resolve().parent.parent / "data" / "digits.csv"
DELTA = 0.7


class Case(NamedTuple):
    """``target``: of digits ``digit`` (a class or a value) or ``odd``; of a9a ``income``."""

    model: str
    target: str
    optimizer: str = "auto"
    l1: float = 0.0
    l2: float = 0.0
    precision: str = "float64"
    layout: str = "dense"
    weighted: bool = False
    precondition: str = "auto"

    def __str__(self) -> str:
        words = (self.model, self.target, self.optimizer, f"l1={self.l1:g}", f"l2={self.l2:g}",
                 self.precision, self.layout, "weighted" * self.weighted,
                 self.precondition * (self.precondition != "auto"))
        return "-".join(filter(None, words))


class Examples(NamedTuple):
    """``x`` (n, features), an array or CSR, ``y`` (n,), ``weight`` (n,), float64."""

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray


def loss_sum(model: str, z: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple:
    """The weighted loss sum at outputs z (n, k), and its gradient by them."""
    rows = np.arange(len(y))
    t = z[:, 0]
    if model == "softmax":
        each = logsumexp(z, axis=1) - z[rows, y]
        d = np.exp(z - logsumexp(z, axis=1, keepdims=True))
        d[rows, y] -= 1
        return weight @ each, d * weight[:, None]
    r, sign = t - y, 2 * y - 1.0
    hinge = np.maximum(0, 1 - sign * t)
    each, d = {
        "linear": lambda: (r * r / 2, r),
        "huber": lambda: (np.where(np.abs(r) <= DELTA, r * r / 2, DELTA * (np.abs(r) - DELTA / 2)),
                          np.clip(r, -DELTA, DELTA)),
        "poisson": lambda: (np.exp(t) - y * t, np.exp(t) - y),
        "logistic": lambda: (np.logaddexp(0, t) - y * t, expit(t) - y),
        "svm": lambda: (hinge ** 2, -2 * sign * hinge)}[model]()
    return weight @ each, (d * weight)[:, None]


def objective(case: Case, data: Examples, W: np.ndarray, b: np.ndarray) -> tuple:
    """Value, and the gradient of its smooth part by W (k, features) and b (k,)."""
    total, dz = loss_sum(case.model, data.x @ W.T + b, data.y, data.weight)
    n = data.weight.sum()
    value = total / n + case.l2 / 2 * np.sum(W * W) + case.l1 * np.abs(W).sum()
    return value, (data.x.T @ dz).T / n + case.l2 * W, dz.sum(axis=0) / n


def by_scipy(case: Case, data: Examples, outputs: int) -> tuple:
    """W = P - Q with P, Q >= 0, so that the L1 penalty is linear: L-BFGS-B with bounds."""
    shape = outputs, data.x.shape[1]
    size = outputs * shape[1]

    def value(v: np.ndarray) -> tuple:
        W = (v[:size] - v[size:2 * size]).reshape(shape)
        found, dW, db = objective(case._replace(l1=0), data, W, v[2 * size:])
        slope = np.concatenate([dW.ravel() + case.l1, case.l1 - dW.ravel(), db])
        return found + case.l1 * v[:2 * size].sum(), slope

    bounds = [(0, None)] * (2 * size) + [(None, None)] * outputs
    found = minimize(value, np.zeros(2 * size + outputs), jac=True, method="L-BFGS-B", bounds=bounds,
                     options={"maxiter": 20_000, "maxfun": 20_000, "maxcor": 30, "ftol": 1e-11,
                              "gtol": 1e-6})
    return (found.x[:size] - found.x[size:2 * size]).reshape(shape), found.x[2 * size:]


def by_formula(data: Examples) -> tuple:
    """Weighted least squares on [x, 1]."""
    x = data.x if isinstance(data.x, np.ndarray) else data.x.toarray()
    root = np.sqrt(data.weight)
    design = np.column_stack([x, np.ones(len(x))])
    solved = np.linalg.lstsq(design * root[:, None], data.y * root, rcond=None)[0]
    return solved[None, :-1], solved[-1:]


@threadpool_limits.wrap(limits=1)
def optimum(case: Case, data: Examples, outputs: int) -> tuple:
    """Where others find the minimum; their penalties in our terms."""
    n, l1, l2 = data.weight.sum(), case.l1, case.l2
    if case.model == "linear" and not (l1 or l2):
        return by_formula(data)
    if case.model == "linear":
        fitted = ElasticNet(l1 + l2, l1_ratio=l1 / (l1 + l2), tol=1e-12, max_iter=100_000) if l1 else (
            Ridge(n * l2, tol=1e-12, solver="auto"))
    elif case.model in ("logistic", "softmax") and not l1:
        fitted = LogisticRegression(C=1 / (n * l2), tol=1e-7, max_iter=10_000,
                                    solver="newton-cholesky" if outputs == 1 else "lbfgs")
    elif case.model == "poisson" and not l1:
        fitted = PoissonRegressor(alpha=l2, tol=1e-10, max_iter=10_000, solver="newton-cholesky")
    else:
        return by_scipy(case, data, outputs)
    x = data.x if isinstance(data.x, np.ndarray) or not l1 else data.x.tocsc()
    fitted.fit(x, data.y, sample_weight=data.weight)
    return np.atleast_2d(fitted.coef_), np.atleast_1d(fitted.intercept_)


@pytest.fixture(scope="session")
def a9a(request, tmp_path_factory) -> tuple:
    x, y = load_svmlight_file(str(shared_data(request, tmp_path_factory) / "a9a.bz2"), n_features=123)
    return csr_array(x), (y > 0).astype(int)


def examples(case: Case, a9a: tuple) -> Examples:
    """Of a9a the first tenth, of digits all; pixels from 0 to 1."""
    if case.target == "income":
        x, y = a9a[0][:3000], a9a[1][:3000]
        x = x if case.layout == "csr" else x.toarray()
    else:
        table = np.loadtxt(DIGITS, delimiter=",", skiprows=1)
        x, y = table[:, :-1] / 16, table[:, -1].astype(int)
        x, y = csr_array(x) if case.layout == "csr" else x, y % 2 if case.target == "odd" else y
    generator = np.random.default_rng(3)
    weight = generator.uniform(0.1, 3, len(y)) if case.weighted else np.ones(len(y))
    return Examples(x, y, weight)


def written(folder: Path, case: Case, data: Examples) -> Dataset:
    """As a data set of three shards: digits as bytes with a scale, a9a as float32."""
    y, classes = data.y.astype(np.float32), ()
    if case.model in ("logistic", "svm", "softmax"):
        y, classes = data.y.astype(np.uint8), tuple(map(str, range(int(data.y.max()) + 1)))
    digits = case.target != "income"
    x = (data.x * 16).astype(np.uint8) if digits and case.layout == "dense" else (
        data.x.astype(np.float32))
    return write_arrays(str(folder), x, y, data.weight if case.weighted else None, classes=classes,
                        shards=3, scale=1 / 16 if x.dtype == np.uint8 else 1.0)


CASES = [
    Case("linear", "digit", precondition="both"),
    Case("linear", "digit", "newton", weighted=True),
    Case("linear", "digit", l2=0.01, precision="float32", weighted=True),
    Case("linear", "digit", l1=0.02, precision="float32"),
    Case("linear", "digit", l1=0.01, l2=0.02, layout="csr", weighted=True),
    Case("linear", "income", l2=1e-3, layout="csr"),
    Case("huber", "digit", l2=0.01, weighted=True),
    Case("huber", "digit", "newton", l2=0.01, precision="float32"),
    Case("huber", "income", l1=1e-3, l2=1e-3, layout="csr"),
    Case("poisson", "digit", l2=0.01, layout="csr", weighted=True),
    Case("poisson", "digit", "newton", l2=0.01),
    Case("poisson", "digit", l1=0.01, l2=0.001, precision="float32"),
    Case("logistic", "odd", l2=0.01, weighted=True),
    Case("logistic", "odd", l1=0.005, l2=0.001),
    Case("logistic", "income", l2=1e-3, layout="csr", precision="float32", weighted=True),
    Case("logistic", "income", "newton", l2=1e-3, layout="csr"),
    Case("logistic", "income", l1=1e-3, layout="csr"),
    Case("svm", "odd", l2=0.01),
    Case("svm", "odd", "newton", l2=0.01, precision="float32", weighted=True),
    Case("svm", "income", l1=1e-3, l2=1e-3, layout="csr", weighted=True),
    Case("softmax", "digit", l2=0.01, precision="float32"),
    Case("softmax", "digit", l1=0.002, l2=0.002, weighted=True),
    Case("softmax", "digit", "newton", l2=0.01, layout="csr", weighted=True),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_optimum(tmp_path, a9a, case):
    data = examples(case, a9a)
    result = run(written(tmp_path / "data", case, data), tmp_path / "model", 2000, model=case.model,
                 optimizer=case.optimizer, l1=case.l1, l2=case.l2, precision=case.precision,
                 huber_delta=DELTA, precondition=case.precondition)
    found = model_folder.load(str(tmp_path / "model")).parameters
    W, b = (found[name].astype(np.float64) for name in ("weight", "bias"))
    ours = objective(case, data, W, b)[0]
    theirs = objective(case, data, *optimum(case, data, len(b)))[0]
    assert ours == pytest.approx(theirs, rel=1e-6)
    assert result["objective"] == pytest.approx(ours, rel=1e-6)
    if case.l1:
        assert (W == 0).any()
