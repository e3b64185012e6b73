"""Hessians by MapReduce: the sum of the tiles of all splits against numerical derivatives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from trainings import run

from mr_gradient import model_folder, models
from mr_gradient.blocks import Layout
from mr_gradient.dataset.shards import open_shard
from mr_gradient.dataset.writer import write_arrays
from mr_gradient.jobs import outputs
from mr_gradient.jobs.broadcast import settings_for
from mr_gradient.jobs.launch import job_arguments, launcher
from mr_gradient.jobs.manifest import make_splits
from mr_gradient.jobs.outputs import Outputs
from mr_gradient.models.base import layout
from mr_gradient.partial_gradient import Node
from mr_gradient.strategies.passes import Passes

pytestmark = pytest.mark.fast

MODELS = {"linear": 0, "huber": 0, "poisson": 0, "logistic": 2, "svm": 2, "softmax": 3}
ROWS, FEATURES = 90, 5


def problem(folder, name: str, sparse: bool = False, weighted: bool = True, shards: int = 3):
    generator = np.random.default_rng(4)
    x = generator.standard_normal((ROWS, FEATURES))
    classes = MODELS[name]
    y = (generator.integers(0, classes, ROWS).astype(np.uint8) if classes
         else generator.poisson(2, ROWS).astype(np.float64))
    if sparse:
        from scipy.sparse import csr_array
        x[generator.random(x.shape) < 0.6] = 0
        x = csr_array(x)
    data = write_arrays(str(folder), x, y, generator.uniform(0.1, 3, ROWS) if weighted else None,
                        classes=tuple("abc"[:classes]), shards=shards)
    return data, models.create(name, FEATURES, "class" if classes else "value", classes, {})


def one_job(data, model, points, hessian: bool = True, block_bytes: int = 512 * 1024):
    where = layout(model)
    with launcher(job_arguments("inline", [], False)) as jobs:
        settings = settings_for(model, data.schema, "float64", hessian=hessian)
        return Passes(jobs, make_splits(data), where).run(
            replace(settings, block_bytes=block_bytes), points).points


def numerical(data, model, point: np.ndarray) -> np.ndarray:
    """Central differences of the gradient sum: all columns by one job of many points."""
    step = 1e-5
    moved = [point + sign * step * unit for unit in np.eye(point.size) for sign in (1, -1)]
    gradients = [each.gradient for each in one_job(data, model, moved, hessian=False)]
    return np.array([(up - down) / (2 * step) for up, down in zip(gradients[::2], gradients[1::2])])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("sparse", [False, True])
def test_sums_over_splits_are_the_second_derivatives(tmp_path, name, sparse):
    if sparse:
        pytest.importorskip("scipy")
    data, model = problem(tmp_path / "data", name, sparse)
    size = layout(model).size
    points = [np.random.default_rng(seed).normal(size=size) * 0.3 for seed in range(3)]
    for point, found in zip(points, one_job(data, model, points)):
        expected = numerical(data, model, point)
        np.testing.assert_allclose(found.hessian, expected, rtol=1e-5, atol=1e-5 * ROWS)
        np.testing.assert_array_equal(found.hessian, found.hessian.T)


@pytest.mark.parametrize("name", ["logistic", "softmax"])
def test_the_number_of_splits_and_the_size_of_blocks_change_only_rounding(tmp_path, monkeypatch, name):
    """Tiles of 4 rows, blocks of 3 numbers: all that could be cut is cut."""
    found = []
    for shards, tile, block_bytes in ((1, 256, 1 << 19), (7, 256, 1 << 19), (7, 4, 24)):
        monkeypatch.setattr(outputs, "_TILE", tile)
        data, model = problem(tmp_path / f"{shards} {tile}", name, shards=shards)
        points = [np.zeros(layout(model).size), np.ones(layout(model).size)]
        found.append([each.hessian for each in one_job(data, model, points, block_bytes=block_bytes)])
    for one, seven, cut in zip(*found):
        np.testing.assert_allclose(seven, one, rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(cut, seven)


@pytest.mark.parametrize("size", [1, 3, 4, 5, 11])
@pytest.mark.parametrize("points", [1, 2])
def test_what_is_packed_comes_back(monkeypatch, size, points):
    """Also where tiles are not full; above the diagonal nothing is looked at."""
    monkeypatch.setattr(outputs, "_TILE", 4)
    where = Layout.of({"w": (size,)})
    settings = type("S", (), {"precision": "float32", "points": points, "hessian": True,
                              "block_bytes": 40})
    made = Outputs.of(settings, where)
    sums = made.zeros()
    generator = np.random.default_rng(size)
    sums.flat[:] = generator.normal(size=sums.flat.size)
    expected = []
    for hessian in sums.hessians:
        lower = np.tril(generator.normal(size=(size, size)))
        expected.append(lower + np.tril(lower, -1).T)
        hessian[:] = lower + np.triu(np.full((size, size), np.nan), 1)
    arrays = made.arrays(sums)
    nodes = {number: Node(0, 0, arrays[block.array][block.start:block.stop], 1)
             for number, block in enumerate(made.blocks)}
    assert sum(block.stop - block.start for block in made.blocks) == sum(map(len, arrays))
    for point, (gradient, hessian) in enumerate(made.collect(nodes)):
        np.testing.assert_array_equal(gradient, sums.flat[point * size:(point + 1) * size])
        np.testing.assert_array_equal(hessian, expected[point])


def test_newton_takes_one_step_to_the_solution_of_least_squares(tmp_path):
    data, _ = problem(tmp_path / "data", "linear", weighted=False)
    result = run(data, tmp_path / "model", 20, model="linear", optimizer="newton", l2=0.1,
                 precision="float64")
    # The start, the step, perhaps one more for the last digits, and the final measurement.
    assert result["jobs"] <= 4
    x = np.random.default_rng(4).standard_normal((ROWS, FEATURES))
    y = np.concatenate([open_shard(f"{data.folder}/{shard.path}").y for shard in data.train])
    centred = x - x.mean(axis=0)
    weight = np.linalg.solve(centred.T @ centred / ROWS + 0.1 * np.eye(FEATURES),
                             centred.T @ y / ROWS)
    found = model_folder.load(str(tmp_path / "model")).parameters
    np.testing.assert_allclose(found["weight"][0], weight, rtol=1e-10)
    np.testing.assert_allclose(found["bias"], y.mean() - x.mean(axis=0) @ weight, rtol=1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_newton_ends_where_lbfgs_does_in_fewer_jobs(tmp_path, name):
    data, _ = problem(tmp_path / "data", name)
    results = {}
    for optimizer in ("newton", "lbfgs"):
        results[optimizer] = run(data, tmp_path / optimizer, 200, model=name, optimizer=optimizer,
                                 l2=0.01, precision="float64", tolerance=1e-9)
    assert results["newton"]["objective"] == pytest.approx(results["lbfgs"]["objective"], rel=1e-9)
    assert results["newton"]["jobs"] < results["lbfgs"]["jobs"]
