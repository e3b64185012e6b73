"""A folder of this machine, or one that is mounted here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from mr_gradient import storage, tensors
from mr_gradient.errors import DataError, UsageError
from mr_gradient.folders.base import Folder, Tensors


class LocalFolder(Folder):
    """See ``Folder``. Files are written under a temporary name, synced and renamed."""

    is_local = True

    def __init__(self, path: str) -> None:
        self.given, self.where = path, os.path.abspath(path)

    def place(self, name: str) -> str:
        return os.path.join(self.given, name)

    def check(self) -> None:
        above = os.path.realpath(self.given)
        while not os.path.lexists(above):
            above = os.path.dirname(above)
        if not os.path.isdir(above):
            raise UsageError(f"--out {self.given}: must be a folder, but {above} is a file")
        if not os.access(above, os.W_OK | os.X_OK):
            raise UsageError(f"--out {self.given}: {above} is not writable; choose another folder")

    def names(self, below: str = "") -> list[str]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return os.listdir(self.place(below))
        return []

    def read(self, name: str) -> bytes:
        try:
            with open(self.place(name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise DataError(f"{self.place(name)}: cannot be read: {error.strerror or error}") from None

    def exists(self, name: str) -> bool:
        return os.path.exists(self.place(name))

    def read_json(self, name: str, what: str) -> dict:
        return storage.read_json(self.place(name), what)

    def tensors(self, name: str, sha256: str = "") -> Tensors | None:
        if sha256 and storage.sha256(self.place(name)) != sha256:
            return None
        return tensors.read(self.place(name))

    def metadata(self, name: str) -> dict[str, str]:
        return tensors.read(self.place(name))[1]

    def make(self, below: str = "") -> None:
        storage.make_folder(self.place(below))

    def write(self, name: str, chunks: Iterable[bytes | memoryview]) -> None:
        storage.write_atomically(self.place(name), chunks)

    def remove(self, *names: str) -> None:
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.place(name))

    def remove_leftovers(self, below: str = "") -> None:
        storage.remove_leftovers(self.place(below))
