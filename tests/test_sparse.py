"""Models and jobs on sparse rows: what dense rows give, the same bits everywhere, few blocks."""

from __future__ import annotations

import bz2
import os
import warnings
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from gradient_checker import Problem, check_gradient, random_problem
from sparse_data import WIDTH, examples
from trainings import ROOT, bits, in_a_process, run

from mr_gradient import models, storage, tensors
from mr_gradient.dataset.writer import write_arrays
from mr_gradient.errors import DataError
from mr_gradient.evaluation import evaluate
from mr_gradient.jobs.broadcast import settings_for
from mr_gradient.jobs.launch import job_arguments, launcher
from mr_gradient.jobs.manifest import make_splits
from mr_gradient.models.base import layout
from mr_gradient.models.linear import Linear
from mr_gradient.strategies.passes import Passes

MODELS = {"linear": ("value", 0), "logistic": ("class", 2), "softmax": ("class", 3),
          "mlp": ("class", 3)}
TOLERANCE = {"float32": 1e-6, "float64": 1e-12}
SPARSE_RECIPES = {
    "softmax": {"model": "softmax", "learning_rate": 0.1},
    "logistic": {"model": "logistic", "optimizer": "momentum", "learning_rate": 0.1},
    "mlp": {"model": "mlp", "learning_rate": 0.3, "hidden": (5,)}}


def create(name, width=WIDTH):
    kind, classes = MODELS[name]
    return models.create(name, width, kind, classes, {"hidden": (7, 4)})


class Sums(NamedTuple):
    gradient: np.ndarray
    metrics: dict
    summaries: list


def one_pass(data, model, precision="float64", rows_per_split=0, **changes):
    """The pass of one job at fixed parameters that are not zero."""
    where = layout(model)
    at = np.random.default_rng(3).normal(0, 0.3, where.size).astype(precision)
    with launcher(job_arguments("inline", [], False)) as jobs:
        splits = make_splits(data, rows_per_split=rows_per_split)
        settings = replace(settings_for(model, data.schema, precision), **changes)
        result = Passes(jobs, splits, where).run(settings, [at])
        return Sums(result.points[0].gradient, result.points[0].metrics, result.summaries)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ones", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_dense_and_sparse_rows_give_the_same_sums(tmp_path, name, ones, weighted, precision):
    model = create(name)
    data = examples(classes=max(2, MODELS[name][1]), dtype=precision, ones=ones)
    weight = data.weight if weighted else None
    dense, sparse = (
        one_pass(write_arrays(str(tmp_path / form), x, data.y, weight, shards=3,
                              classes=("a", "b", "c")[:MODELS[name][1]]), model, precision)
        for form, x in (("dense", data.dense), ("csr", data.sparse)))
    scale = np.abs(dense.gradient).max()
    np.testing.assert_allclose(sparse.gradient, dense.gradient, rtol=0,
                               atol=TOLERANCE[precision] * scale)
    assert [s["blocks"] for s in sparse.summaries] == [s["blocks"] for s in dense.summaries]
    found, expected = sparse.metrics["train"], dense.metrics["train"]
    assert found["examples"] == expected["examples"] == 300
    assert found["weight"] == expected["weight"]
    assert found == pytest.approx(expected, rel=TOLERANCE[precision])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_gradient_of_sparse_rows(name, weighted):
    model, data = create(name), examples(23, dtype=np.float64)
    parameters, _, y, weight = random_problem(model, 23, weighted)
    check_gradient(model, Problem(parameters, data.sparse, y, weight))


@pytest.mark.parametrize("width", [WIDTH, 4000])
def test_both_ways_to_add_up_softmax_agree(width):
    """Few numbers for the columns: output by output; many: one product of matrices."""
    model, data = Linear(width, 3, "softmax"), examples(200, width, 0.01, dtype=np.float64)
    if width == WIDTH:
        data = examples(200, width, 0.5, dtype=np.float64)
    assert (data.sparse.nnz < 4 * width) == (width == 4000)
    parameters = random_problem(model, 1).parameters
    gradients = [{name: np.zeros_like(array) for name, array in parameters.items()} for _ in "ds"]
    sums = [model.accumulate(parameters, x, data.y, None, gradient)
            for x, gradient in zip((data.dense, data.sparse), gradients)]
    assert sums[1] == pytest.approx(sums[0], rel=1e-12)
    for name in parameters:
        np.testing.assert_allclose(gradients[1][name], gradients[0][name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_predictions_of_sparse_rows(name):
    model, data = create(name), examples(20, dtype=np.float64)
    parameters = random_problem(model, 1).parameters
    np.testing.assert_allclose(model.predict(parameters, data.sparse),
                               model.predict(parameters, data.dense), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("recipe", SPARSE_RECIPES)
def test_the_number_of_processes_and_the_runner_change_no_bit(tmp_path, recipe, precision):
    classes = 2 if recipe == "logistic" else 3
    data = examples(classes=classes)
    held = (data.sparse[:50], data.y[:50])
    dataset = write_arrays(str(tmp_path / "data"), data.sparse, data.y, data.weight, shards=7,
                           held_out=held, classes=("a", "b", "c")[:classes])
    results = []
    for cores, runner in ((1, "inline"), (2, "inline"), (5, "inline"), (2, "local")):
        out = tmp_path / f"{runner}{cores}"
        run(dataset, out, 3, runner=runner, options=["--num-cores", str(cores)],
            precision=precision, **SPARSE_RECIPES[recipe])
        results.append(bits(out))
    assert all(result == results[0] for result in results[1:])


@pytest.mark.parametrize(("rows", "shards"), [(1, 1), (1, 3), (7, 7), (8, 3)])
@pytest.mark.parametrize("name", MODELS)
def test_splits_without_rows_and_rows_without_features(tmp_path, name, rows, shards):
    """Row 0 and row 7 have no features; shards of one row, or of none."""
    model, data = create(name), examples(rows, dtype=np.float64)
    classes = ("a", "b", "c")[:MODELS[name][1]]
    y = data.y % max(2, len(classes))
    dense, sparse = (one_pass(write_arrays(str(tmp_path / form), x, y, shards=shards,
                                           classes=classes), model)
                     for form, x in (("dense", data.dense), ("csr", data.sparse)))
    np.testing.assert_allclose(sparse.gradient, dense.gradient, rtol=0, atol=1e-12)
    assert sparse.metrics["train"] == pytest.approx(dense.metrics["train"], rel=1e-12)
    empty = [s for s in sparse.summaries if s["sums"][0]["examples"] == 0]
    assert len(empty) == max(0, shards - rows)
    assert all(summary["blocks"] == 0 for summary in empty)


def test_only_blocks_that_the_data_touches_are_emitted(tmp_path):
    """Blocks of 10 columns: split i has features in columns 10 i to 10 i + 9 only."""
    from scipy.sparse import csr_array

    x = np.zeros((20, 50))
    for split in range(4):
        x[5 * split:5 * split + 5, 10 * split:10 * split + 10] = 1 + np.arange(10)
    x[15:] = 0
    data = write_arrays(str(tmp_path / "data"), csr_array(x), np.ones(20), shards=4)
    result = one_pass(data, create("linear", 50), block_bytes=80)
    assert [s["blocks"] for s in result.summaries] == [2, 2, 2, 1]  # with the bias
    assert np.flatnonzero(result.gradient).tolist() == [*range(30), 50]


def test_chunks_do_not_change_the_sums(tmp_path):
    data = examples(dtype=np.float64)
    dataset = write_arrays(str(tmp_path / "data"), data.sparse, data.y, shards=2)
    whole, pieces = (one_pass(dataset, create("linear"), rows_per_split=70, rows_per_chunk=rows)
                     for rows in (1000, 13))
    np.testing.assert_allclose(pieces.gradient, whole.gradient, rtol=0, atol=1e-10)
    assert len(whole.summaries) == 6
    assert settings_for(create("linear"), dataset.schema, "float32").rows_per_chunk == 1 << 17


def test_an_index_beyond_the_width_stops_the_job(tmp_path):
    """Also when the checksum fits, since a wrong writer would checksum what it wrote."""
    data = examples(20)
    dataset = write_arrays(str(tmp_path / "data"), data.sparse, data.y, shards=1)
    path = os.path.join(dataset.folder, dataset.train[0].path)
    arrays, metadata = tensors.read(path)
    arrays["indices"] = arrays["indices"] + np.int32(WIDTH)
    storage.write_atomically(path, tensors.to_chunks(arrays, metadata))
    wrong = replace(dataset, train=(replace(dataset.train[0], sha256=storage.sha256(path)),))
    with pytest.raises(DataError, match=f"{path}: indices must be columns 0 to {WIDTH - 1}, found"):
        one_pass(wrong, create("linear"))


def test_a_model_is_evaluated_on_sparse_rows(tmp_path):
    """Of either layout, when the columns are the same."""
    data = examples()
    dense, sparse = (write_arrays(str(tmp_path / form), x, data.y, shards=2, classes=("a", "b", "c"))
                     for form, x in (("dense", data.dense), ("csr", data.sparse)))
    trained = run(sparse, tmp_path / "model", 3, **SPARSE_RECIPES["softmax"])
    for dataset in (sparse, dense):
        found = evaluate(str(tmp_path / "model"), dataset.folder)
        assert found["loss"] == pytest.approx(trained["loss"], rel=1e-6)
        assert found["accuracy"] == trained["accuracy"]


DENSE_IMPORTS = """
import sys
from pathlib import Path
from trainings import RECIPES, class_data, run
out = Path(sys.argv[1])
run(class_data(out / "data"), out / "model", 1, **RECIPES["softmax"])
assert "scipy" not in sys.modules
"""


def test_a_dense_training_imports_no_scipy(tmp_path):
    ended = in_a_process(DENSE_IMPORTS, tmp_path)
    assert ended.returncode == 0, ended.stderr


def a9a():
    """The census data (Platt 1998), or generated data of its shape where it is absent."""
    path = ROOT.parent / "shared" / "data" / "a9a.bz2"
    if path.is_file():
        from sklearn.datasets import load_svmlight_file

        with bz2.open(path) as file:
            return load_svmlight_file(file, n_features=123, zero_based=False, dtype=np.float32)
    if os.environ.get("MR_GRADIENT_CI"):
        pytest.fail(f"{path} is missing, and CI must have it")
    warnings.warn(pytest.PytestWarning(f"{path} is missing: generated data in its place"),
                  stacklevel=1)
    data = examples(32_560, 123, 0.113, classes=2, ones=True)
    return data.sparse, data.dense @ np.sin(np.arange(123.0)) > 0


@pytest.mark.filterwarnings("default::pytest.PytestWarning")
def test_a9a_is_learned_as_from_dense_rows(tmp_path):
    x, y = a9a()
    y, summaries = (y > 0).astype(np.uint8), []
    for form, rows in (("dense", x.toarray()), ("csr", x)):
        data = write_arrays(str(tmp_path / form), rows, y, classes=("0", "1"))
        summaries.append(run(data, tmp_path / f"{form}-model", 60, model="logistic",
                             optimizer="momentum", learning_rate=0.5))
    dense, sparse = summaries
    assert x.shape[1] == 123
    assert sum(info.bytes for info in data.train) < 0.2 * x.shape[0] * 123 * 4
    assert sparse["examples"] == dense["examples"] == x.shape[0]
    assert sparse["accuracy"] > 0.84
    assert sparse["accuracy"] == pytest.approx(dense["accuracy"], abs=2 / x.shape[0])
    assert sparse["loss"] == pytest.approx(dense["loss"], rel=1e-5)
