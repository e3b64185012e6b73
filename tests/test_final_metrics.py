"""What ``train`` and ``evaluate`` tell of a model against scikit-learn on the same predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics
from trainings import run

from mr_gradient import model_folder
from mr_gradient.dataset.shards import open_shard
from mr_gradient.dataset.writer import write_arrays
from mr_gradient.evaluation import evaluate

DIGITS = Path(__file__).resolve().parent.parent / "data" / "digits.csv"

CASES = {
    "softmax": ("digit", {"model": "softmax", "iterations": 8}),
    "mlp": ("digit", {"model": "mlp", "optimizer": "adam", "learning_rate": 0.02, "iterations": 30}),
    "logistic": ("odd", {"model": "logistic", "iterations": 5}),
    "svm": ("odd", {"model": "svm", "iterations": 5}),
    "network-of-two": ("odd", {"model": "network", "layers": [{"dense": 8}, "tanh", {"dense": 2}],
                               "optimizer": "adam", "learning_rate": 0.02, "iterations": 10}),
    "linear": ("value", {"model": "linear", "iterations": 6}),
    "huber": ("value", {"model": "huber", "iterations": 6}),
    "poisson": ("value", {"model": "poisson", "iterations": 6}),
    "mlp-of-values": ("value", {"model": "mlp", "optimizer": "adam", "iterations": 6}),
}


def written(folder: Path, target: str, weighted: bool):
    table = np.loadtxt(DIGITS, delimiter=",", skiprows=1)
    x, y = table[:, :-1].astype(np.uint8), table[:, -1].astype(np.uint8)
    y = {"digit": y, "odd": y % 2, "value": y.astype(np.float32)}[target]
    classes = {"digit": tuple("0123456789"), "odd": ("even", "odd"), "value": ()}[target]
    weight = np.random.default_rng(0).uniform(0.1, 3, len(y)) if weighted else None
    cut = [(x[rows], y[rows], *(() if weight is None else (weight[rows],)))
           for rows in (slice(500, None), slice(500))]
    return write_arrays(str(folder), *cut[0], classes=classes, shards=3, held_out=cut[1],
                        scale=1 / 16)


def of_classes(p: np.ndarray, y: np.ndarray, weight: np.ndarray, probabilities: bool) -> dict:
    every, chosen = np.arange(p.shape[1]), p.argmax(axis=1)
    found = {"accuracy": metrics.accuracy_score(y, chosen, sample_weight=weight),
             "confusion": metrics.confusion_matrix(y, chosen, labels=every, sample_weight=weight)}
    if probabilities:
        exact = p.astype(np.float64)
        found["log_loss"] = metrics.log_loss(y, exact / exact.sum(axis=1, keepdims=True),
                                             labels=every, sample_weight=weight)
    if len(every) > 5:
        found["top_5_accuracy"] = metrics.top_k_accuracy_score(y, p, k=5, labels=every,
                                                               sample_weight=weight)
    return found


def of_values(p: np.ndarray, y: np.ndarray, weight: np.ndarray) -> dict:
    p, y = p.astype(np.float64), y.astype(np.float64)
    return {"rmse": np.sqrt(metrics.mean_squared_error(y, p, sample_weight=weight)),
            "mae": metrics.mean_absolute_error(y, p, sample_weight=weight),
            "r2": metrics.r2_score(y, p, sample_weight=weight)}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_metrics_of_both_parts(tmp_path, case, weighted):
    target, options = CASES[case]
    data = written(tmp_path / "data", target, weighted)
    run(data, tmp_path / "model", **options)
    saved = model_folder.load(str(tmp_path / "model"))
    for part in ("train", "held_out"):
        opened = [open_shard(f"{data.folder}/{shard.path}") for shard in getattr(data, part)]
        x = np.concatenate([each.x for each in opened]).astype(np.float32) / 16
        y = np.concatenate([each.y for each in opened])
        weight = np.concatenate([each.weight for each in opened]) if weighted else np.ones(len(y))
        p = saved.model.predict(saved.parameters, x)
        expected = (of_values(p, y, weight) if target == "value"
                    else of_classes(p, y, weight, options["model"] != "svm"))
        measured = evaluate(str(tmp_path / "model"), data.folder, part.replace("_", "-"))
        for found in (measured, saved.summary[part]):
            assert found["examples"] == len(y)
            assert found["weight"] == pytest.approx(weight.sum())
            for name, value in expected.items():
                np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)
            if target == "odd":
                area = metrics.roc_auc_score(y, p[:, 1], sample_weight=weight)
                assert abs(found["auc"] - area) <= found["auc_error"] + 1e-9
                assert found["auc_error"] < 2e-3
