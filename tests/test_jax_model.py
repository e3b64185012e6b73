"""The adapter for JAX against numpy, and its example through the commands.

JAX comes with the extra ``test`` where it installs; elsewhere this file is skipped. It runs in
processes of its own, for its threads must not be copied by the forks of other tests.
"""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
from cli_tools import DIGITS, ROOT, command, refused
from trainings import bits, in_a_process

from mr_gradient import models
from mr_gradient.models import jax_model

pytestmark = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")

EXAMPLE = ROOT / "examples" / "own_model" / "jax_network.py"
FEATURES, CLASSES, ROWS = 4, 3, 21

#: Softmax regression and least squares in JAX, and what they give at some rows, in both types.
IN_JAX = """
import json, sys, warnings
import numpy as np
from mr_gradient.errors import ModelError
from mr_gradient.models.base import Tensor
from mr_gradient.models.check import check_model
from mr_gradient.models.jax_model import JaxModel

def softmax(p, x):
    import jax
    return jax.nn.softmax(x @ p["weight"].T + p["bias"])
def cross_entropy(p, x, y):
    import jax
    return -jax.nn.log_softmax(x @ p["weight"].T + p["bias"])[jax.numpy.arange(len(y)), y]
def line(p, x):
    return x @ p["weight"][0] + p["bias"][0]
def squared(p, x, y):
    return (line(p, x) - y) ** 2 / 2

def made(k, loss, predict):
    return JaxModel({"weight": Tensor((k, 4)), "bias": Tensor((k,), False)}, loss, predict)

cases = json.load(open(sys.argv[1]))
found = []
for case in cases:
    model = made(*((3, cross_entropy, softmax) if case["kind"] == "class" else (1, squared, line)))
    dtype = np.dtype(case["dtype"])
    parameters = {name: np.array(value, dtype) for name, value in case["parameters"].items()}
    x = np.array(case["x"], dtype)
    y = np.array(case["y"], np.uint8 if case["kind"] == "class" else dtype)
    weight = None if case["weight"] is None else np.array(case["weight"])
    gradient = {name: np.zeros_like(value) for name, value in parameters.items()}
    sums = model.accumulate(parameters, x, y, weight, gradient)
    assert model.accumulate(parameters, x, y, weight, None) == sums
    assert all(array.dtype == dtype for array in gradient.values())
    predicted = model.predict(parameters, x)
    assert predicted.dtype == dtype
    found.append({"sums": sums, "gradient": {n: a.tolist() for n, a in gradient.items()},
                  "predicted": predicted.tolist()})
check_model(made(3, cross_entropy, softmax), 4, "class", 3)
check_model(made(1, squared, line), 4, "value", 0)
import jax
try:
    check_model(made(1, lambda p, x, y: squared(p, x, y).sum(), line), 4, "value", 0)
except ModelError as error:
    found.append(str(error))
try:
    # A gradient that JAX is told to compute wrongly.
    twice = jax.custom_vjp(lambda z: z)
    twice.defvjp(lambda z: (z, None), lambda _, g: (2 * g,))
    check_model(made(1, lambda p, x, y: twice(squared(p, x, y)), line), 4, "value", 0)
except ModelError as error:
    found.append(str(error))
from mr_gradient.jobs.worker_pool import why_fork_is_unsafe
found.append(why_fork_is_unsafe())
print(json.dumps(found))
"""


def cases() -> list[dict]:
    generator = np.random.default_rng(0)
    found = []
    for kind, outputs in (("class", CLASSES), ("value", 1)):
        for dtype in ("float32", "float64"):
            for rows in (1, ROWS, 64):
                y = (generator.integers(0, CLASSES, rows) if kind == "class"
                     else generator.normal(size=rows))
                found.append({
                    "kind": kind, "dtype": dtype, "y": y.tolist(),
                    "weight": None if rows == 64 else generator.uniform(0, 2, rows).tolist(),
                    "x": generator.normal(size=(rows, FEATURES)).tolist(),
                    "parameters": {"weight": generator.normal(size=(outputs, FEATURES)).tolist(),
                                   "bias": generator.normal(size=outputs).tolist()}})
    return found


@pytest.fixture(scope="module")
def computed(tmp_path_factory) -> list:
    """What the process says of each case, of two wrong models and of forks after it."""
    path = tmp_path_factory.mktemp("jax") / "cases.json"
    path.write_text(json.dumps(cases()))
    ended = in_a_process(IN_JAX, path)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_sums_gradients_and_predictions_are_those_of_numpy(computed):
    for case, found in zip(cases(), computed):
        name, classes = ("softmax", CLASSES) if case["kind"] == "class" else ("linear", 0)
        model = models.create(name, FEATURES, case["kind"], classes, {})
        parameters = {name: np.array(value) for name, value in case["parameters"].items()}
        gradient = {name: np.zeros_like(value) for name, value in parameters.items()}
        x, y = np.array(case["x"]), np.array(case["y"])
        weight = None if case["weight"] is None else np.array(case["weight"])
        sums = model.accumulate(parameters, x, y, weight, gradient)
        close = {"rtol": 1e-5, "atol": 1e-5} if case["dtype"] == "float32" else {"rtol": 1e-12,
                                                                                  "atol": 1e-12}
        assert found["sums"].keys() == sums.keys()
        for name in sums:
            np.testing.assert_allclose(found["sums"][name], sums[name], **close)
        for name in gradient:
            np.testing.assert_allclose(found["gradient"][name], gradient[name], **close)
        np.testing.assert_allclose(found["predicted"], model.predict(parameters, x), **close)


def test_what_is_wrong_is_told(computed):
    sums_up, wrong, _ = computed[-3:]
    assert "must return the loss of each example, (8,), and add nothing up; found ()" in sums_up
    assert "the gradient of 'weight' is wrong" in wrong


def test_nothing_is_forked_where_jax_has_computed(computed):
    assert "JAX" in computed[-1]


def test_rows_are_filled_up_to_few_sizes():
    sizes = {jax_model._padded(rows) for rows in range(10_001)}
    assert len(sizes) <= 8 * 10
    for rows in range(1, 10_001):
        assert rows <= jax_model._padded(rows) <= max(rows + 7, rows * 1.125)


def mr_gradient(*arguments: str) -> dict:
    """What a command prints with ``--json``, in a process of its own, without a warning."""
    ended = in_a_process("import sys; from mr_gradient.cli import main; sys.exit(main())", *arguments,
                         "--json")
    assert ended.returncode == 0, ended.stderr
    assert "Warning" not in ended.stderr
    return json.loads(ended.stdout)


def test_the_example_from_the_table_to_the_evaluation(tmp_path, capfd, monkeypatch):
    """The driver computes nothing with JAX, so two processes can be forked, with the bits of one."""
    monkeypatch.chdir(tmp_path)
    assert command("prepare", DIGITS, "--out", "digits", "--test-fraction", "0.2", "--shards", "2") == 0
    for cores in ("1", "2"):
        trained = mr_gradient(
            "train", "--data", "digits", "--model", f"{EXAMPLE}:make", "--model-options",
            "{hidden: 16}", "--optimizer", "lbfgs", "--l2", "1e-3", "--iterations", "30",
            "--out", cores, "--num-cores", cores)
        assert trained["held_out"]["accuracy"] > 0.93
    assert bits(tmp_path / "1") == bits(tmp_path / "2")
    measured = mr_gradient("evaluate", "--model", "2", "--data", "digits", "--model-code",
                           "2/model.py:make", "--num-cores", "2")
    assert measured["loss"] == trained["held_out"]["loss"]
    refused(capfd, tmp_path, "train", "--data", "digits", "--model", f"{EXAMPLE}:make", "--out", "3",
            "--model-options", "{hidden: 0}", words=("'hidden.weight' must have a shape of sizes",))
