"""Model folders: ``model.safetensors`` and ``model.json``, enough to predict on another machine.

``model.json`` is written last and holds the checksum of the tensors, so a kill between the two
files is noticed and the training, run again, writes them anew.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np

from mr_gradient import models, storage, tensors
from mr_gradient.dataset.schema import Schema, schema_from_json
from mr_gradient.errors import DataError
from mr_gradient.models.base import Model, layout

TENSORS, DESCRIPTION = "model.safetensors", "model.json"
_FORMAT, _VERSION = "mr_gradient model", 1


@dataclass(frozen=True)
class SavedModel:
    """A model that was read. ``summary``: iterations, l2, precision and final metrics.

    ``preparation``: how raw input becomes features, the ``options`` of the data set; {} if unknown.
    """

    model: Model
    parameters: dict[str, np.ndarray]
    schema: Schema
    summary: dict
    preparation: dict = field(default_factory=dict)


def save(out: str, saved: SavedModel) -> None:
    path = os.path.join(out, TENSORS)
    storage.write_atomically(path, tensors.to_chunks(saved.parameters, {"format": "pt"}))
    storage.write_json(os.path.join(out, DESCRIPTION), {
        "format": _FORMAT, "version": _VERSION, "model": models.to_json(saved.model),
        "schema": saved.schema.to_json(), "sha256": storage.sha256(path), "summary": saved.summary,
        "preparation": saved.preparation})


def load(out: str) -> SavedModel:
    """Read and verify a model. Raises ``DataError`` when there is none, or it is damaged."""
    if not os.path.isdir(out):
        raise DataError(f"{out}: no such folder; make a model there with "
                        f"'mr-gradient train --data DIR --model NAME --out {out}'")
    path = os.path.join(out, DESCRIPTION)
    value = storage.read_json(path, "the description of a trained model")
    if value.get("format") != _FORMAT or value.get("version") != _VERSION:
        raise DataError(f"{path}: must be '{_FORMAT}' version {_VERSION}, found "
                        f"{value.get('format')!r} version {value.get('version')!r}")
    try:
        model, schema = models.from_json(value["model"]), schema_from_json(value["schema"])
        summary, checksum = dict(value["summary"]), value["sha256"]
        preparation = dict(value.get("preparation", {}))
        if (type(summary["iterations"]), type(summary["train"])) != (int, dict) or (
                summary["precision"] not in ("float32", "float64") or not summary["l2"] >= 0):
            raise ValueError(f"summary {summary}")
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: damaged: {error!r}") from None
    tensor_path = os.path.join(out, TENSORS)
    if storage.sha256(tensor_path) != checksum:
        raise DataError(f"{tensor_path}: does not fit {DESCRIPTION}; run the same 'train' command "
                        "again to write both anew")
    arrays, _ = tensors.read(tensor_path)
    found = {name: array.shape for name, array in arrays.items()}
    if found != dict(layout(model).shapes):
        raise DataError(f"{tensor_path}: parameters must have shapes {dict(layout(model).shapes)}, "
                        f"found {found}")
    return SavedModel(model, arrays, schema, summary, preparation)


def is_current(out: str, iterations: int) -> bool:
    """Whether a whole model of exactly so many iterations is there."""
    try:
        return load(out).summary.get("iterations") == iterations
    except DataError:
        return False
