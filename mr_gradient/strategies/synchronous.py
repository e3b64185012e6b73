"""Strategy ``synchronous``: every iteration is one pass over all the data (Chu et al. 2006).

"Map-Reduce for Machine Learning on Multicore": the gradient of a sum over examples is a sum of
partial gradients over splits. Means are made here, once, and penalties are added here, once (law 1).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from mr_gradient.blocks import Layout
from mr_gradient.errors import DataError, TaskError
from mr_gradient.jobs import broadcast
from mr_gradient.jobs.broadcast import Settings
from mr_gradient.jobs.launch import JobOutput, Launcher
from mr_gradient.jobs.manifest import Split, to_lines
from mr_gradient.partial_gradient import tree_sum
from mr_gradient.timing import timed


@dataclass
class Pass:
    """One pass over the data at some parameters.

    ``gradient`` (size,): sum over the training examples, zeros when no split was asked for one.
    ``metrics``: for each part with examples ``examples``, ``weight`` (their sum) and means over the
    weights: ``loss``, and ``accuracy`` or ``rmse``. ``phases``: seconds of the pass by name.
    """

    gradient: np.ndarray
    metrics: dict[str, dict[str, float]]
    summaries: list[dict]
    phases: dict[str, float]


class Synchronous:
    """Runs passes: writes the parameters, launches the job, checks what comes back."""

    def __init__(self, launcher: Launcher, splits: list[Split], layout: Layout) -> None:
        self._launcher, self._splits, self._layout = launcher, splits, layout
        self._manifest = os.path.join(launcher.scratch, "manifest.txt")
        with open(self._manifest, "wb") as file:
            file.write(to_lines(splits))

    def run(self, settings: Settings, parameters: np.ndarray) -> Pass:
        """One job at ``parameters`` (size,); ``settings`` name the iteration."""
        phases: dict[str, float] = {}
        params = os.path.join(self._launcher.scratch, f"params-{settings.iteration:08d}.safetensors")
        with timed(phases, "broadcast"):
            broadcast.write(params, settings, self._layout.views(parameters))
        with timed(phases, "job"):
            output = self._launcher.run(params, self._manifest)
        with timed(phases, "collect"):
            os.unlink(params)
            result = self._collect(output, settings, phases)
        return result

    def _collect(self, output: JobOutput, settings: Settings, phases: dict[str, float]) -> Pass:
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
        metrics = {part: _means([s["sums"] for s in summaries if s["part"] == part])
                   for part in ("train", "held_out") if any(s["part"] == part for s in summaries)}
        gradient = np.zeros(self._layout.size, settings.precision)
        blocks = self._layout.blocks(settings.block_bytes, gradient.itemsize)
        for number, node in output.blocks.items():
            lo, hi = blocks[number].start, blocks[number].stop
            if node.values.shape != (hi - lo,) or node.values.dtype != gradient.dtype:
                raise TaskError(f"block {number} must be {gradient.dtype}({hi - lo},), found "
                                f"{node.values.dtype}{node.values.shape}")
            gradient[lo:hi] = node.values
        return Pass(gradient, metrics, summaries, phases)


def _means(sums: list[dict[str, float]]) -> dict[str, float]:
    """Totals over splits by the tree, then means over the weight sum."""
    names = {name for each in sums for name in each}
    total = {name: tree_sum([each.get(name, 0.0) for each in sums]) for name in sorted(names)}
    means = {"examples": int(total["examples"]), "weight": total["weight"]}
    if total["weight"] <= 0:
        raise DataError("a part of the data has no examples, or their weights sum to zero")
    weight = total["weight"]
    means["loss"] = total.get("loss", 0.0) / weight
    if "correct" in total:
        means["accuracy"] = total["correct"] / weight
    if "squared_error" in total:
        means["rmse"] = float(np.sqrt(total["squared_error"] / weight))
    return means
