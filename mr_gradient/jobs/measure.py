"""All metrics of a split, as one record of sums: for mappers, and for the driver that adds them."""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mr_gradient.errors import DataError
from mr_gradient.jobs.broadcast import Settings
from mr_gradient.models.base import Model
from mr_gradient.models.losses import has_probabilities
from mr_gradient.models.metrics import Metrics, metrics_for
from mr_gradient.partial_gradient import Node, ordered_sum


def _metrics(settings: Settings, model: Model) -> Metrics:
    loss = getattr(model, "loss", "")
    return metrics_for("class" if settings.classes else "value", settings.classes,
                       has_probabilities(loss))


def measure(settings: Settings, model: Model, parameters: dict[str, np.ndarray],
            chunks: Iterable[tuple]) -> dict[str, Any]:
    """Sums of a split at ``parameters``, as a summary carries them."""
    metrics = _metrics(settings, model)
    sums = metrics.zeros()
    for x, y, weight in chunks:
        loss = model.accumulate(parameters, x, y, weight, None)["loss"]
        metrics.add(sums, model.predict(parameters, x), y, weight, loss)
    return {"metrics": binascii.b2a_base64(sums.astype("<f8").tobytes(), newline=False).decode()}


def finish(settings: Settings, model: Model, parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Metrics of the summaries of all splits of a part, in their order."""
    metrics = _metrics(settings, model)
    size = len(metrics.zeros())
    nodes = []
    for split, part in enumerate(parts):
        try:
            sums = np.frombuffer(binascii.a2b_base64(part["metrics"]), "<f8").copy()
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"metrics of split {split}: damaged: {error!r}") from None
        if len(sums) != size:
            raise DataError(f"metrics of split {split}: must be {size} sums, found {len(sums)}")
        nodes.append(Node(split, 0, sums))
    return metrics.finish(ordered_sum(nodes).values)
