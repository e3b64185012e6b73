"""Checkpoints: everything that going on needs, in one file that is whole or absent (law 5).

``checkpoints/NNNNNNNN.safetensors`` holds the parameters (``parameters.<tensor>``), the optimizer's
state (``optimizer.<field>``), what early stopping keeps (``best.<tensor>``) and, as metadata, the
iteration, the identity of the training, the fingerprint of the driver, the length of the history and
a checksum. The last two are kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from dataclasses import dataclass, field

import numpy as np

from mr_gradient import storage, tensors
from mr_gradient.errors import DataError

_NAME = re.compile(r"^(\d{8})\.safetensors$")
_FORMAT = "mr_gradient checkpoint 1"
_KEEP = 2


@dataclass
class Checkpoint:
    """State after ``iteration`` iterations; the dictionaries map names to arrays.

    ``parameters``: what the optimizer moves, which may be other variables than the model's.
    ``best``: parameters that early stopping keeps, or none; ``progress``: what else there is, as
    JSON, of which infinities and NaN are no part.
    """

    iteration: int
    parameters: dict[str, np.ndarray]
    optimizer: dict[str, np.ndarray]
    identity: dict
    history_bytes: int = 0
    fingerprint: str = ""
    best: dict[str, np.ndarray] = field(default_factory=dict)
    progress: dict = field(default_factory=dict)


def remove_leftovers(out: str) -> None:
    """Remove what a kill in the middle of a write left in a training's folders."""
    storage.remove_leftovers(out)
    storage.remove_leftovers(_folder(out))


def _folder(out: str) -> str:
    return os.path.join(out, "checkpoints")


def _path(out: str, iteration: int) -> str:
    return os.path.join(_folder(out), f"{iteration:08d}.safetensors")


def iterations(out: str) -> list[int]:
    """Iterations that have a checkpoint, in order."""
    with contextlib.suppress(FileNotFoundError):
        found = (_NAME.match(name) for name in os.listdir(_folder(out)))
        return sorted(int(match[1]) for match in found if match)
    return []


def save(out: str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, then remove all but the last two."""
    storage.make_folder(_folder(out))
    arrays = {f"parameters.{name}": array for name, array in checkpoint.parameters.items()}
    arrays |= {f"optimizer.{name}": array for name, array in checkpoint.optimizer.items()}
    arrays |= {f"best.{name}": array for name, array in checkpoint.best.items()}
    metadata = {"format": _FORMAT, "iteration": str(checkpoint.iteration),
                "identity": json.dumps(checkpoint.identity, sort_keys=True),
                "fingerprint": checkpoint.fingerprint,
                "progress": json.dumps(checkpoint.progress, sort_keys=True, allow_nan=False),
                "history_bytes": str(checkpoint.history_bytes)}
    metadata["sha256"] = _digest(arrays, metadata)
    storage.write_atomically(_path(out, checkpoint.iteration), tensors.to_chunks(arrays, metadata))
    for old in iterations(out)[:-_KEEP]:
        remove(out, old)


def remove(out: str, iteration: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_path(out, iteration))


def load(out: str, iteration: int) -> Checkpoint:
    """Read and verify a checkpoint. Raises ``DataError`` when it is damaged."""
    path = _path(out, iteration)
    try:
        arrays, metadata = tensors.read(path)
        claimed = metadata.pop("sha256", "")
        if metadata.get("format") != _FORMAT or claimed != _digest(arrays, metadata):
            raise DataError(f"{path}: its checksum does not fit, or it is of another version")
    except DataError as error:
        raise DataError(f"{error}; the checkpoint is damaged: remove it to go on from the one "
                        "before, or start over with --restart") from None
    parts: dict[str, dict] = {"parameters": {}, "optimizer": {}, "best": {}}
    for name, array in arrays.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = array
    return Checkpoint(int(metadata["iteration"]), parts["parameters"], parts["optimizer"],
                      json.loads(metadata["identity"]), int(metadata["history_bytes"]),
                      metadata["fingerprint"], parts["best"], json.loads(metadata["progress"]))


def _digest(arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
