"""Model folders: ``model.safetensors`` and ``model.json``, enough to predict on another machine.

A model of the user's own has its file there too, as ``model.py``, for people to read and to name;
nothing here runs it by itself (law 6). ``model.json`` is written last and holds the checksum of the
tensors, so a kill between the two files is noticed and the training, run again, writes them anew.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace

import numpy as np

from mr_gradient import models, storage, tensors
from mr_gradient.dataset.schema import Schema, schema_from_json
from mr_gradient.errors import DataError, UsageError
from mr_gradient.models.base import Model, layout
from mr_gradient.models.custom import Custom
from mr_gradient.models.source_code import Code

TENSORS, DESCRIPTION, CODE = "model.safetensors", "model.json", "model.py"
_FORMAT, _VERSION = "mr_gradient model", 1


@dataclass(frozen=True)
class SavedModel:
    """A model that was read. ``summary``: iterations, l2, precision and final metrics.

    ``model``: None if only the files were read. ``preparation``: how raw input becomes features, the
    ``options`` of the data set; {} if unknown.
    """

    model: Model | None
    parameters: dict[str, np.ndarray]
    schema: Schema
    summary: dict
    preparation: dict = field(default_factory=dict)


def save(out: str, saved: SavedModel) -> None:
    path = os.path.join(out, TENSORS)
    storage.write_atomically(path, tensors.to_chunks(saved.parameters, {"format": "pt"}))
    if isinstance(saved.model, Custom) and saved.model.own_code.path:
        storage.write_atomically(os.path.join(out, CODE), [saved.model.own_code.source])
    storage.write_json(os.path.join(out, DESCRIPTION), {
        "format": _FORMAT, "version": _VERSION, "model": models.to_json(saved.model),
        "schema": saved.schema.to_json(), "sha256": storage.sha256(path), "summary": saved.summary,
        "preparation": saved.preparation})


def load(out: str, code: Code | None = None) -> SavedModel:
    """Read and verify a model. Raises ``DataError`` when there is none, or it is damaged.

    ``code``: what the user named, needed for a model of the user's own: ``UsageError`` without it.
    """
    saved, description = _read(out)
    _check_code(out, description, code)
    model = models.from_json(description, code)
    found = {name: array.shape for name, array in saved.parameters.items()}
    if found != dict(layout(model).shapes):
        raise DataError(f"{os.path.join(out, TENSORS)}: parameters must have shapes "
                        f"{dict(layout(model).shapes)}, found {found}")
    return replace(saved, model=model)


def read(out: str) -> SavedModel:
    """As ``load``, without the model itself: its own Python is not needed, and not run."""
    return _read(out)[0]


def _check_code(out: str, description: str, code: Code | None) -> None:
    """Raises ``UsageError`` with what to name."""
    needed = json.loads(description)
    if needed.get("class") != Custom.__name__:
        if code is not None:
            raise UsageError(f"--model-code {code.name}: {out} is no model of your own; leave it out")
        return
    factory, sha256 = str(needed.get("factory")), str(needed.get("sha256"))
    copy = os.path.join(out, CODE)
    named = f"{copy}:{factory.rpartition(':')[2]}" if os.path.exists(copy) else factory
    if code is None:
        raise UsageError(f"{out}: is a model of your own, whose Python runs only when you name it; if "
                         f"you trust it, add --model-code {named}")
    if (code.function, code.sha256) != (factory.rpartition(":")[2], sha256):
        raise UsageError(f"--model-code {code.name}: is not what {out} was trained with: "
                         f"that was {factory} with SHA-256 {sha256[:12]}, and this has "
                         f"{code.sha256[:12]}; name {named}")


def _read(out: str) -> tuple[SavedModel, str]:
    """What the files hold, and the description of the model as JSON."""
    if not os.path.isdir(out):
        raise DataError(f"{out}: no such folder; make a model there with "
                        f"'mr-gradient train --data DIR --model NAME --out {out}'")
    path = os.path.join(out, DESCRIPTION)
    value = storage.read_json(path, "the description of a trained model")
    if value.get("format") != _FORMAT or value.get("version") != _VERSION:
        raise DataError(f"{path}: must be '{_FORMAT}' version {_VERSION}, found "
                        f"{value.get('format')!r} version {value.get('version')!r}")
    try:
        description, schema = value["model"], schema_from_json(value["schema"])
        json.loads(description)["class"]
        summary, checksum = dict(value["summary"]), value["sha256"]
        preparation = dict(value.get("preparation", {}))
        if (type(summary["iterations"]), type(summary["train"])) != (int, dict) or (
                summary["precision"] not in ("float32", "float64") or not summary["l2"] >= 0):
            raise ValueError(f"summary {summary}")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: damaged: {error!r}") from None
    tensor_path = os.path.join(out, TENSORS)
    if storage.sha256(tensor_path) != checksum:
        raise DataError(f"{tensor_path}: does not fit {DESCRIPTION}; run the same 'train' command "
                        "again to write both anew")
    arrays, _ = tensors.read(tensor_path)
    return SavedModel(None, arrays, schema, summary, preparation), description


def is_current(out: str, iterations: int, code: Code | None = None) -> bool:
    """Whether a whole model of exactly so many iterations is there."""
    try:
        return load(out, code).summary.get("iterations") == iterations
    except DataError:
        return False
