"""Valid data that is hard on numbers, through whole trainings: nothing warns and nothing overflows."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from trainings import run

from mr_gradient import model_folder
from mr_gradient.dataset.writer import write_arrays
from mr_gradient.evaluation import evaluate

pytestmark = pytest.mark.fast

#: A model, and how many classes it wants; 0 for values.
MODELS = {"linear": 0, "huber": 0, "poisson": 0, "logistic": 2, "svm": 2, "softmax": 3, "mlp": 3}
HOW = {
    "batch": {},
    "newton": {"optimizer": "newton"},
    "owlqn": {"l1": 0.01},
    "minibatches": {"batch_size": 8, "optimizer": "adam"},
    "local-sgd": {"strategy": "local-sgd", "batch_size": 8, "optimizer": "adam"},
    "scaled": {"precondition": "both"},
}
FITTING = [(model, how) for model in MODELS for how in HOW
           if model != "mlp" or how not in ("newton", "owlqn", "scaled")]
trainings = pytest.mark.parametrize(("model", "how"), FITTING)


def labels(classes: int, rows: int) -> np.ndarray:
    return (np.arange(rows) % classes).astype(np.uint8) if classes else np.arange(rows) % 4.0


def trained(folder, x, y, model: str, how: str, shards: int = 3, **more) -> dict:
    """Trains, checks that all that was written is finite, and returns the result."""
    classes = tuple("abc"[:MODELS[model]])
    data = write_arrays(str(folder / "data"), x, y, shards=shards, classes=classes,
                        held_out=(x[:3], y[:3]))
    result = run(data, folder / "model", options=["--num-cores", "1"], **{
        "iterations": 8, "model": model, "l2": 1e-3, **HOW[how], **more})
    found = model_folder.load(str(folder / "model")).parameters
    assert all(np.isfinite(array).all() for array in found.values())
    lines = [json.loads(line) for line in
             (folder / "model/history.jsonl").read_text().splitlines()]
    assert all(math.isfinite(line["train"]["loss"]) for line in lines)
    if how not in ("minibatches", "local-sgd") and model != "mlp":
        assert result["objective"] <= lines[0]["objective"] * (1 + 1e-6)
    assert math.isfinite(result["loss"])
    assert math.isfinite(evaluate(str(folder / "model"), data.folder)["loss"])
    return result


@trainings
def test_constant_features_and_rows_of_zeros(tmp_path, model, how):
    generator = np.random.default_rng(1)
    x = generator.normal(size=(60, 5)).astype(np.float32)
    x[:, 1], x[:, 3] = 0, 1000.1
    x[::4] = 0  # of which the constant feature is one no more
    x[:, 2] = 7.3  # but this one is
    y = labels(MODELS[model], 60)
    if model == "poisson":
        x /= 100  # a rate is the exponential of what features give
    result = trained(tmp_path, x, y, model, how)
    assert result["examples"] == 60


@trainings
def test_one_example_and_splits_without_rows(tmp_path, model, how):
    x, y = np.array([[1.0, -2.0, 0.5]], np.float32), labels(MODELS[model], 1)
    result = trained(tmp_path, x, y, model, how, shards=4)
    assert result["examples"] == 1


@trainings
def test_a_class_absent_from_a_split_and_one_absent_from_all(tmp_path, model, how):
    """Labels sorted, so each split has its own; the last class has no examples."""
    generator = np.random.default_rng(1)
    x = generator.normal(size=(60, 4)).astype(np.float32)
    y = np.sort(labels(max(2, MODELS[model] - 1), 60)).astype(np.uint8 if MODELS[model] else float)
    trained(tmp_path, x, y, model, how)
    if MODELS[model]:
        trained(tmp_path / "alike", x, np.zeros(60, np.uint8), model, how)


@pytest.mark.parametrize("precision", ["float32",
                                       pytest.param("float64", marks=pytest.mark.long)])
@pytest.mark.parametrize(("model", "how"), [each for each in FITTING if each[0] != "poisson"])
def test_features_so_large_that_outputs_are_ten_thousands(tmp_path, model, how, precision):
    """But for Poisson's, whose rate is the exponential of the output: no valid data has such."""
    generator = np.random.default_rng(1)
    x = (generator.normal(size=(60, 4)) * 1e4).astype(np.float32)
    y = labels(MODELS[model], 60)
    more = {"learning_rate": 1.0} if HOW[how].get("optimizer") == "adam" else {}
    trained(tmp_path, x, y, model, how, precision=precision, **more)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(("model", "classes"), [("logistic", 2), ("softmax", 3), ("svm", 2)])
def test_outputs_of_ten_thousands_from_a_warm_start(tmp_path, model, classes, precision):
    """Right and wrong by 1e4: the loss is 0 or 1e4, and the gradient that of the class."""
    x = np.array([[1e4, 0, 0], [-1e4, 0, 0], [0, 1, 0], [0, -1, 0]], np.float32)
    y = np.array([1, 1, 0, 1], np.uint8)
    data = write_arrays(str(tmp_path / "data"), x, y, shards=2, classes=tuple("abc"[:classes]))
    run(data, tmp_path / "source", 1, model=model, precision=precision, learning_rate=1e-30)
    saved = model_folder.load(str(tmp_path / "source"))
    weight = saved.parameters["weight"].copy()
    weight[:] = 0
    weight[-2 if classes > 2 else 0, 0] = 1
    model_folder.save(str(tmp_path / "source"), model_folder.SavedModel(
        saved.model, {**saved.parameters, "weight": weight}, saved.schema, saved.summary))
    found = evaluate(str(tmp_path / "source"), data.folder)
    even = 1.0 if model == "svm" else math.log(classes)
    wrong = {"logistic": 1e4, "softmax": 1e4 + math.log(2), "svm": (1 + 1e4) ** 2}[model]
    assert found["loss"] == pytest.approx((wrong + 2 * even) / 4, rel=1e-6)
    run(data, tmp_path / "model", 30, model=model, precision=precision, l2=1e-6,
        warm_start=str(tmp_path / "source"))
    end = evaluate(str(tmp_path / "model"), data.folder)
    assert end["loss"] < found["loss"] / 100


@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("precondition", ["scale", "both"])
def test_features_whose_squares_overflow_can_be_scaled(tmp_path, layout, precondition):
    x = np.array([[1e25, 1], [-1e25, 2], [0, 3], [0, -1]], np.float32)
    if layout == "csr":
        sparse = pytest.importorskip("scipy.sparse")
        x = sparse.csr_array(x)
    y = np.array([0, 1, 0, 1], np.uint8)
    data = write_arrays(str(tmp_path / "data"), x, y, shards=2, classes=("a", "b"))
    result = run(data, tmp_path / "model", 20, model="logistic", precondition=precondition)
    assert math.isfinite(result["loss"])


def test_sparse_rows_that_are_all_empty(tmp_path):
    sparse = pytest.importorskip("scipy.sparse")
    x = sparse.csr_array((40, 6), dtype=np.float32)
    for model, classes in MODELS.items():
        if model == "mlp":
            continue
        data = write_arrays(str(tmp_path / model), x, labels(classes, 40), shards=3,
                            classes=tuple("abc"[:classes]))
        result = run(data, tmp_path / f"{model} model", 20, model=model)
        assert math.isfinite(result["loss"])
