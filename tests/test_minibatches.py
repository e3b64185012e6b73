"""``--batch-size`` with synchronous: how many rows are drawn, how often each, and what they give."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from trainings import run

from mr_gradient import models
from mr_gradient.dataset.writer import write_arrays
from mr_gradient.jobs.broadcast import settings_for
from mr_gradient.jobs.launch import job_arguments, launcher
from mr_gradient.jobs.manifest import make_splits
from mr_gradient.models.base import layout
from mr_gradient.strategies.passes import Passes

pytestmark = pytest.mark.fast

ROWS = 60


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Row i has feature i alone: at 0 the gradient's element i is -1 where row i was drawn."""
    folder = tmp_path_factory.mktemp("minibatches") / "data"
    return write_arrays(str(folder), np.eye(ROWS, dtype=np.float32), np.ones(ROWS, np.float32),
                        shards=1)


def splits_of(data, cuts=(0, 1, 10, 60)):
    """Splits of 1, 9 and 50 rows."""
    (whole,) = make_splits(data)
    return [replace(whole, split=number, start=lo, stop=hi, before=lo)
            for number, (lo, hi) in enumerate(pairwise(cuts))]


def draws(data, batch: int, iterations: int, seed: int = 0, cuts=(0, 1, 10, 60)) -> np.ndarray:
    """Which rows were drawn, (iterations, ROWS)."""
    model = models.create("linear", ROWS, "value", 0, {})
    where = layout(model)
    found = []
    with launcher(job_arguments("inline", ["--num-cores", "1"], False)) as jobs:
        passes = Passes(jobs, splits_of(data, cuts), where)
        for iteration in range(1, iterations + 1):
            settings = settings_for(model, data.schema, "float32", seed=seed, iteration=iteration,
                                    sample=(batch, ROWS))
            result = passes.run(settings, [np.zeros(where.size, np.float32)])
            assert result.points[0].metrics["train"]["examples"] == batch
            found.append(-result.points[0].gradient[:ROWS])
    return np.array(found)


@pytest.mark.parametrize("batch", [1, 7, 59])
def test_exactly_so_many_rows_each_at_most_once_and_others_each_time(data, batch):
    drawn = draws(data, batch, 12)
    assert set(np.unique(drawn)) == {0, 1}
    assert (drawn.sum(axis=1) == batch).all()
    assert len({tuple(row) for row in drawn}) > 6
    np.testing.assert_array_equal(drawn, draws(data, batch, 12))
    assert (drawn != draws(data, batch, 12, seed=1)).any()


def test_every_row_is_as_likely_whatever_the_size_of_its_split(data):
    """A binomial of 600 draws with p = 0.2: five standard deviations are 0.082."""
    often = draws(data, 12, 600).mean(axis=0)
    assert np.abs(often - 0.2).max() < 0.082
    # Rows of the small splits too, and all splits in proportion.
    assert abs(often[0] - 0.2) < 0.082
    assert abs(often[1:10].mean() - 0.2) < 0.03


def test_a_whole_training_draws_what_was_asked_for(tmp_path, data):
    run(data, tmp_path / "model", 5, model="linear", batch_size=8, rows_per_split=7,
        learning_rate=0.01)
    lines = [json.loads(line) for line in (tmp_path / "model/history.jsonl").read_text().splitlines()]
    assert [line["train"]["examples"] for line in lines] == [8] * 5


def test_a_batch_of_all_rows_or_more_is_the_whole(tmp_path, data):
    for batch in (0, ROWS, ROWS + 5):
        run(data, tmp_path / str(batch), 3, model="linear", batch_size=batch, learning_rate=0.01)
    tensors = [(tmp_path / str(batch) / "model.safetensors").read_bytes() for batch in (0, ROWS, 65)]
    assert tensors[0] == tensors[1] == tensors[2]


def test_minibatches_of_sparse_rows_are_those_of_dense_ones(tmp_path):
    pytest.importorskip("scipy")
    from sparse_data import examples
    found = examples()
    for name, x in (("dense", found.dense), ("sparse", found.sparse)):
        data = write_arrays(str(tmp_path / name), x, found.y, found.weight, shards=3,
                            classes=("a", "b", "c"))
        run(data, tmp_path / f"{name} model", 6, model="softmax", batch_size=30, learning_rate=0.1,
            precision="float64")
    lines = [[json.loads(line)["objective"] for line in
              (tmp_path / f"{name} model/history.jsonl").read_text().splitlines()]
             for name in ("dense", "sparse")]
    np.testing.assert_allclose(lines[0], lines[1], rtol=1e-12)
