"""A data set made here: in its folder, or in a temporary one and copied to a URI as a whole."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

from mr_gradient.dataset.formats.remote import filesystem
from mr_gradient.dataset.making import check_contents, folder_at, told
from mr_gradient.dataset.schema import FILE
from mr_gradient.dataset.stores import BLOCK, Store, store_at
from mr_gradient.dataset.uris import is_uri, split, without_file_scheme
from mr_gradient.dataset.writer import new_folder
from mr_gradient.errors import UsageError
from mr_gradient.ownership import owned_folder

_PREFIX = "mr_gradient-data-"


@contextlib.contextmanager
def output_folder(out: str, overwrite: bool) -> Iterator[str]:
    """A folder that becomes the data set ``out``, a folder or a URI, when the block ends well.

    Raises ``UsageError`` when ``out`` holds anything but a data set, or one and ``overwrite`` is not
    given.
    """
    out = without_file_scheme(out)
    if not is_uri(out):
        with new_folder(out, overwrite) as folder:
            yield folder
        return
    out = out.rstrip("/")
    # In a store of objects nothing can be renamed: only what is replaced is kept until all has come.
    if split(out)[0] == "hdfs" or overwrite:
        with folder_at(out, overwrite, ("shards",)) as place, _folder_here() as folder:
            yield folder
            _copy(folder, store_at(place))
        return
    with told(out):
        _Target(out).check()
    with _folder_here() as folder:
        yield folder
        with told(out):
            _Target(out).fill(folder)


@contextlib.contextmanager
def _folder_here() -> Iterator[str]:
    with owned_folder(_PREFIX, tempfile.gettempdir()) as temporary, \
            new_folder(os.path.join(temporary, "data"), False) as folder:
        yield folder


def _copy(folder: str, store: Store) -> None:
    for name in _names(folder):
        path = os.path.join(folder, name)

        def chunks(path: str = path) -> Iterator[bytes]:
            with open(path, "rb") as file:
                while chunk := file.read(BLOCK):
                    yield chunk

        store.write(name, os.path.getsize(path), chunks)


def _names(folder: str) -> list[str]:
    """Its files, by their paths there, the description last."""
    names = (os.path.relpath(os.path.join(above, name), folder)
             for above, _, files in os.walk(folder) for name in files)
    return sorted((name for name in names if not name.startswith(".")),
                  key=lambda name: (name == FILE, name))


class _Target:
    """The place of a data set in an object store. Its methods raise what the store does."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._system, self._inside = filesystem(uri)
        self._inside = self._inside.rstrip("/")

    def check(self) -> None:
        """Raises ``UsageError`` if there are files."""
        check_contents(self._uri, self._files(), overwrite=False)

    def fill(self, folder: str) -> None:
        """Copy a data set there. Without its description it counts as unfinished."""
        self.check()
        try:
            for name in _names(folder):
                self._system.put_file(os.path.join(folder, name), f"{self._inside}/{name}")
        except BaseException:
            with contextlib.suppress(Exception):
                self._remove(self._files())
            raise

    def _files(self) -> list[str]:
        """Their paths below the place; nothing for one that is not there."""
        self._system.invalidate_cache()
        try:
            status = self._system.info(self._inside)
        except FileNotFoundError:
            return []
        if status["type"] == "file":
            raise UsageError(f"--out {self._uri}: must be a folder, found a file")
        # An object whose name ends in / stands for a folder.
        return sorted(path[len(self._inside) + 1:] for path in self._system.find(self._inside)
                      if not path.endswith("/") and path != self._inside)

    def _remove(self, names: list[str]) -> None:
        for name in sorted(names, key=lambda name: name != FILE):
            self._system.rm_file(f"{self._inside}/{name}")
