"""What a folder can do, wherever it is."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mr_gradient import storage

#: Where the locks of folders in stores are, in the folder.
LEASES = "drivers"

#: Read-only arrays by name, and the file's metadata.
Tensors = tuple[dict[str, np.ndarray], dict[str, str]]


class Folder:
    """Files by their names in the folder, such as ``checkpoints/00000001.safetensors``.

    Each is whole or absent at any moment (law 5), whatever happens to whoever writes it. Methods that
    read raise ``DataError``, those that write ``UsageError``; both name the file. ``given``: what the
    user calls the folder; ``where``: its absolute path, or its URI without a slash at the end.
    """

    given, where = "", ""
    is_local = False

    def place(self, name: str) -> str:
        """A file as people know it."""
        raise NotImplementedError

    def check(self) -> None:
        """Raises ``UsageError`` if this is not the place for a training's folder."""
        raise NotImplementedError

    def names(self, below: str = "") -> list[str]:
        """Of files and folders right in the folder, or in one of its folders; none if not there."""
        raise NotImplementedError

    def read(self, name: str) -> bytes:
        """A small file. Raises ``FileNotFoundError`` if there is none."""
        raise NotImplementedError

    def exists(self, name: str) -> bool:
        """Whether there is such a small file."""
        try:
            self.read(name)
        except FileNotFoundError:
            return False
        return True

    def read_json(self, name: str, what: str) -> dict:
        """A JSON object; ``what`` names it in the error."""
        raise NotImplementedError

    def tensors(self, name: str, sha256: str = "") -> Tensors | None:
        """What a file holds; None if it has another checksum than one given."""
        raise NotImplementedError

    def metadata(self, name: str) -> dict[str, str]:
        """That of ``tensors``, without reading all of the file."""
        raise NotImplementedError

    def make(self, below: str = "") -> None:
        """Make the folder, or one in it, and those above."""
        raise NotImplementedError

    def write(self, name: str, chunks: Iterable[bytes | memoryview]) -> None:
        """A new file, or a new content for one. Its folder must have been made."""
        raise NotImplementedError

    def write_json(self, name: str, value: object) -> None:
        self.write(name, [storage.json_bytes(value)])

    def remove(self, *names: str) -> None:
        """Remove files, in this order; no error for those that are not there."""
        raise NotImplementedError

    def remove_leftovers(self, below: str = "") -> None:
        """Remove what killed writers left in the folder, or in one of its folders."""
        raise NotImplementedError

    def lock(self) -> None:
        """Of a folder in a store: keep others from training there until ``close``. Raises
        ``UsageError`` if another process does."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what the folder holds, its lock included."""
