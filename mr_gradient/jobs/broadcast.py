"""What every task of an iteration gets: one safetensors file with parameters and settings."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np

from mr_gradient import models, storage, tensors
from mr_gradient.blocks import BLOCK_BYTES, Layout
from mr_gradient.dataset.csr import rows_per_sparse_chunk
from mr_gradient.dataset.schema import Schema
from mr_gradient.dataset.shards import rows_per_chunk
from mr_gradient.errors import DataError
from mr_gradient.models.base import Model, layout


@dataclass(frozen=True)
class Settings:
    """Properties of data and configuration that the bits depend on (law 2).

    ``model``: the model as JSON. ``features``, ``classes``: what shards must hold, 0 classes for
    labels that are values. ``precision``: float32 or float64, the type of gradients.
    ``rows_per_chunk``: rows that a model sees at a time. ``seed`` and ``iteration`` key randomness.
    """

    model: str
    features: int
    classes: int
    precision: str
    rows_per_chunk: int
    block_bytes: int = BLOCK_BYTES
    seed: int = 0
    iteration: int = 0


@dataclass(frozen=True)
class Broadcast:
    """A parameter file that was read: tensors are views of the mapped file."""

    settings: Settings
    model: Model
    layout: Layout
    parameters: dict[str, np.ndarray]

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.settings.precision)


def settings_for(model: Model, schema: Schema, precision: str, **fields: int) -> Settings:
    """Settings of a job over a data set with these columns."""
    itemsize = np.dtype(precision).itemsize
    if schema.layout == "csr":
        outputs = max(tensor.shape[0] for tensor in model.tensors().values())
        rows = rows_per_sparse_chunk(schema.width, schema.nonzeros, outputs, itemsize)
    else:
        rows = rows_per_chunk(schema.width, itemsize)
    return Settings(models.to_json(model), schema.width, len(schema.classes), precision, rows,
                    **fields)


def write(path: str, settings: Settings, parameters: dict[str, np.ndarray]) -> None:
    """Write the parameters; not synced, since nothing is resumed from this file."""
    metadata = {"settings": json.dumps(asdict(settings))}
    storage.write_atomically(path, tensors.to_chunks(parameters, metadata), sync=False)


def read(path: str) -> Broadcast:
    """Read and check a parameter file: the model's tensors, and no others, in its precision."""
    arrays, metadata = tensors.read(path)
    try:
        settings = Settings(**json.loads(metadata["settings"]))
        dtype = np.dtype(settings.precision)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a parameter file of mr_gradient: {error!r}") from None
    if min(settings.rows_per_chunk, settings.block_bytes) < 1:
        raise DataError(f"{path}: rows_per_chunk and block_bytes must be positive")
    model = models.from_json(settings.model)
    where = layout(model)
    expected = dict(where.shapes)
    found = {name: array.shape for name, array in arrays.items()}
    types = {array.dtype.name for array in arrays.values()}
    if found != expected or types != {dtype.name}:
        raise DataError(f"{path}: parameters must be {dtype} tensors {expected}, found "
                        f"{' and '.join(sorted(types))} tensors {found}")
    return Broadcast(settings, model, where, arrays)
