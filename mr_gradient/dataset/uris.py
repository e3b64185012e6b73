"""What is a URI and what a path."""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit


def is_uri(path: str) -> bool:
    return "://" in path


def without_file_scheme(given: str) -> str:
    """``file:///data/x`` as a path; anything else as it is."""
    return unquote(urlsplit(given).path) if given.startswith("file://") else given


def local_path(given: str) -> str:
    """A path that is right wherever a task runs; a URI as it is."""
    return given if is_uri(given) else os.path.abspath(given)


def split(uri: str) -> tuple[str, str, str]:
    """Scheme, authority and absolute path of ``SCHEME://AUTHORITY/PATH``, as it is written.

    Not by ``urlsplit``: names of files may hold ``?``, ``#`` and brackets.
    """
    scheme, _, rest = uri.partition("://")
    authority, _, path = rest.partition("/")
    return scheme.lower(), authority, f"/{path}"
