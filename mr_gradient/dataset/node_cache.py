"""Shards from URIs, kept on the node: fetched once, shared by all tasks of the user.

As HaLoop's cache of loop-invariant data (Bu et al. 2010): shards do not change between iterations, so
a later task on the same node reads them locally. The folder is the one exception to "no side files" of
law 3, and a safe one: a file's name is the SHA-256 of its content, so nothing stale can be read.

    SHA256             a whole shard; whoever has it open or mapped holds a shared lock on it
    SHA256.part        what the holder of its exclusive lock is fetching, renamed when whole

The locks belong to open files (flock) and go with the processes, however they end, so a kill leaves
at most a part that nobody holds: the next task writes over it, or removes it. No file that is in use
is evicted; and if somebody removes it by hand, POSIX keeps its content until the last mapping ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import tempfile
import time
from dataclasses import dataclass
from typing import BinaryIO

from mr_gradient import storage
from mr_gradient.dataset import cache_folder
from mr_gradient.errors import UsageError

#: Variables of the environment: the bound of the cache, and how long a file stays that nobody opens.
GIGABYTES, DAYS = "MR_GRADIENT_CACHE_GB", "MR_GRADIENT_CACHE_DAYS"
USUAL_DAYS = 30.0
#: Whoever waits for another's fetch fetches for itself once the file has not grown for so long.
STALLED_SECONDS = 60.0
_POLL_SECONDS = 0.02
_OURS = re.compile(r"[0-9a-f]{64}(\.[^.]+)?(\.part)?")


@dataclass
class Counts:
    """Of this process: shards that were here (or mapped), shards fetched, their bytes, and seconds of
    fetching, waiting and checking."""

    hits: int = 0
    misses: int = 0
    bytes: int = 0
    seconds: float = 0.0

    def since(self, before: Counts) -> dict[str, float]:
        """The difference, for the summary of a split."""
        return {name: value - getattr(before, name) for name, value in vars(self).items()}


counts = Counts()
#: Cached files whose content this process has compared with their name, by device, inode, size, time.
_checked: set[tuple] = set()


def open_shard_file(uri: str, sha256: str, keep: bool = True) -> BinaryIO:
    """The shard at a URI as a local file, whole and checked, open for reading.

    With ``keep`` it comes from the node's cache, or goes there, and stays there as long as it, or a
    mapping of it with a descriptor, is open. Otherwise it is a temporary file without a name, which
    goes when it is closed, or with the process. Raises ``DataError``, and ``UsageError`` where there
    can be no cache.
    """
    started = time.perf_counter()
    try:
        return NodeCache.usual().open(uri, sha256) if keep else _open_unnamed(uri, sha256)
    finally:
        counts.seconds += time.perf_counter() - started


def _open_unnamed(uri: str, sha256: str) -> BinaryIO:
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(tempfile.TemporaryFile())
        _fetch(uri, sha256, file)
        file.seek(0)
        stack.pop_all()
        return file


def _fetch(uri: str, sha256: str, file: BinaryIO) -> None:
    from mr_gradient.dataset import fetching  # tasks whose shards are here need none of it

    counts.bytes += fetching.copy_checked(uri, sha256, file)
    counts.misses += 1


@dataclass(frozen=True)
class NodeCache:
    """The folder ``root``, of at most ``most_bytes``, files in use or in the making aside; None: half
    of what it fills and is free there. ``most_days``: how long a file stays that nobody opens."""

    root: str
    most_bytes: int | None = None
    most_days: float = USUAL_DAYS

    @classmethod
    def usual(cls) -> NodeCache:
        """As the environment says. Raises ``UsageError`` unless it can be a private folder."""
        size, days = cache_folder.number(GIGABYTES), cache_folder.number(DAYS)
        return cls(cache_folder.find(), None if size is None else int(size * 1e9),
                   USUAL_DAYS if days is None else days)

    def open(self, uri: str, sha256: str) -> BinaryIO:
        """The cached file, fetched unless it is there, with a shared lock."""
        path = os.path.join(self.root, sha256)
        try:
            while True:
                if file := _find(path, sha256):
                    counts.hits += 1
                    return file
                if (part := _lock_part(path)) and (file := self._fill(part, path, uri, sha256)):
                    return file
        except OSError as error:
            raise UsageError(f"node cache {self.root}: {error.strerror or error}; "
                             f"{cache_folder.WAY_OUT}") from None

    def _fill(self, part: BinaryIO, path: str, uri: str, sha256: str) -> BinaryIO | None:
        """Fetch into a part that we hold, and rename it; None: look again."""
        with part:
            try:
                if os.path.exists(path):  # while we waited
                    return None
                self.trim()
                _fetch(uri, sha256, part)
                _checked.add(_identity(part))
                os.rename(part.name, path)
            finally:
                if _is_at(part, part.name):
                    os.unlink(part.name)
            # Not in one step: the file can be evicted in between.
            fcntl.flock(part, fcntl.LOCK_SH)
            file = _find(path, sha256)
            self.trim()
            return file

    def trim(self) -> None:
        """Remove parts that nobody is at, old files, and the least recently opened beyond the bound."""
        whole, filled = [], 0
        for name in os.listdir(self.root):
            if not _OURS.fullmatch(name):
                continue
            path = os.path.join(self.root, name)
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(path)
                if name.endswith(".part") and _remove_if_free(path):
                    continue
                filled += status.st_size
                if not name.endswith(".part"):
                    whole.append((status.st_atime, status.st_size, path))
        most = self.most_bytes
        if most is None:
            room = os.statvfs(self.root)
            most = (filled + room.f_bavail * room.f_frsize) // 2
        oldest = time.time() - self.most_days * 86400
        for opened, size, path in sorted(whole):
            if (filled > most or opened < oldest) and _remove_if_free(path):
                filled -= size


def _find(path: str, sha256: str) -> BinaryIO | None:
    """The cached file, if it is there and is what its name says; a corrupt one is removed."""
    with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as stack:
        file = stack.enter_context(open(path, "rb"))
        fcntl.flock(file, fcntl.LOCK_SH)
        if not _is_at(file, path):  # evicted before it was locked
            return None
        if _identity(file) not in _checked:
            # By its descriptor: another task that finds it corrupt may remove it meanwhile.
            if storage.sha256(os.dup(file.fileno())) != sha256:
                os.unlink(path)
                return None
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            _checked.add(_identity(file))
        # When it was last opened: many file systems do not keep that themselves.
        os.utime(file.fileno(), ns=(time.time_ns(), os.fstat(file.fileno()).st_mtime_ns))
        stack.pop_all()
        return file
    return None


def _lock_part(path: str) -> BinaryIO | None:
    """The part of a file, as the only one to hold it; None once the file itself is there.

    While another task holds it this one waits, as long as the part grows.
    """
    grown, size = time.monotonic(), -1
    while time.monotonic() - grown < STALLED_SECONDS:
        with contextlib.ExitStack() as stack:
            part = stack.enter_context(open(f"{path}.part", "r+b", opener=_create))
            try:
                fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(part, part.name):  # neither renamed nor removed before it was locked
                    stack.pop_all()
                    return part
            except BlockingIOError:
                found = os.fstat(part.fileno()).st_size
                if found != size:
                    grown, size = time.monotonic(), found
        time.sleep(_POLL_SECONDS)
        if os.path.exists(path):
            return None
    own = open(f"{path}.{secrets.token_hex(8)}.part", "r+b", opener=_create)  # noqa: SIM115  returned
    fcntl.flock(own, fcntl.LOCK_EX)
    return own


def _create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def _remove_if_free(path: str) -> bool:
    """Remove a file unless it is locked; whether it is gone."""
    try:
        with open(path, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, path):
                os.unlink(path)
        return True
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False


def _identity(file: BinaryIO) -> tuple:
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _is_at(file: BinaryIO, path: str) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.lstat(path))
    except FileNotFoundError:
        return False
