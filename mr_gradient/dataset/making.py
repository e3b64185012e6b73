"""A data set in the making at a URI: a folder beside its place, which gets its name at last."""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Iterator

from mr_gradient.dataset.fetching import fsspec_session
from mr_gradient.dataset.formats.remote import file_errors
from mr_gradient.dataset.hdfs import Hdfs
from mr_gradient.dataset.remote_stores import ObjectStore
from mr_gradient.dataset.schema import FILE
from mr_gradient.dataset.uris import split
from mr_gradient.dataset.writer import REJECTS
from mr_gradient.errors import DataError, UsageError

#: Where tasks write to in the folder.
FOLDERS = ("segments", "attempts", "shards")
_SHARD = re.compile(r"shards/\d+\.safetensors")


@contextlib.contextmanager
def told(out: str) -> Iterator[None]:
    """``OSError`` as one line, and no thread that is left behind."""
    try:
        with fsspec_session(), file_errors():
            yield
    except OSError as error:
        raise UsageError(f"--out {out}: cannot be written: {error.strerror or error}") from None


def check_contents(out: str, found: list[str], overwrite: bool) -> None:
    """Raise ``UsageError`` unless the files that are there are none, or may be replaced."""
    strange = [name for name in found if name not in (FILE, REJECTS) and not _SHARD.fullmatch(name)]
    if strange:
        raise UsageError(f"--out {out}: must be empty or absent, but it holds something else "
                         f"({min(strange)!r}); choose another place")
    if found and not overwrite:
        what = "a data set" if FILE in found else "part of a data set"
        raise UsageError(f"--out {out}: already holds {what}; choose another place or "
                         "replace it with --overwrite")


@contextlib.contextmanager
def folder_at(out: str, overwrite: bool, folders: tuple[str, ...] = FOLDERS) -> Iterator[str]:
    """URI of a folder that becomes the data set ``out`` when the block ends well, else goes.

    ``folders``: which are in it from the start, since writers make none. What drivers that were killed
    have left of theirs goes, too. Raises ``UsageError`` when ``out`` holds anything but a data set, or
    one and ``overwrite`` is not given.
    """
    out = out.rstrip("/")
    place = _HdfsPlace(out) if split(out)[0] == "hdfs" else _ObjectPlace(out)
    try:
        with told(out):
            place.begin(overwrite, folders)
        yield place.folder
        with told(out):
            place.publish(overwrite)
    finally:
        # After an error there is one to tell of already.
        with contextlib.suppress(OSError, DataError), fsspec_session():
            place.clean()


class _Place:
    """``out`` and the folder in the making, whose names begin alike for all drivers."""

    def __init__(self, out: str) -> None:
        self.out = out
        above, _, name = out.rpartition("/")
        if not name or not above or above.endswith(":/"):
            raise UsageError(f"--out {out}: must be a folder below another")
        self.above, self.name = above, name
        self.prefix = f".{name}.partial-"
        self.folder = f"{above}/{self.prefix}{uuid.uuid4().hex[:12]}"


class _HdfsPlace(_Place):
    """Renamed as a whole: a reader sees the old data set, or the new one, or for a moment none."""

    def __init__(self, out: str) -> None:
        super().__init__(out)
        _, authority, self._inside = split(out)
        self._above = split(self.above)[2].rstrip("/")
        self._old = f"{self._above}/.{self.name}.replaced"
        self._made = split(self.folder)[2]
        self._hdfs = Hdfs(authority)
        #: Folders above that were not there, the deepest first.
        self._new: list[str] = []

    def begin(self, overwrite: bool, folders: tuple[str, ...]) -> None:
        if self._hdfs.exists(self._old):  # a kill came between the two renames
            if self._hdfs.exists(self._inside):
                self._hdfs.remove(self._old)
            else:
                self._hdfs.rename(self._old, self._inside)
        self._check(overwrite)
        with contextlib.suppress(FileNotFoundError):
            for each in self._hdfs.children(self._above or "/"):
                if each["pathSuffix"].startswith(self.prefix):
                    self._hdfs.remove(f"{self._above}/{each['pathSuffix']}")
        above = self._above
        while above and not self._hdfs.exists(above):
            self._new.append(above)
            above = above.rpartition("/")[0]
        for name in folders:
            self._hdfs.make_folder(f"{self._made}/{name}")

    def _check(self, overwrite: bool) -> None:
        try:
            if self._hdfs.status(self._inside)["type"] == "FILE":
                raise UsageError(f"--out {self.out}: must be a folder, found a file")
        except FileNotFoundError:
            return
        check_contents(self.out, sorted(self._hdfs.files(self._inside)), overwrite)

    def publish(self, overwrite: bool) -> None:
        self._check(overwrite)
        there = self._hdfs.exists(self._inside)
        if there:
            self._hdfs.rename(self._inside, self._old)
        try:
            self._hdfs.rename(self._made, self._inside)
        except OSError:
            if there:
                self._hdfs.rename(self._old, self._inside)
            raise
        if there:
            self._hdfs.remove(self._old)

    def clean(self) -> None:
        self._hdfs.remove(self._made)
        for folder in self._new:  # an error ends this: one that is not empty is in use
            self._hdfs.remove_empty(folder)


class _ObjectPlace(_Place):
    """Objects have no folders to rename: they are moved one by one, the description last."""

    def __init__(self, out: str) -> None:
        super().__init__(out)
        self._store = ObjectStore(self.above)

    def begin(self, overwrite: bool, folders: tuple[str, ...]) -> None:
        self._check(overwrite)
        for name in self._store.beginning_with(self.prefix):
            self._store.remove(name)

    def _check(self, overwrite: bool) -> list[str]:
        found = sorted(self._store.files(self.name))
        if found == [""]:
            raise UsageError(f"--out {self.out}: must be a folder, found a file")
        check_contents(self.out, found, overwrite)
        return found

    def publish(self, overwrite: bool) -> None:
        made = self.folder.rpartition("/")[2]
        names = sorted(self._store.files(made), key=lambda name: (name == FILE, name))
        before = self._check(overwrite)
        try:
            if FILE in before:
                self._store.remove(f"{self.name}/{FILE}")
            self._store.move({f"{made}/{name}": f"{self.name}/{name}" for name in names})
        except BaseException:
            with contextlib.suppress(DataError):
                self._store.remove(self.name)
            raise
        for name in set(before) - set(names):
            self._store.remove(f"{self.name}/{name}")

    def clean(self) -> None:
        self._store.remove(self.folder.rpartition("/")[2])
