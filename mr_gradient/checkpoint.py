"""Checkpoints: everything that going on needs, in one file that is whole or absent (law 5).

``checkpoints/NNNNNNNN.safetensors`` holds the parameters (``parameters.<tensor>``), the optimizer's
state (``optimizer.<field>``), what early stopping keeps (``best.<tensor>``) and, as metadata, the
iteration, the identity of the training, the fingerprint of the driver, the length of the history and
a checksum. The last two are kept. In a store, where nothing can be appended to a file, they also hold
the last lines of the history (``history.tail``).

The members of a tuple in the optimizer's state, such as the pairs of L-BFGS, stay the same arrays for
many iterations. Large ones are written once, each into a part, ``part-<SHA-256>.safetensors``, to
which checkpoints refer; a part is synced before the first of them, and goes after the last.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import weakref
from dataclasses import dataclass, field

import numpy as np

from mr_gradient import tensors
from mr_gradient.errors import DataError
from mr_gradient.folders import Folder, opened

_NAME = re.compile(r"^(\d{8})\.safetensors$")
_PART = re.compile(r"^part-([0-9a-f]{64})\.safetensors$")
_FORMAT = "mr_gradient checkpoint 2"
_FOLDER = "checkpoints"
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
    JSON, of which infinities and NaN are no part. ``history_tail``: the last of the ``history_bytes``
    bytes of the history, as far as they are not in its file.
    """

    iteration: int
    parameters: dict[str, np.ndarray]
    optimizer: dict[str, np.ndarray]
    identity: dict
    history_bytes: int = 0
    fingerprint: str = ""
    best: dict[str, np.ndarray] = field(default_factory=dict)
    progress: dict = field(default_factory=dict)
    history_tail: bytes = b""


def remove_leftovers(out: str | Folder) -> None:
    """Remove what a kill in the middle of a write, or between two, left in a training's folders."""
    with opened(out) as folder:
        folder.remove_leftovers()
        folder.remove_leftovers(_FOLDER)
        _remove_parts(folder, folder.names(_FOLDER))


def _name(iteration: int) -> str:
    return f"{_FOLDER}/{iteration:08d}.safetensors"


def iterations(out: str | Folder) -> list[int]:
    """Iterations that have a checkpoint, in order."""
    with opened(out) as folder:
        return _iterations(folder.names(_FOLDER))


def _iterations(names: list[str]) -> list[int]:
    return sorted(int(match[1]) for match in map(_NAME.match, names) if match)


def save(out: str | Folder, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, its new parts first, then remove all but the last two."""
    arrays = {f"parameters.{name}": array for name, array in checkpoint.parameters.items()}
    arrays |= {f"optimizer.{name}": array for name, array in checkpoint.optimizer.items()}
    arrays |= {f"best.{name}": array for name, array in checkpoint.best.items()}
    if checkpoint.history_tail:
        arrays["history.tail"] = np.frombuffer(checkpoint.history_tail, np.uint8)
    with opened(out) as folder:
        folder.make(_FOLDER)
        lasting = [name for name, array in arrays.items() if _is_part(name, array)]
        there = set(folder.names(_FOLDER)) if lasting else set()
        parts = {name: _write_part(folder, arrays.pop(name), there) for name in lasting}
        metadata = {"format": _FORMAT, "iteration": str(checkpoint.iteration),
                    "parts": json.dumps(parts),
                    "identity": json.dumps(checkpoint.identity, sort_keys=True),
                    "fingerprint": checkpoint.fingerprint,
                    "progress": json.dumps(checkpoint.progress, sort_keys=True, allow_nan=False),
                    "history_bytes": str(checkpoint.history_bytes)}
        metadata["sha256"] = _digest(arrays, metadata)
        folder.write(_name(checkpoint.iteration), tensors.to_chunks(arrays, metadata))
        names = folder.names(_FOLDER)
        old = [_name(iteration) for iteration in _iterations(names)[:-_KEEP]]
        folder.remove(*old)
        _remove_parts(folder, [name for name in names if f"{_FOLDER}/{name}" not in old])


def remove(out: str | Folder, iteration: int) -> None:
    """Remove a checkpoint, if it is there, and the parts that no other one refers to."""
    with opened(out) as folder:
        folder.remove(_name(iteration))
        _remove_parts(folder, folder.names(_FOLDER))


def load(out: str | Folder, iteration: int) -> Checkpoint:
    """Read and verify a checkpoint. Raises ``DataError`` when it is damaged."""
    with opened(out) as folder:
        place = folder.place(_name(iteration))
        try:
            arrays, metadata = folder.tensors(_name(iteration))
            claimed = metadata.pop("sha256", "")
            if metadata.get("format") != _FORMAT or claimed != _digest(arrays, metadata):
                raise DataError(f"{place}: its checksum does not fit, or it is of another version")
        except DataError as error:
            raise DataError(f"{error}; the checkpoint is damaged: remove it to go on from the one "
                            "before, or start over with --restart") from None
        arrays |= {name: _read_part(folder, digest, place)
                   for name, digest in json.loads(metadata["parts"]).items()}
    groups: dict[str, dict] = {"parameters": {}, "optimizer": {}, "best": {}, "history": {}}
    for name, array in arrays.items():
        group, _, rest = name.partition(".")
        groups[group][rest] = array
    tail = groups["history"].get("tail", np.empty(0, np.uint8)).tobytes()
    return Checkpoint(int(metadata["iteration"]), groups["parameters"], groups["optimizer"],
                      json.loads(metadata["identity"]), int(metadata["history_bytes"]),
                      metadata["fingerprint"], groups["best"], json.loads(metadata["progress"]), tail)


def _is_part(name: str, array: np.ndarray) -> bool:
    """Whether an array is a large member of a tuple in the optimizer's state."""
    group, *_, last = name.split(".")
    return group == "optimizer" and last.isdigit() and array.nbytes >= _PART_BYTES


def _part(digest: str) -> str:
    return f"{_FOLDER}/part-{digest}.safetensors"


def _write_part(folder: Folder, array: np.ndarray, there: set[str]) -> str:
    """Write an array, unless it is there; returns its digest, which is computed once an object."""
    known = _digests.get(id(array))
    if known and known[0]() is array:
        digest = known[1]
    else:
        digest, key = _digest({"array": array}, {}), id(array)
        _digests[key] = weakref.ref(array, lambda _: _digests.pop(key, None)), digest
    if _part(digest).rpartition("/")[2] not in there:
        folder.write(_part(digest), tensors.to_chunks({"array": array}))
    return digest


def _read_part(folder: Folder, digest: str, wanted_by: str) -> np.ndarray:
    """Read and verify a part. Raises ``DataError`` when it is missing or damaged."""
    try:
        arrays, metadata = folder.tensors(_part(digest))
        if metadata or _digest(arrays, {}) != digest:
            raise DataError(f"{folder.place(_part(digest))}: its checksum does not fit")
    except DataError as error:
        raise DataError(f"{error}; it is a part of the checkpoint {wanted_by}: remove that to go on "
                        "from the one before, or start over with --restart") from None
    return arrays["array"]


def _remove_parts(folder: Folder, names: list[str]) -> None:
    """Of the files there, remove the parts that no checkpoint refers to; none while a checkpoint
    cannot be read."""
    with contextlib.suppress(FileNotFoundError, DataError, ValueError):
        found = {match[1] for match in map(_PART.match, names) if match}
        if found:
            for iteration in _iterations(names):
                metadata = folder.metadata(_name(iteration))
                found -= set(json.loads(metadata.get("parts", "{}")).values())
        folder.remove(*map(_part, sorted(found)))


def _digest(arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
