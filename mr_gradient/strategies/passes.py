"""One pass over the data as a job: parameters out, sums in, and a look at whether they are whole.

Chu et al. 2006, "Map-Reduce for Machine Learning on Multicore": the gradient of a sum over examples is
a sum of partial gradients over splits. A pass can evaluate several points at once: the data is read
once for all of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np

from mr_gradient import models
from mr_gradient.blocks import Layout
from mr_gradient.errors import DataError, TaskError
from mr_gradient.jobs import broadcast, measure
from mr_gradient.jobs.broadcast import Settings
from mr_gradient.jobs.gradient_job import GradientJob
from mr_gradient.jobs.launch import JobOutput, Launcher
from mr_gradient.jobs.manifest import Split, to_lines
from mr_gradient.jobs.outputs import Outputs
from mr_gradient.models.base import Model
from mr_gradient.partial_gradient import tree_sum
from mr_gradient.timing import timed

_EMPTY = "a part of the data has no examples, or their weights sum to zero"


@dataclass
class AtPoint:
    """What a pass found at one point.

    ``gradient`` (size,): sum over the training examples, zeros when no split was asked for one;
    ``hessian`` (size, size) float64 likewise, or None. ``metrics``: for each part with examples
    ``examples``, ``weight`` (their sum) and means over the weights: ``loss`` and others.
    """

    gradient: np.ndarray
    hessian: np.ndarray | None
    metrics: dict[str, dict[str, Any]]


@dataclass
class Pass:
    """``points`` in the order in which they were given; ``phases``: seconds of the pass by name;
    ``facts``: what the engine tells of the job."""

    points: list[AtPoint]
    summaries: list[dict]
    phases: dict[str, float]
    facts: dict[str, Any]


class Passes:
    """Runs passes over the same splits: writes the parameters, launches the job, checks its output."""

    def __init__(self, launcher: Launcher, splits: list[Split], layout: Layout) -> None:
        self._launcher, self._splits, self.layout = launcher, splits, layout
        lines = to_lines(splits)
        # Others may run passes over other splits in between.
        name = f"manifest-{hashlib.sha256(lines).hexdigest()[:16]}.txt"
        self._manifest = os.path.join(launcher.scratch, name)
        with open(self._manifest, "wb") as file:
            file.write(lines)

    @property
    def rows(self) -> int:
        """Of all splits that give a gradient."""
        return sum(split.stop - split.start for split in self._splits if split.gradient)

    def run(self, settings: Settings, points: Sequence[np.ndarray],
            job: type[GradientJob] = GradientJob) -> Pass:
        """One job at ``points``, each (size,); ``settings`` name the iteration."""
        phases: dict[str, float] = {}
        settings = replace(settings, points=len(points))
        params = os.path.join(self._launcher.scratch, f"params-{settings.iteration:08d}.safetensors")
        with timed(phases, "broadcast"):
            broadcast.write(params, settings, [self.layout.views(point) for point in points])
        with timed(phases, "job"):
            outputs = Outputs.of(settings, self.layout)
            output = self._launcher.run(
                params, self._manifest, job, _title(settings), len(outputs.blocks),
                outputs.held_bytes, self._data_bytes(settings))
        with timed(phases, "collect"):
            os.unlink(params)
            summaries = self._checked(output)
            found = outputs.collect(output.blocks)
            model = models.from_json(settings.model, self._launcher.code)
            metrics = [_metrics(settings, model, summaries, point)
                       for point in range(len(summaries[0]["sums"]))]
        return Pass([AtPoint(*arrays, of_point) for arrays, of_point in zip_longest(
            found, metrics, fillvalue={})], summaries, phases, output.facts)

    def _data_bytes(self, settings: Settings) -> int:
        """What a mapper holds of the data: its split, and a chunk of it with the model's outputs."""
        mapped = max(split.mapped_bytes for split in self._splits)
        rows = min(max(split.stop - split.start for split in self._splits), settings.rows_per_chunk)
        row = np.dtype(settings.precision).itemsize * rows
        # Outputs, probabilities, gradients by them and a temporary; sparse rows stay sparse.
        return mapped + min(row * settings.features, 4 * mapped) + 4 * row * max(1, settings.classes)

    def _checked(self, output: JobOutput) -> list[dict]:
        """The summaries by split, once every split has reported and every block is whole."""
        summaries = sorted(output.summaries, key=lambda summary: summary["split"])
        expected = sorted(split.split for split in self._splits)
        found = [summary["split"] for summary in summaries]
        if found != expected:
            wrong = sorted(set(expected) ^ set(found)) or sorted(found)
            raise TaskError(f"every split must report once; wrong for splits {wrong[:10]}")
        emitted = sum(summary["blocks"] for summary in summaries)
        summed = sum(int(node.splits) for node in output.blocks.values())
        if emitted != summed:
            raise TaskError(f"the splits emitted {emitted} blocks, but the sums hold {summed}")
        return summaries


def _title(settings: Settings) -> str:
    """What people read of the job."""
    if settings.iteration:
        return f"iteration {settings.iteration}"
    return "metrics" if settings.metrics else "sums of the data"


def _metrics(settings: Settings, model: Model, summaries: list[dict],
             point: int) -> dict[str, dict[str, Any]]:
    """Of the parts that have splits."""
    parts = {}
    for part in ("train", "held_out"):
        sums = [summary["sums"][point] for summary in summaries if summary["part"] == part]
        if sums and settings.metrics:
            parts[part] = measure.finish(settings, model, sums)
            if parts[part]["loss"] is None:
                raise DataError(_EMPTY)
        elif sums:
            parts[part] = means(sums)
    return parts


def means(sums: list[dict[str, Any]]) -> dict[str, Any]:
    """Totals over splits by the tree, then means over the weight sum."""
    names = sorted({name for each in sums for name in each})
    total = {name: tree_sum([each.get(name, 0.0) for each in sums]) for name in names}
    weight = total["weight"]
    if weight <= 0:
        raise DataError(_EMPTY)
    found = {"examples": int(total["examples"]), "weight": weight,
             "loss": total.get("loss", 0.0) / weight}
    if "correct" in total:
        found["accuracy"] = total["correct"] / weight
    if "squared_error" in total:
        found["rmse"] = float(np.sqrt(total["squared_error"] / weight))
    return found
