"""What every task of an iteration gets: one safetensors file with parameters and settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from mr_gradient import models, storage, tensors
from mr_gradient.blocks import BLOCK_BYTES, Layout
from mr_gradient.dataset.csr import rows_per_sparse_chunk
from mr_gradient.dataset.schema import Schema
from mr_gradient.dataset.shards import rows_per_chunk
from mr_gradient.errors import DataError
from mr_gradient.models.base import Model, layout
from mr_gradient.models.custom import Custom
from mr_gradient.models.source_code import Code


@dataclass(frozen=True)
class Local:
    """What a task of ``local-sgd`` does by itself; see ``strategies.local_sgd``.

    ``optimizer``: as JSON; ``step``: updates made so far. ``l2`` and ``ranges``: of the penalty.
    ``rows``: of all splits together.
    """

    optimizer: str
    l2: float
    ranges: tuple[tuple[int, int], ...]
    batch_size: int
    epochs: int
    steps: int
    rows: int
    step: int = 0


@dataclass(frozen=True)
class Settings:
    """Properties of data and configuration that the bits depend on (law 2).

    ``model``: the model as JSON. ``features``, ``classes``: what shards must hold, 0 classes for
    labels that are values. ``precision``: float32 or float64, the type of gradients.
    ``rows_per_chunk``: rows that a model sees at a time. ``seed`` and ``iteration`` key randomness.
    ``points``: how many parameter vectors are evaluated; ``hessian``: whether with their Hessians.
    ``sample``: how many training rows are drawn in this iteration, and of how many; None for all.
    ``metrics``: whether splits without a gradient give all metrics, not only the loss.
    ``class_weights``: one a class, by which the weights of training examples are multiplied.
    ``local``: of ``local-sgd``.
    """

    model: str
    features: int
    classes: int
    precision: str
    rows_per_chunk: int
    block_bytes: int = BLOCK_BYTES
    seed: int = 0
    iteration: int = 0
    points: int = 1
    hessian: bool = False
    sample: tuple[int, int] | None = None
    metrics: bool = False
    class_weights: tuple[float, ...] | None = None
    local: Local | None = None


@dataclass(frozen=True)
class Broadcast:
    """A parameter file that was read: ``points`` hold tensors that are views of the mapped file."""

    settings: Settings
    model: Model
    layout: Layout
    points: list[dict[str, np.ndarray]]

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.settings.precision)


def settings_for(model: Model, schema: Schema, precision: str, **fields: int) -> Settings:
    """Settings of a job over a data set with these columns."""
    itemsize = np.dtype(precision).itemsize
    if schema.layout == "csr":
        # The first size of a tensor of the user's own may be anything.
        outputs = model.outputs if isinstance(model, Custom) else max(
            (tensor.shape[0] for tensor in model.tensors().values() if len(tensor.shape) > 1),
            default=1)
        rows = rows_per_sparse_chunk(schema.width, schema.nonzeros, outputs, itemsize)
    else:
        rows = rows_per_chunk(schema.width, itemsize)
    return Settings(models.to_json(model), schema.width, len(schema.classes), precision, rows,
                    **fields)


def write(path: str, settings: Settings, points: Sequence[dict[str, np.ndarray]]) -> None:
    """Write the parameters; not synced, since nothing is resumed from this file.

    The tensors of the first point have their own names, those of point 1 begin with ``1/``.
    """
    metadata = {"settings": json.dumps(asdict(settings))}
    arrays = {_name(point, name): array for point, parameters in enumerate(points)
              for name, array in parameters.items()}
    storage.write_atomically(path, tensors.to_chunks(arrays, metadata), sync=False)


def _name(point: int, tensor: str) -> str:
    return f"{point}/{tensor}" if point else tensor


def read(path: str, code: Code | None = None) -> Broadcast:
    """Read and check a parameter file: the model's tensors, and no others, in its precision.

    ``code``: that of a model of the user's own.
    """
    arrays, metadata = tensors.read(path)
    try:
        value = json.loads(metadata["settings"])
        settings = Settings(**value | {"local": value["local"] and Local(**value["local"])})
        dtype = np.dtype(settings.precision)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a parameter file of mr_gradient: {error!r}") from None
    if min(settings.rows_per_chunk, settings.block_bytes, settings.points) < 1:
        raise DataError(f"{path}: rows_per_chunk, block_bytes and points must be positive")
    model = models.from_json(settings.model, code)
    where = layout(model)
    expected = {_name(point, name): shape for point in range(settings.points)
                for name, shape in where.shapes}
    found = {name: array.shape for name, array in arrays.items()}
    types = {array.dtype.name for array in arrays.values()}
    if found != expected or types != {dtype.name}:
        raise DataError(f"{path}: parameters must be {dtype} tensors {expected}, found "
                        f"{' and '.join(sorted(types))} tensors {found}")
    return Broadcast(settings, model, where, [
        {name: arrays[_name(point, name)] for name, _ in where.shapes}
        for point in range(settings.points)])
