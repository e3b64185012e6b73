"""``--class-weight balanced``: the same as sample weights by hand, and as in scikit-learn."""

from __future__ import annotations

import json

import numpy as np
import pytest
from trainings import run

from mr_gradient import model_folder
from mr_gradient.dataset.writer import write_arrays
from mr_gradient.errors import UsageError
from mr_gradient.evaluation import evaluate

OPTIMIZERS = [{}, {"optimizer": "newton"}, {"optimizer": "owlqn", "l1": 1e-3},
              {"optimizer": "adam", "learning_rate": 0.1}]


def unbalanced(classes: int = 3):
    generator = np.random.default_rng(2)
    y = np.minimum(generator.geometric(0.6, 250) - 1, classes - 1).astype(np.uint8)
    x = generator.normal(size=(250, 4)) + 0.7 * y[:, None]
    return x, y, generator.uniform(0.1, 3, 250)


def names(classes: int) -> tuple[str, ...]:
    return tuple("abcde"[:classes])


def balanced(y, weight):
    sums = np.bincount(y, weight)
    return weight * (weight.sum() / (np.count_nonzero(sums) * sums))[y]


@pytest.mark.fast
@pytest.mark.parametrize("options", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_they_multiply_sample_weights(tmp_path, options, weighted):
    x, y, weight = unbalanced()
    weight = weight if weighted else np.ones(len(y))
    plain = write_arrays(str(tmp_path / "plain"), x, y, weight if weighted else None, shards=3,
                         classes=names(3))
    by_hand = write_arrays(str(tmp_path / "by hand"), x, y, balanced(y, weight), shards=3,
                           classes=names(3))
    common = {"model": "softmax", "l2": 1e-3, "precision": "float64", "precondition": "none", **options}
    run(plain, tmp_path / "ours", 8, class_weight="balanced", **common)
    run(by_hand, tmp_path / "theirs", 8, **common)
    ours, theirs = ({name: array.copy() for name, array in model_folder.load(
        str(tmp_path / which)).parameters.items()} for which in ("ours", "theirs"))
    for found in (ours, theirs):
        found["bias"] -= found["bias"].mean()  # no loss of softmax changes with what all share
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-7, atol=1e-9)


def test_the_optimum_is_that_of_scikit_learn(tmp_path):
    from sklearn.linear_model import LogisticRegression
    x, y, _ = unbalanced()
    data = write_arrays(str(tmp_path / "data"), x, y, shards=3, classes=names(3))
    run(data, tmp_path / "model", 300, model="softmax", l2=0.01, precision="float64", tolerance=1e-9,
        class_weight="balanced")
    theirs = LogisticRegression(C=1 / (0.01 * 250), class_weight="balanced", tol=1e-9,
                                max_iter=10_000).fit(x, y)
    found = model_folder.load(str(tmp_path / "model")).parameters
    np.testing.assert_allclose(found["weight"], theirs.coef_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["bias"] - found["bias"].mean(),
                               theirs.intercept_ - theirs.intercept_.mean(), rtol=1e-4, atol=1e-5)


@pytest.mark.fast
def test_what_is_measured_counts_each_example_once(tmp_path):
    x, y, _ = unbalanced()
    data = write_arrays(str(tmp_path / "data"), x[50:], y[50:], shards=3, classes=names(3),
                        held_out=(x[:50], y[:50]))
    result = run(data, tmp_path / "model", 5, model="softmax", class_weight="balanced")
    line = json.loads((tmp_path / "model/history.jsonl").read_text().splitlines()[-1])
    assert line["held_out"]["weight"] == 50
    assert line["train"]["weight"] == pytest.approx(200)  # the balanced weights of all classes
    measured = evaluate(str(tmp_path / "model"), data.folder, "train")
    assert measured["weight"] == measured["examples"] == 200
    assert measured["accuracy"] == result["accuracy"]


@pytest.mark.fast
@pytest.mark.parametrize("model", ["softmax", "mlp"])
def test_a_class_without_examples_does_no_harm(tmp_path, model):
    x, y, _ = unbalanced()
    data = write_arrays(str(tmp_path / "data"), x, y, shards=3, classes=names(5))
    result = run(data, tmp_path / "model", 20, model=model, class_weight="balanced",
                 optimizer="adam", learning_rate=0.1)
    assert np.isfinite(result["loss"])
    assert result["accuracy"] > 0.5


@pytest.mark.fast
def test_values_have_no_classes(tmp_path):
    x, _, weight = unbalanced()
    data = write_arrays(str(tmp_path / "data"), x, weight)
    with pytest.raises(UsageError, match="--class-weight balanced: the target must be of classes"):
        run(data, tmp_path / "model", model="linear", class_weight="balanced")
    assert not (tmp_path / "model").exists()
