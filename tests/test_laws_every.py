"""The law of same bits for every optimizer and strategy: processes, runners, pieces and kills."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from trainings import EVERY, After, bits, class_data, count_data, in_a_process, run

from mr_gradient import optimizers
from mr_gradient.strategies.passes import Passes

pytestmark = pytest.mark.fast

ITERATIONS = 7
every = pytest.mark.parametrize("recipe", EVERY)


def stop():
    """As Ctrl-C between two iterations."""
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def data_sets(tmp_path_factory):
    """Of seven shards: weighted classes, and counts."""
    folder = tmp_path_factory.mktemp("every")
    return class_data(folder / "classes", weighted=True), count_data(folder / "counts")


@pytest.fixture
def data(data_sets, recipe):
    """What the recipe can learn."""
    return data_sets[EVERY[recipe]["model"] == "poisson"]


@pytest.fixture(scope="module")
def whole(data_sets, tmp_path_factory):
    """Bits of an undisturbed training, made once for each recipe."""
    known = {}

    def of(recipe: str) -> tuple:
        if recipe not in known:
            out = tmp_path_factory.mktemp("whole") / recipe
            run(data_sets[EVERY[recipe]["model"] == "poisson"], out, ITERATIONS,
                options=["--num-cores", "1"], **EVERY[recipe])
            known[recipe] = bits(out)
        return known[recipe]
    return of


def test_every_optimizer_and_strategy_is_in_the_table():
    named = {recipe.get("optimizer") or ("owlqn" if "l1" in recipe else "lbfgs" if
                                         "learning_rate" not in recipe else "gd")
             for recipe in EVERY.values()}
    assert named >= {*optimizers.REGISTRY, *optimizers.SEARCHES}
    assert {recipe.get("precondition", "auto") for recipe in EVERY.values()} == {
        "auto", "none", "center", "scale", "both"}


@every
@pytest.mark.parametrize("cores", [2, pytest.param(5, marks=pytest.mark.long)])
def test_the_number_of_processes_changes_no_bit(tmp_path, data, whole, recipe, cores):
    run(data, tmp_path, ITERATIONS, options=["--num-cores", str(cores)], **EVERY[recipe])
    assert bits(tmp_path) == whole(recipe)


@every
@pytest.mark.parametrize("stops", [(1, 4), pytest.param((2, 3, 5, 6), marks=pytest.mark.long)])
def test_stops_between_iterations_change_no_bit(tmp_path, data, whole, recipe, stops):
    """A kill after the checkpoint of an iteration, and an end that is put off."""
    for number in stops:
        run(data, tmp_path, number, **EVERY[recipe])
    if len(whole(recipe)[1]) > stops[-1] + 1:
        with pytest.raises(KeyboardInterrupt):
            run(data, tmp_path, ITERATIONS, progress=After(stops[-1] + 1, stop), **EVERY[recipe])
    run(data, tmp_path, ITERATIONS, **EVERY[recipe])
    assert bits(tmp_path) == whole(recipe)


@every
@pytest.mark.long
def test_processes_of_their_own_change_no_bit(tmp_path, data, whole, recipe):
    run(data, tmp_path, ITERATIONS, runner="local", options=["--num-cores", "2"], **EVERY[recipe])
    assert bits(tmp_path) == whole(recipe)


@pytest.mark.parametrize("recipe", ["local-adam", "newton-that-rejects"])
def test_processes_of_their_own_change_no_bit_of_a_few_jobs(tmp_path, data, recipe):
    for runner in ("local", "inline"):
        run(data, tmp_path / runner, 2, runner=runner, options=["--num-cores", "2"], **EVERY[recipe])
    assert bits(tmp_path / "local") == bits(tmp_path / "inline")


KILLED = """
import os, signal, sys
from pathlib import Path
from trainings import EVERY, run
data, out, recipe, name, number = sys.argv[1:]
calls, real = [0], getattr(os, name)
def counted(*arguments, **options):
    calls[0] += 1
    if calls[0] == int(number):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **options)
setattr(os, name, counted)
run(data, Path(out), 7, **EVERY[recipe])
"""


@every
@pytest.mark.long
@pytest.mark.parametrize("moment", [("fsync", 3), ("replace", 5), ("unlink", 4), ("fsync", 11)])
def test_a_kill_while_something_is_written_changes_no_bit(tmp_path, data, whole, recipe, moment):
    ended = in_a_process(KILLED, data.folder, tmp_path, recipe, *moment)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    run(data, tmp_path, ITERATIONS, **EVERY[recipe])
    assert bits(tmp_path) == whole(recipe)


@pytest.mark.parametrize("recipe", ["lbfgs-that-rejects", "owlqn-that-rejects",
                                    "newton-that-rejects"])
def test_rejected_points_are_in_the_table(tmp_path, data, monkeypatch, recipe):
    """After a rejection a job has several points, and the next begins with the same parameters."""
    counts = []
    real = Passes.run

    def counted(self, settings, points, *rest):
        counts.append(len(points))
        return real(self, settings, points, *rest)

    monkeypatch.setattr(Passes, "run", counted)
    run(data, tmp_path, ITERATIONS, **EVERY[recipe])
    # The first job has one point, the second of L-BFGS and OWL-QN several steps of unknown length.
    assert max(counts[2:-1]) > 1 or (recipe.startswith("newton") and max(counts) > 1), counts


@pytest.mark.parametrize("recipe", ["dropout", "dropout-batch-size", "local-dropout"])
def test_what_is_drawn_is_other_in_each_iteration_and_for_each_seed(tmp_path, data, recipe):
    """At a learning rate of nearly nothing only what is drawn moves the loss."""
    drawn = {**EVERY[recipe], "learning_rate": 1e-20, "optimizer": "gd", "patience": 0}
    losses = []
    for seed in (0, 1):
        run(data, tmp_path / str(seed), 4, seed=seed, **drawn)
        losses += [line[2]["loss"] for line in bits(tmp_path / str(seed))[1]]
    assert len(set(losses)) == 8, losses


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("recipe", [name for name in EVERY if name.startswith("precondition")])
def test_a_change_of_variables_changes_no_optimum(tmp_path, data, recipe, precision):
    for name in (recipe, "lbfgs"):
        run(data, tmp_path / name, 200, precision=precision, **EVERY[name])
    ours, theirs = (bits(tmp_path / name)[1][-1][1] for name in (recipe, "lbfgs"))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
