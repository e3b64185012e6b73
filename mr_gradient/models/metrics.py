"""Metrics by MapReduce: sums over examples in one flat float64 vector, and metrics from their total.

A map task adds its chunks to ``zeros()`` with ``add``. Vectors merge by addition alone (law 1), along
the tree of law 2; ``finish`` turns the total into plain numbers that JSON can say. What cannot be
known, as everything of no examples, is None. Sample weights count as repeated examples would.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from mr_gradient.blocks import Layout
from mr_gradient.models import auc

#: A confusion matrix of more would be larger than most models.
MOST_CONFUSED = 100
#: What is left of the labels' variance below this part of their mean square is rounding.
_ROUNDING = 1e-13


class Metrics(Protocol):
    """What ``ClassMetrics`` and ``ValueMetrics`` have in common."""

    def zeros(self) -> np.ndarray:
        """Sums over no examples, (size,) float64."""

    def add(self, sums: np.ndarray, predicted: np.ndarray, y: np.ndarray,
            weight: np.ndarray | None, loss: float) -> None:
        """Add a chunk: what the model predicts for it, and its loss sum there."""

    def finish(self, sums: np.ndarray) -> dict[str, Any]:
        """Metrics by name."""


def metrics_for(kind: str, classes: int, probabilities: bool = True) -> Metrics:
    """For a target of ``kind`` class or value; see ``losses.has_probabilities``."""
    return ClassMetrics(classes, probabilities) if kind == "class" else ValueMetrics()


@dataclass(frozen=True)
class ClassMetrics:
    """Of predicted probabilities (n, classes), or of scores where ``probabilities`` is False.

    Sums: ``examples``; and, each weighted, ``weight`` (1), ``loss`` (the model's), ``correct`` (the
    largest is the label's; of equals the first), ``confusion`` (label, predicted), ``top`` (the
    label is among the ``top`` largest), ``log_loss`` (-log p of the label, p no less than the
    smallest step at 1 in its type, as in scikit-learn), and for two classes ``positives`` and
    ``negatives`` by bins of the score of class 1, for ``auc``.
    """

    classes: int
    probabilities: bool = True
    top: int = 5

    @cached_property
    def layout(self) -> Layout:
        """Where each sum lies in the vector."""
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(
            ("examples", "weight", "loss", "correct"), ())
        if self.probabilities:
            shapes["log_loss"] = ()
        if self.classes > self.top:
            shapes["top"] = ()
        if self.classes <= MOST_CONFUSED:
            shapes["confusion"] = (self.classes, self.classes)
        if self.classes == 2:
            shapes |= {"positives": (auc.BINS,), "negatives": (auc.BINS,)}
        return Layout.of(shapes)

    def zeros(self) -> np.ndarray:
        return np.zeros(self.layout.size)

    def add(self, sums: np.ndarray, predicted: np.ndarray, y: np.ndarray,
            weight: np.ndarray | None, loss: float) -> None:
        into = self.layout.views(sums)
        y = y.astype(np.int64)
        chosen = predicted.argmax(axis=1)
        of_label = predicted[np.arange(len(y)), y]
        _add_common(into, y, weight, loss)
        into["correct"] += _sum(chosen == y, weight)
        if "log_loss" in into:
            least = np.finfo(predicted.dtype).eps
            into["log_loss"] -= _sum(np.log(np.maximum(of_label, least), dtype=np.float64), weight)
        if "top" in into:
            into["top"] += _sum(self._rank(predicted, of_label, y) < self.top, weight)
        if "confusion" in into:
            into["confusion"] += np.bincount(y * self.classes + chosen, weight,
                                             self.classes ** 2).reshape(self.classes, -1)
        if "positives" in into:
            bins = (auc.bins_of_probabilities if self.probabilities else auc.bins_of_scores)(
                predicted[:, 1])
            for name, which in (("positives", y == 1), ("negatives", y == 0)):
                into[name] += np.bincount(bins[which], None if weight is None else weight[which],
                                          auc.BINS)

    def _rank(self, predicted: np.ndarray, of_label: np.ndarray, y: np.ndarray) -> np.ndarray:
        """How many classes come before the label's (n,): those not known to come after it."""
        mine = of_label[:, None]
        after = predicted < mine
        after |= (predicted == mine) & (np.arange(self.classes) >= y[:, None])
        return self.classes - np.count_nonzero(after, axis=1)

    def finish(self, sums: np.ndarray) -> dict[str, Any]:
        """``loss``, ``accuracy``, ``log_loss``, ``top_K_accuracy``, ``auc`` with ``auc_error`` (the
        exact area is within plus or minus that) and ``confusion``, a list of the rows of labels."""
        total = self.layout.views(sums)
        metrics = _finish_common(total)
        metrics["accuracy"] = _mean(total, "correct")
        if "log_loss" in total:
            metrics["log_loss"] = _mean(total, "log_loss")
        if "top" in total:
            metrics[f"top_{self.top}_accuracy"] = _mean(total, "top")
        if "positives" in total:
            metrics["auc"], metrics["auc_error"] = auc.area(total["positives"], total["negatives"])
        if "confusion" in total:
            metrics["confusion"] = total["confusion"].tolist()
        return metrics


@dataclass(frozen=True)
class ValueMetrics:
    """Of predicted values (n,).

    Sums: ``examples``; and, each weighted, ``weight`` (1), ``loss`` (the model's), ``squared_error``,
    ``absolute_error``, ``labels`` (y - shift) and ``label_squares`` (its square). ``shift``: any
    number near the labels, the same in all tasks; where their mean is far larger than their spread,
    R2 loses digits without it (six at a mean of 1,000 spreads).
    """

    shift: float = 0.0

    @cached_property
    def layout(self) -> Layout:
        """Where each sum lies in the vector."""
        return Layout.of(dict.fromkeys(("examples", "weight", "loss", "squared_error",
                                        "absolute_error", "labels", "label_squares"), ()))

    def zeros(self) -> np.ndarray:
        return np.zeros(self.layout.size)

    def add(self, sums: np.ndarray, predicted: np.ndarray, y: np.ndarray,
            weight: np.ndarray | None, loss: float) -> None:
        into = self.layout.views(sums)
        _add_common(into, y, weight, loss)
        error = np.subtract(predicted, y, dtype=np.float64)
        labels = np.subtract(y, self.shift, dtype=np.float64)
        for name, values in (("squared_error", error * error), ("absolute_error", np.abs(error)),
                             ("labels", labels), ("label_squares", labels * labels)):
            into[name] += _sum(values, weight)

    def finish(self, sums: np.ndarray) -> dict[str, Any]:
        """``loss``, ``rmse``, ``mae`` and ``r2``, which is None where all labels are equal."""
        total = self.layout.views(sums)
        metrics = _finish_common(total)
        mean = _mean(total, "squared_error")
        metrics["rmse"] = None if mean is None else math.sqrt(mean)
        metrics["mae"] = _mean(total, "absolute_error")
        metrics["r2"] = None
        if mean is not None:
            squares = float(total["label_squares"])
            spread = squares - float(total["labels"]) ** 2 / float(total["weight"])
            if spread > _ROUNDING * squares:
                metrics["r2"] = 1 - float(total["squared_error"]) / spread
        return metrics


def _sum(values: np.ndarray, weight: np.ndarray | None) -> float:
    """Of (n,) values or truths, weighted."""
    if weight is not None:
        values = values * weight
    return float(np.add.reduce(values, dtype=np.float64))


def _add_common(into: dict[str, np.ndarray], y: np.ndarray, weight: np.ndarray | None,
                loss: float) -> None:
    into["examples"] += len(y)
    into["weight"] += len(y) if weight is None else _sum(weight, None)
    into["loss"] += loss


def _finish_common(total: dict[str, np.ndarray]) -> dict[str, Any]:
    return {"examples": int(total["examples"]), "weight": float(total["weight"]),
            "loss": _mean(total, "loss")}


def _mean(total: dict[str, np.ndarray], name: str) -> float | None:
    weight = float(total["weight"])
    return float(total[name]) / weight if weight > 0 else None
