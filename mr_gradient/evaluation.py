"""``mr-gradient evaluate``: a model's metrics on a prepared data set, by one job."""

from __future__ import annotations

import time

import numpy as np

from mr_gradient import model_folder
from mr_gradient.dataset.schema import Schema, open_dataset
from mr_gradient.errors import UsageError
from mr_gradient.jobs.broadcast import settings_for
from mr_gradient.jobs.launch import check_data, job_arguments, launcher
from mr_gradient.jobs.manifest import make_splits
from mr_gradient.models.base import layout
from mr_gradient.models.penalty import Penalty
from mr_gradient.models.source_code import find
from mr_gradient.strategies.passes import Passes

PARTS = {"train": "train", "held-out": "held_out"}


def evaluate(model: str, data: str, part: str = "", runner: str = "inline",
             runner_options: list[str] | None = None, verbose: bool = False,
             model_code: str = "") -> dict:
    """Metrics of the model folder on one part of a data set; by default the held-out part.

    ``model_code``: names the code of a model of the user's own, as ``train --model`` does.
    Returns what ``--json`` prints. Raises ``UsageError`` when the data does not fit the model.
    """
    started = time.perf_counter()
    arguments = job_arguments(runner, runner_options or [], verbose)
    check_data(arguments, data)
    code = find(model_code, "--model-code") if model_code else None
    saved, dataset = model_folder.load(model, code), open_dataset(data)
    _check_columns(saved.schema, dataset.schema, model, data)
    if saved.preparation.get("plan") != dataset.options.get("plan"):
        raise UsageError(f"--data {data}: was prepared with other transforms than {model}; prepare "
                         f"it with --like {model}")
    part = part or ("held-out" if dataset.held_out else "train")
    shards = getattr(dataset, PARTS[part])
    if not shards:
        raise UsageError(f"--part {part}: {data} has no such part; prepare with --test-fraction")
    where, precision = layout(saved.model), np.dtype(saved.summary["precision"])
    settings = settings_for(saved.model, dataset.schema, precision.name, metrics=True)
    splits = [s for s in make_splits(dataset, gradient=False) if s.part == PARTS[part]]
    parameters = where.flatten(saved.parameters, precision)
    with launcher(arguments, where.size * 8, code) as jobs:
        found = Passes(jobs, splits, where).run(settings, [parameters]).points[0]
        metrics = found.metrics[PARTS[part]]
        penalty = Penalty.of(saved.model, saved.summary["l2"], saved.summary["l1"]).value(parameters)
        return {"loss": metrics["loss"], "objective": metrics["loss"] + penalty, **metrics,
                "iterations": saved.summary["iterations"],
                "jobs": jobs.jobs, "seconds": time.perf_counter() - started, "part": part}


def _check_columns(model: Schema, data: Schema, model_path: str, data_path: str) -> None:
    if model.features != data.features:
        of_model, of_data = set(model.features), set(data.features)
        extra = [name for name in data.features if name not in of_model]
        missing = [name for name in model.features if name not in of_data]
        raise UsageError(f"--data {data_path}: must have the {model.width} feature columns "
                         f"of {model_path}; missing {missing[:3]}, not in the model {extra[:3]}")
    if (model.kind, model.classes) != (data.kind, data.classes):
        raise UsageError(f"--data {data_path}: the target must be a {model.kind} with classes "
                         f"{list(model.classes)[:10]}, found a {data.kind} with "
                         f"{list(data.classes)[:10]}")
    if model.scale != data.scale:
        raise UsageError(f"--data {data_path}: its features are scaled by {data.scale:g}, those of "
                         f"{model_path} by {model.scale:g}; prepare it with --like {model_path}")
