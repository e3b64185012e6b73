"""Checkpoints: everything that going on needs, in one file that is whole or absent (law 5).

``checkpoints/NNNNNNNN.safetensors`` holds the parameters (``parameters.<tensor>``), the optimizer's
state (``optimizer.<field>``), what early stopping keeps (``best.<tensor>``) and, as metadata, the
iteration, the identity of the training, the fingerprint of the driver, the length of the history and
a checksum. The last two are kept.

The members of a tuple in the optimizer's state, such as the pairs of L-BFGS, stay the same arrays for
many iterations. Large ones are written once, each into a part, ``part-<SHA-256>.safetensors``, to
which checkpoints refer; a part is synced before the first of them, and goes after the last.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import weakref
from dataclasses import dataclass, field

import numpy as np

from mr_gradient import storage, tensors
from mr_gradient.errors import DataError

_NAME = re.compile(r"^(\d{8})\.safetensors$")
_PART = re.compile(r"^part-([0-9a-f]{64})\.safetensors$")
_FORMAT = "mr_gradient checkpoint 2"
_KEEP = 2
#: Members of tuples from this size on are written as parts: two more files to sync cost as much as
#: writing some hundred kilobytes.
_PART_BYTES = 256 * 1024
#: SHA-256 of the arrays that were parts of the last checkpoints, by their ``id``.
_digests: dict[int, tuple[weakref.ref, str]] = {}


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
    """Remove what a kill in the middle of a write, or between two, left in a training's folders."""
    storage.remove_leftovers(out)
    storage.remove_leftovers(_folder(out))
    _remove_parts(out)


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
    """Write a checkpoint, its new parts first, then remove all but the last two."""
    storage.make_folder(_folder(out))
    arrays = {f"parameters.{name}": array for name, array in checkpoint.parameters.items()}
    arrays |= {f"optimizer.{name}": array for name, array in checkpoint.optimizer.items()}
    arrays |= {f"best.{name}": array for name, array in checkpoint.best.items()}
    lasting = [name for name, array in arrays.items() if _is_part(name, array)]
    parts = {name: _write_part(out, arrays.pop(name)) for name in lasting}
    metadata = {"format": _FORMAT, "iteration": str(checkpoint.iteration), "parts": json.dumps(parts),
                "identity": json.dumps(checkpoint.identity, sort_keys=True),
                "fingerprint": checkpoint.fingerprint,
                "progress": json.dumps(checkpoint.progress, sort_keys=True, allow_nan=False),
                "history_bytes": str(checkpoint.history_bytes)}
    metadata["sha256"] = _digest(arrays, metadata)
    storage.write_atomically(_path(out, checkpoint.iteration), tensors.to_chunks(arrays, metadata))
    for old in iterations(out)[:-_KEEP]:
        os.unlink(_path(out, old))
    _remove_parts(out)


def remove(out: str, iteration: int) -> None:
    """Remove a checkpoint, if it is there, and the parts that no other one refers to."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_path(out, iteration))
    _remove_parts(out)


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
    arrays |= {name: _read_part(out, digest, path)
               for name, digest in json.loads(metadata["parts"]).items()}
    groups: dict[str, dict] = {"parameters": {}, "optimizer": {}, "best": {}}
    for name, array in arrays.items():
        group, _, rest = name.partition(".")
        groups[group][rest] = array
    return Checkpoint(int(metadata["iteration"]), groups["parameters"], groups["optimizer"],
                      json.loads(metadata["identity"]), int(metadata["history_bytes"]),
                      metadata["fingerprint"], groups["best"], json.loads(metadata["progress"]))


def _is_part(name: str, array: np.ndarray) -> bool:
    """Whether an array is a large member of a tuple in the optimizer's state."""
    group, *_, last = name.split(".")
    return group == "optimizer" and last.isdigit() and array.nbytes >= _PART_BYTES


def _part(out: str, digest: str) -> str:
    return os.path.join(_folder(out), f"part-{digest}.safetensors")


def _write_part(out: str, array: np.ndarray) -> str:
    """Write an array, unless it is there; returns its digest, which is computed once an object."""
    known = _digests.get(id(array))
    if known and known[0]() is array:
        digest = known[1]
    else:
        digest, key = _digest({"array": array}, {}), id(array)
        _digests[key] = weakref.ref(array, lambda _: _digests.pop(key, None)), digest
    if not os.path.exists(_part(out, digest)):
        storage.write_atomically(_part(out, digest), tensors.to_chunks({"array": array}))
    return digest


def _read_part(out: str, digest: str, wanted_by: str) -> np.ndarray:
    """Read and verify a part. Raises ``DataError`` when it is missing or damaged."""
    path = _part(out, digest)
    try:
        arrays, metadata = tensors.read(path)
        if metadata or _digest(arrays, {}) != digest:
            raise DataError(f"{path}: its checksum does not fit")
    except DataError as error:
        raise DataError(f"{error}; it is a part of the checkpoint {wanted_by}: remove that to go on "
                        "from the one before, or start over with --restart") from None
    return arrays["array"]


def _remove_parts(out: str) -> None:
    """Remove the parts that no checkpoint refers to; none while a checkpoint cannot be read."""
    with contextlib.suppress(FileNotFoundError, DataError, ValueError):
        found = {match[1] for match in map(_PART.match, os.listdir(_folder(out))) if match}
        if found:
            for iteration in iterations(out):
                _, metadata = tensors.read(_path(out, iteration))
                found -= set(json.loads(metadata.get("parts", "{}")).values())
        for digest in found:
            os.unlink(_part(out, digest))


def _digest(arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
