"""A data set at a URI: made here, in a temporary folder, copied there with ``dataset.json`` last."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator

from mr_gradient.dataset.fetching import fsspec_session
from mr_gradient.dataset.formats.remote import file_errors, filesystem
from mr_gradient.dataset.schema import FILE
from mr_gradient.dataset.uris import is_uri, without_file_scheme
from mr_gradient.dataset.writer import REJECTS, new_folder
from mr_gradient.errors import UsageError
from mr_gradient.ownership import owned_folder

_SHARD = re.compile(r"shards/\d+\.safetensors")
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
    with told(out):
        _Target(out).check(overwrite)
    with owned_folder(_PREFIX, tempfile.gettempdir()) as temporary:
        with new_folder(os.path.join(temporary, "data"), False) as folder:
            yield folder
        with told(out):
            _Target(out).replace(os.path.join(temporary, "data"), overwrite)


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


class _Target:
    """The place of a data set in a store. Its methods raise what the store does."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._system, self._inside = filesystem(uri)
        self._inside = self._inside.rstrip("/")

    def check(self, overwrite: bool) -> list[str]:
        """The files that are there. Raises ``UsageError`` unless they may be replaced."""
        found = self._files()
        check_contents(self._uri, found, overwrite)
        return found

    def replace(self, folder: str, overwrite: bool) -> None:
        """Copy a data set there, over what was. Without its description it counts as unfinished."""
        before = self.check(overwrite)
        names = sorted(os.path.relpath(os.path.join(above, name), folder)
                       for above, _, files in os.walk(folder) for name in files)
        try:
            self._remove([FILE] if FILE in before else [])
            for name in sorted(names, key=lambda name: name == FILE):
                self._system.put_file(os.path.join(folder, name), f"{self._inside}/{name}")
        except BaseException:
            with contextlib.suppress(Exception):
                self._remove(self._files())
                if self._uri.startswith("hdfs://"):  # others have no folders
                    self._system.rm_file(f"{self._inside}/shards")
                    self._system.rm_file(self._inside)
            raise
        self._remove([name for name in before if name not in names])

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
