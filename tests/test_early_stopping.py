"""Early stopping: when it stops, which parameters it keeps, and that a resume changes nothing."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from cli_tools import refused
from trainings import bits, class_data, run

from mr_gradient import model_folder
from mr_gradient.dataset.writer import write_arrays
from mr_gradient.early_stopping import Best
from mr_gradient.evaluation import evaluate

pytestmark = pytest.mark.fast

#: A network that learns 60 noisy examples by heart.
OVERFITS = {"model": "mlp", "hidden": (30,), "optimizer": "adam", "learning_rate": 0.03}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return class_data(tmp_path_factory.mktemp("early") / "data", rows=75, shards=3)


def held_out(out) -> list[float]:
    lines = (out / "history.jsonl").read_text().splitlines()
    return [json.loads(line)["held_out"]["loss"] for line in lines]


@pytest.mark.parametrize("patience", [1, 5])
def test_it_stops_after_so_many_iterations_in_vain_and_keeps_the_best(tmp_path, data, patience):
    result = run(data, tmp_path / "model", 200, patience=patience, **OVERFITS)
    losses = held_out(tmp_path / "model")
    best = int(np.argmin(losses))
    assert len(losses) == result["iterations"] == best + 1 + patience < 200
    measured = evaluate(str(tmp_path / "model"), data.folder)
    assert measured["loss"] == pytest.approx(losses[best], rel=1e-12)
    assert result["held_out"]["loss"] == pytest.approx(losses[best], rel=1e-12)
    assert model_folder.load(str(tmp_path / "model")).summary["reason"] == (
        f"the held-out loss has not fallen in {patience} iterations; the model is that of iteration "
        f"{best + 1}")


@pytest.mark.parametrize("model", [OVERFITS, {"model": "softmax", "precondition": "both"}])
def test_the_best_is_kept_when_the_iterations_end_first(tmp_path, data, model):
    result = run(data, tmp_path / "model", 30, patience=29, **model)
    losses = held_out(tmp_path / "model")
    assert result["held_out"]["loss"] == pytest.approx(min(losses), rel=1e-5)


@pytest.mark.parametrize("stops", [(2, 3), (1, 5, 9)])
def test_a_resume_in_the_middle_stops_at_the_same_iteration(tmp_path, data, stops):
    run(data, tmp_path / "whole", 200, patience=4, **OVERFITS)
    ended = len(held_out(tmp_path / "whole"))
    for stop in (*stops, ended - 3, ended - 1, 200):
        run(data, tmp_path / "pieces", stop, patience=4, **OVERFITS)
    assert bits(tmp_path / "pieces") == bits(tmp_path / "whole")
    # More iterations do not wake it.
    assert run(data, tmp_path / "pieces", 300, patience=4, **OVERFITS)["jobs"] == 0


def test_without_a_held_out_part_it_is_refused_before_any_job(tmp_path, capfd):
    data = tmp_path / "data"
    write_arrays(str(data), np.ones((4, 2), np.float32), np.zeros(4, np.uint8), classes=("a", "b"))
    refused(capfd, tmp_path, "train", "--data", data, "--model", "logistic", "--out",
            tmp_path / "model", "--patience", 3,
            words=("--patience 3: needs a held-out part; prepare with --test-fraction",))


def test_a_held_out_loss_that_is_never_finite_counts_as_in_vain():
    best, point = Best(3), np.ones(2)
    for iteration in (1, 2, 3):
        best = best.seen(iteration, {"loss": math.nan if iteration % 2 else math.inf}, point)
        progress = json.loads(json.dumps(best.progress(), allow_nan=False))
        best = Best.unpack(3, None, progress)
        assert best.waited == iteration
    assert best.reason.endswith("the model is the last")
    np.testing.assert_array_equal(best.parameters(point * 2), [2, 2])


def test_without_patience_nothing_is_kept():
    best = Best(0).seen(1, None, np.ones(2))
    assert (best.reason, best.progress(), best.pack(dict), best.at) == ("", {}, {}, None)
