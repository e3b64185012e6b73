"""Where the node's cache of shards is: a folder that nobody but its user can read or change."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile

from mr_gradient.errors import UsageError

#: Variable of the environment that names the folder.
ROOT = "MR_GRADIENT_CACHE"
WAY_OUT = f"set {ROOT} to another folder, or add --no-node-cache"


def find() -> str:
    """The folder, which is made if it is not there. Raises ``UsageError`` if it is not private."""
    root = _usual()
    _make_private(root)
    return root


def _usual() -> str:
    """In a container of YARN the temporary folder goes with it; the user's local one stays."""
    if given := os.environ.get(ROOT):
        if not os.path.isabs(given):
            raise UsageError(f"{ROOT}: must be an absolute path, found {given!r}")
        return given
    for_user = os.environ.get("LOCAL_USER_DIRS", "").split(",")[0]
    if os.path.isabs(for_user) and os.access(for_user, os.W_OK | os.X_OK):
        return os.path.join(for_user, "mr_gradient-cache")
    if os.path.isabs(home := os.environ.get("XDG_CACHE_HOME", "")):
        return os.path.join(home, "mr_gradient", "shards")
    return os.path.join(tempfile.gettempdir(), f"mr_gradient-cache-{os.geteuid()}")


def _make_private(root: str) -> None:
    """Make the folder, or look at who else could read or change it."""
    try:
        os.makedirs(os.path.dirname(root), exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(root, 0o700)
        status = os.lstat(root)
    except OSError as error:
        raise UsageError(f"node cache {root}: cannot be made: {error.strerror or error}; "
                         f"{WAY_OUT}") from None
    if stat.S_ISLNK(status.st_mode):
        found = "a link"
    elif not stat.S_ISDIR(status.st_mode):
        found = "a file"
    elif status.st_uid != os.geteuid():
        found = f"one of user {status.st_uid}"
    elif status.st_mode & 0o077:
        found = f"mode {status.st_mode & 0o777:04o}"
    else:
        return
    raise UsageError(f"node cache {root}: must be a folder of this user alone (mode 0700), found "
                     f"{found}; {WAY_OUT}")


def number(name: str) -> float | None:
    """Of a variable of the environment; None if it is not set."""
    text = os.environ.get(name)
    if not text:
        return None
    try:
        value = float(text)
        if 0 <= value < float("inf"):
            return value
    except ValueError:
        pass
    raise UsageError(f"{name}: must be a number from 0, found {text!r}")
