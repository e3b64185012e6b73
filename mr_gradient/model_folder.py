"""Model folders: ``model.safetensors`` and ``model.json``, enough to predict on another machine.

A model of the user's own has its file there too, as ``model.py``, for people to read and to name;
nothing here runs it by itself (law 6). ``model.json`` is written last and holds the checksum of the
tensors, so a kill between the two files is noticed and the training, run again, writes them anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, replace

import numpy as np

from mr_gradient import models, tensors
from mr_gradient.dataset.schema import Schema, schema_from_json
from mr_gradient.errors import DataError, UsageError
from mr_gradient.folders import Folder, opened
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


def save(out: str | Folder, saved: SavedModel) -> None:
    chunks = tensors.to_chunks(saved.parameters, {"format": "pt"})
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    with opened(out) as folder:
        folder.write(TENSORS, chunks)
        if isinstance(saved.model, Custom) and saved.model.own_code.path:
            folder.write(CODE, [saved.model.own_code.source])
        folder.write_json(DESCRIPTION, {
            "format": _FORMAT, "version": _VERSION, "model": models.to_json(saved.model),
            "schema": saved.schema.to_json(), "sha256": digest.hexdigest(), "summary": saved.summary,
            "preparation": saved.preparation})


def load(out: str | Folder, code: Code | None = None) -> SavedModel:
    """Read and verify a model, in a folder or at a URI. Raises ``DataError`` when there is none, or it
    is damaged.

    ``code``: what the user named, needed for a model of the user's own: ``UsageError`` without it.
    """
    with opened(out) as folder:
        saved, description = _read(folder)
        _check_code(folder, description, code)
        model = models.from_json(description, code)
        found = {name: array.shape for name, array in saved.parameters.items()}
        if found != dict(layout(model).shapes):
            raise DataError(f"{folder.place(TENSORS)}: parameters must have shapes "
                            f"{dict(layout(model).shapes)}, found {found}")
        return replace(saved, model=model)


def is_model(out: str) -> bool:
    """Whether the description of a model is in a folder, or at a URI."""
    with opened(out) as folder:
        return folder.exists(DESCRIPTION)


def read(out: str | Folder) -> SavedModel:
    """As ``load``, without the model itself: its own Python is not needed, and not run."""
    with opened(out) as folder:
        return _read(folder)[0]


def _check_code(folder: Folder, description: str, code: Code | None) -> None:
    """Raises ``UsageError`` with what to name."""
    needed, out = json.loads(description), folder.given
    if needed.get("class") != Custom.__name__:
        if code is not None:
            raise UsageError(f"--model-code {code.name}: {out} is no model of your own; leave it out")
        return
    factory, sha256 = str(needed.get("factory")), str(needed.get("sha256"))
    copied = folder.is_local and folder.exists(CODE)
    named = f"{folder.place(CODE)}:{factory.rpartition(':')[2]}" if copied else factory
    if code is None:
        raise UsageError(f"{out}: is a model of your own, whose Python runs only when you name it; if "
                         f"you trust it, add --model-code {named}")
    if (code.function, code.sha256) != (factory.rpartition(":")[2], sha256):
        raise UsageError(f"--model-code {code.name}: is not what {out} was trained with: "
                         f"that was {factory} with SHA-256 {sha256[:12]}, and this has "
                         f"{code.sha256[:12]}; name {named}")


def _read(folder: Folder) -> tuple[SavedModel, str]:
    """What the files hold, and the description of the model as JSON."""
    if folder.is_local and not os.path.isdir(folder.given):
        raise DataError(f"{folder.given}: no such folder; make a model there with "
                        f"'mr-gradient train --data DIR --model NAME --out {folder.given}'")
    path = folder.place(DESCRIPTION)
    value = folder.read_json(DESCRIPTION, "the description of a trained model")
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
    found = folder.tensors(TENSORS, checksum)
    if found is None:
        raise DataError(f"{folder.place(TENSORS)}: does not fit {DESCRIPTION}; run the same 'train' "
                        "command again to write both anew")
    return SavedModel(None, found[0], schema, summary, preparation), description


def is_current(out: str | Folder, iterations: int, code: Code | None = None) -> bool:
    """Whether a whole model of exactly so many iterations is there."""
    try:
        return load(out, code).summary.get("iterations") == iterations
    except DataError:
        return False
