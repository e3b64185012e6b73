"""The driver loop: objective, optimum, resuming, refusing, and what is in the folders."""

from __future__ import annotations

import json

import numpy as np
import pytest
from trainings import RECIPES, bits, class_data, run

from mr_gradient import checkpoint, model_folder
from mr_gradient.dataset.shards import open_shard
from mr_gradient.dataset.writer import write_arrays
from mr_gradient.errors import DataError, DivergenceError, UsageError
from mr_gradient.evaluation import evaluate

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("stops", [(6,), (1, 6), (2, 3, 6)])
def test_more_iterations_on_the_same_folder_go_on_with_the_same_bits(tmp_path, recipe, stops):
    data = class_data(tmp_path / "data")
    for stop in stops:
        jobs = run(data, tmp_path / "in pieces", stop, **RECIPES[recipe])["jobs"]
    run(data, tmp_path / "whole", 6, **RECIPES[recipe])
    assert bits(tmp_path / "in pieces") == bits(tmp_path / "whole")
    assert jobs == 6 - (0, *stops)[-2] + 1  # no iteration was done twice; one job measures the end


def test_a_finished_training_run_again_does_nothing(tmp_path):
    data = class_data(tmp_path / "data")
    first = run(data, tmp_path / "model", **RECIPES["softmax"])
    again = run(data, tmp_path / "model", **RECIPES["softmax"])
    assert again["jobs"] == 0
    assert {**again, "jobs": 0, "seconds": 0} == {**first, "jobs": 0, "seconds": 0}


def test_objective_is_mean_loss_and_the_penalty_of_weights_without_intercepts(tmp_path):
    data = class_data(tmp_path / "data")
    result = run(data, tmp_path / "model", precision="float64", **RECIPES["mlp"])
    arrays = model_folder.load(str(tmp_path / "model")).parameters
    squares = sum(float((array**2).sum()) for name, array in arrays.items() if "weight" in name)
    assert result["objective"] == pytest.approx(result["loss"] + 1e-3 / 2 * squares, rel=1e-14)


def test_least_squares_with_a_penalty_reaches_its_closed_form(tmp_path):
    """(X^T X / n + l2 I) w = X^T y / n on centred columns; the intercept is not penalized."""
    generator = np.random.default_rng(1)
    x, l2 = generator.standard_normal((200, 4)), 0.3
    y = x @ [1.0, -2, 3, 0] + 5 + generator.standard_normal(200)
    data = write_arrays(str(tmp_path / "data"), x, y, shards=3)
    run(data, tmp_path / "model", 400, model="linear", learning_rate=0.3, l2=l2, precision="float64")
    found = model_folder.load(str(tmp_path / "model")).parameters
    centred = x - x.mean(axis=0)
    weight = np.linalg.solve(centred.T @ centred / 200 + l2 * np.eye(4), centred.T @ y / 200)
    np.testing.assert_allclose(found["weight"][0], weight, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found["bias"][0], y.mean() - x.mean(axis=0) @ weight, rtol=1e-10)


def test_evaluate_tells_what_train_told_and_what_the_model_predicts(tmp_path):
    data = class_data(tmp_path / "data")
    trained = run(data, tmp_path / "model", **RECIPES["mlp"])
    measured = evaluate(str(tmp_path / "model"), data.folder)
    assert measured["part"] == "held-out"
    assert measured["jobs"] == 1
    for name in ("loss", "accuracy", "examples"):
        assert measured[name] == trained["held_out"][name]
    on_train = evaluate(str(tmp_path / "model"), data.folder, "train")
    assert [on_train[k] for k in ("loss", "objective", "accuracy", "examples")] == [
        trained[k] for k in ("loss", "objective", "accuracy", "examples")]
    saved = model_folder.load(str(tmp_path / "model"))
    shard = open_shard(f"{data.folder}/{data.held_out[0].path}")
    predicted = saved.model.predict(saved.parameters, np.array(shard.x)).argmax(axis=1)
    assert measured["accuracy"] == pytest.approx((predicted == shard.y).mean())


def test_history_has_a_line_for_each_iteration(tmp_path):
    result = run(class_data(tmp_path / "data"), tmp_path / "model", **RECIPES["softmax"])
    lines = [json.loads(line) for line in (tmp_path / "model/history.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [1, 2, 3, 4, 5, 6]
    losses = [line["train"]["loss"] for line in lines] + [result["loss"]]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] == pytest.approx(np.log(3))  # at zero all classes are alike


@pytest.mark.parametrize(("change", "words"), [
    ({"learning_rate": 0.5}, "--learning-rate was 0.1 and is 0.5"),
    ({"seed": 3}, "--seed was 0 and is 3"),
    ({"optimizer": "momentum"}, "--optimizer was gd and is momentum"),
    ({"precision": "float64"}, "--precision was float32 and is float64"),
])
def test_another_configuration_is_refused_with_what_differs(tmp_path, change, words):
    data = class_data(tmp_path / "data")
    run(data, tmp_path / "model", **RECIPES["softmax"])
    before = bits(tmp_path / "model")
    with pytest.raises(UsageError, match=f"{words}.*--restart"):
        run(data, tmp_path / "model", 9, **{**RECIPES["softmax"], **change})
    assert bits(tmp_path / "model") == before


def test_other_data_is_refused(tmp_path):
    run(class_data(tmp_path / "data"), tmp_path / "model", **RECIPES["softmax"])
    with pytest.raises(UsageError, match="other data"):
        run(class_data(tmp_path / "data2", rows=290), tmp_path / "model", 9, **RECIPES["softmax"])


def test_fewer_iterations_than_done_are_refused_and_restart_starts_over(tmp_path):
    data = class_data(tmp_path / "data")
    run(data, tmp_path / "model", 6, **RECIPES["softmax"])
    with pytest.raises(UsageError, match="already has 6 iterations, more than --iterations 4"):
        run(data, tmp_path / "model", 4, **RECIPES["softmax"])
    run(data, tmp_path / "model", 4, restart=True, **RECIPES["softmax"])
    run(data, tmp_path / "fresh", 4, **RECIPES["softmax"])
    assert bits(tmp_path / "model") == bits(tmp_path / "fresh")


def test_a_damaged_checkpoint_is_named(tmp_path):
    data = class_data(tmp_path / "data")
    run(data, tmp_path / "model", **RECIPES["softmax"])
    path = sorted((tmp_path / "model/checkpoints").iterdir())[-1]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path.name}.*damaged"):
        run(data, tmp_path / "model", 9, **RECIPES["softmax"])


def test_a_model_whose_tensors_are_of_another_moment_is_written_anew(tmp_path):
    """As a kill between the two files of a model leaves it."""
    data = class_data(tmp_path / "data")
    run(data, tmp_path / "model", 3, **RECIPES["softmax"])
    old = (tmp_path / "model/model.json").read_bytes()
    run(data, tmp_path / "model", 6, **RECIPES["softmax"])
    (tmp_path / "model/model.json").write_bytes(old)
    with pytest.raises(DataError, match=r"does not fit.*again"):
        evaluate(str(tmp_path / "model"), data.folder)
    run(data, tmp_path / "model", 6, **RECIPES["softmax"])
    run(data, tmp_path / "whole", 6, **RECIPES["softmax"])
    assert bits(tmp_path / "model") == bits(tmp_path / "whole")


@pytest.mark.parametrize("learning_rate", [1e3, 1e37])
def test_divergence_stops_and_keeps_the_last_good_checkpoint(tmp_path, learning_rate):
    generator = np.random.default_rng(1)
    x = generator.standard_normal((50, 3)).astype(np.float32) * 100
    data = write_arrays(str(tmp_path / "data"), x, x[:, 0], shards=2)
    out = tmp_path / "model"
    with pytest.raises(DivergenceError, match=r"iteration \d+: diverged.*--learning-rate") as raised:
        run(data, out, 100, model="linear", learning_rate=learning_rate)
    kept = checkpoint.iterations(str(out))
    if not kept:
        assert "nothing is kept" in str(raised.value)
        return
    assert f"iteration {kept[-1]} is kept" in str(raised.value)
    last = checkpoint.load(str(out), kept[-1])
    with np.errstate(over="ignore"):
        z = x @ last.parameters["weight"][0] + last.parameters["bias"]
        assert np.isfinite(np.square(z - x[:, 0], dtype=np.float64)).all()


def test_no_example_to_train_on_is_a_clear_error(tmp_path):
    data = write_arrays(str(tmp_path / "data"), np.zeros((0, 2), np.float32),
                        np.zeros(0, np.float32), shards=2)
    with pytest.raises(DataError, match="no examples"):
        run(data, tmp_path / "model", model="linear")


def test_a_split_without_rows_and_one_example_are_fine(tmp_path):
    data = write_arrays(str(tmp_path / "data"), np.ones((1, 2), np.float32),
                        np.ones(1, np.float32), shards=4)
    assert [shard.rows for shard in data.train].count(0) == 3
    assert run(data, tmp_path / "model", model="linear")["examples"] == 1
