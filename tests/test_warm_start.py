"""Warm start: a training that begins with the parameters of another model."""

from __future__ import annotations

import json

import numpy as np
import pytest
from trainings import bits, class_data, run

from mr_gradient.dataset.writer import write_arrays
from mr_gradient.errors import DataError, UsageError
from mr_gradient.evaluation import evaluate

pytestmark = pytest.mark.fast

MLP = {"model": "mlp", "hidden": (8,), "optimizer": "adam", "learning_rate": 0.02}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """``data`` and ``other``, two data sets alike; ``softmax`` and ``mlp``, models of the first."""
    folder = tmp_path_factory.mktemp("warm")
    data = class_data(folder / "data")
    class_data(folder / "other", rows=200, shards=3, weighted=True)
    run(data, folder / "softmax", 5, model="softmax", l2=1e-3)
    run(data, folder / "mlp", 5, **MLP)
    return folder


def first(out) -> float:
    return json.loads((out / "history.jsonl").read_text().splitlines()[0])["train"]["loss"]


@pytest.mark.parametrize("options", [
    {"model": "softmax"}, {"model": "softmax", "precondition": "both"},
    {"model": "softmax", "optimizer": "newton", "precision": "float64"},
    {"model": "softmax", "strategy": "local-sgd"}, MLP], ids=str)
def test_it_begins_where_the_other_model_is(tmp_path, place, options):
    """On other data: the first loss is that of the model on it."""
    source = place / options["model"]
    run(str(place / "other"), tmp_path / "model", 1, warm_start=str(source), **{
        **options, **({"learning_rate": 1e-9} if options.get("strategy") else {})})
    expected = evaluate(str(source), str(place / "other"), "train")["loss"]
    assert first(tmp_path / "model") == pytest.approx(expected, rel=1e-5)


def test_at_the_optimum_there_is_nothing_to_do(tmp_path, place):
    data = str(place / "data")
    run(data, tmp_path / "cold", 200, model="softmax", l2=1e-3, precision="float64")
    warm = run(data, tmp_path / "warm", 200, model="softmax", l2=1e-3, precision="float64",
               warm_start=str(tmp_path / "cold"))
    assert warm["iterations"] <= 2
    optimum = evaluate(str(tmp_path / "cold"), data, "train")["objective"]
    assert warm["objective"] == pytest.approx(optimum, rel=1e-8)


@pytest.mark.parametrize("options", [MLP, {"model": "softmax", "precondition": "both"}], ids=str)
def test_pieces_have_the_bits_of_the_whole(tmp_path, place, options):
    warm = {"warm_start": str(place / options["model"]), **options}
    run(str(place / "other"), tmp_path / "whole", 6, **warm)
    for stop in (1, 4, 6):
        run(str(place / "other"), tmp_path / "pieces", stop, **warm)
    assert bits(tmp_path / "pieces") == bits(tmp_path / "whole")


def test_another_start_is_another_training(tmp_path, place):
    """What counts is what the other model holds, not where it lies."""
    data, source = str(place / "data"), tmp_path / "source"
    run(data, source, 3, model="softmax", l2=1e-3)
    run(data, tmp_path / "model", 2, model="softmax", warm_start=str(source))
    source.rename(tmp_path / "moved")
    run(data, tmp_path / "model", 3, model="softmax", warm_start=str(tmp_path / "moved"))
    run(data, tmp_path / "moved", 4, model="softmax", l2=1e-3)
    for start in (str(tmp_path / "moved"), ""):
        with pytest.raises(UsageError, match="another --warm-start"):
            run(data, tmp_path / "model", 4, model="softmax", warm_start=start)


def test_what_does_not_fit_is_refused(tmp_path, place):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(20, 6)).astype(np.float32), np.arange(20, dtype=np.uint8) % 3
    wide = write_arrays(str(tmp_path / "wide"), np.c_[x, x], y,
                        classes=("class-0", "class-1", "class-2"))
    named = write_arrays(str(tmp_path / "named"), x, y, classes=("a", "b", "c"))
    for data, options, words in (
            (wide, {}, r"its tensors must be .*'weight': \(3, 12\).*found .*\(3, 6\)"),
            (str(place / "data"), MLP, "its tensors must be .*0.weight"),
            (named, {}, "trained on other classes than .* has; prepare with --like")):
        with pytest.raises(UsageError, match=f"--warm-start .*{words}"):
            run(data, tmp_path / "model", warm_start=str(place / "softmax"),
                **{"model": "softmax", **options})
    with pytest.raises(DataError, match="no such folder"):
        run(str(place / "data"), tmp_path / "model", model="softmax", warm_start="nowhere")
    assert not (tmp_path / "model").exists()
