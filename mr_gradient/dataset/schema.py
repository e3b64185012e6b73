"""``dataset.json``: what the columns mean and which shards there are.

A data set is a folder with this file and ``shards/NNNNN.safetensors``. The file is written last,
so a folder without it is not a data set.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from dataclasses import fields as dataclass_fields

from mr_gradient import storage
from mr_gradient.dataset import names
from mr_gradient.dataset.uris import is_uri, without_file_scheme
from mr_gradient.errors import DataError

FORMAT, VERSION = "mr_gradient data set", 1
FILE = "dataset.json"
_DESCRIPTION = "the description of a data set"
LAYOUTS = ("dense", "csr")


@dataclass(frozen=True)
class ShardInfo:
    """One shard: its path in the data set's folder, rows, size and checksum."""

    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Schema:
    """Columns of the examples.

    ``kind``: ``class`` (labels are indices into ``classes``) or ``value`` (labels are numbers).
    ``scale``: stored features times this are the features that a model sees. ``layout``: of the
    shards, ``dense`` or ``csr``. ``nonzeros``: numbers that a mean row stores, rounded up, where the
    layout is ``csr``: chunks are cut by it.
    """

    features: names.Names
    target: str
    kind: str
    classes: tuple[str, ...]
    dtype: str
    scale: float
    layout: str = "dense"
    nonzeros: int = 0

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self.features)

    def to_json(self) -> dict:
        """The inverse of ``schema_from_json``."""
        fields = {field.name: getattr(self, field.name) for field in dataclass_fields(self)}
        return {**fields, "features": names.to_json(self.features)}


@dataclass(frozen=True)
class Dataset:
    """A prepared data set that was opened: ``folder`` is absolute, or a URI."""

    folder: str
    schema: Schema
    train: tuple[ShardInfo, ...]
    held_out: tuple[ShardInfo, ...]
    options: dict = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Identifies content and order of the shards, wherever the folder lies."""
        content = [self.schema.to_json(), [[s.rows, s.sha256] for s in self.train],
                   [[s.rows, s.sha256] for s in self.held_out]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def rows(self, part: str) -> int:
        return sum(shard.rows for shard in getattr(self, part))

    def save(self) -> None:
        storage.write_json(os.path.join(self.folder, FILE), self.to_json())

    def to_json(self) -> dict:
        """The content of the file."""
        return {"format": FORMAT, "version": VERSION, "schema": self.schema.to_json(),
                "options": self.options,
                "train": [asdict(shard) for shard in self.train],
                "held_out": [asdict(shard) for shard in self.held_out]}


def is_dataset(folder: str) -> bool:
    """Whether the description of a data set is in a folder, or below a URI."""
    if not is_uri(folder := without_file_scheme(folder)):
        return os.path.isfile(os.path.join(folder, FILE))
    return _read_at_uri(folder.rstrip("/")) is not None


def _read_at_uri(folder: str) -> dict | None:
    """The description of the data set below a URI, or None if there is none."""
    from mr_gradient.dataset import fetching  # tasks need none of it

    path = f"{folder}/{FILE}"
    try:
        return storage.parse_json(fetching.read_bytes(path), path, _DESCRIPTION)
    except FileNotFoundError:
        return None


def schema_from_json(value: dict) -> Schema:
    layout, nonzeros = value.get("layout", "dense"), value.get("nonzeros", 0)
    if layout not in LAYOUTS or type(nonzeros) is not int or nonzeros < 0:
        raise ValueError(f"layout {layout!r} with {nonzeros!r} numbers a row")
    return Schema(features=names.from_json(value["features"]), target=value["target"],
                  kind=value["kind"], classes=tuple(value["classes"]), dtype=value["dtype"],
                  scale=float(value["scale"]), layout=layout, nonzeros=nonzeros)


def _shards_from_json(folder: str, rows: list[dict]) -> tuple[ShardInfo, ...]:
    shards = tuple(ShardInfo(**row) for row in rows)
    for shard in shards:
        inside = os.path.normpath(shard.path)
        if os.path.isabs(inside) or inside.startswith(".."):
            raise DataError(f"{folder}: shard path {shard.path!r} leaves the data set's folder")
        if min(shard.rows, shard.bytes) < 0:
            raise DataError(f"{folder}: shard {shard.path!r} claims {shard.rows} rows")
    return shards


def open_dataset(folder: str) -> Dataset:
    """Read ``dataset.json`` in a folder or below a URI; shards are opened by the tasks.

    Raises ``DataError`` when there is no data set of this version.
    """
    folder = without_file_scheme(folder)
    if is_uri(folder):
        folder = folder.rstrip("/")
        value = _read_at_uri(folder)
        if value is None:
            raise DataError(f"{folder}: no data set there; make one with 'mr-gradient prepare INPUT "
                            f"--out {folder}'")
    else:
        folder = os.path.abspath(folder)
        if not os.path.isdir(folder):
            raise DataError(f"{folder}: no such folder; make a data set there with "
                            f"'mr-gradient prepare INPUT --out {folder}'")
        value = storage.read_json(os.path.join(folder, FILE), _DESCRIPTION)
    if value.get("format") != FORMAT or value.get("version") != VERSION:
        raise DataError(f"{folder}/{FILE}: must be '{FORMAT}' version {VERSION}, found "
                        f"{value.get('format')!r} version {value.get('version')!r}; prepare again")
    try:
        if not value["train"]:
            raise ValueError("it names no training shard")
        return Dataset(folder, schema_from_json(value["schema"]),
                       _shards_from_json(folder, value["train"]),
                       _shards_from_json(folder, value["held_out"]), value.get("options", {}))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder}/{FILE}: damaged: {error!r}; prepare again") from None
