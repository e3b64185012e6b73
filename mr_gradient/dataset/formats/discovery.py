"""Which files an input is: folders, globs, outputs of jobs, URIs; and of which format they are."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mr_gradient.dataset.formats.opening import (
    compression,
    file_bytes,
    read_head,
    uncompressed_name,
)
from mr_gradient.dataset.formats.remote import file_errors, filesystem
from mr_gradient.dataset.uris import is_uri, without_file_scheme
from mr_gradient.errors import DataError, UsageError

if TYPE_CHECKING:
    from mr_gradient.dataset.formats.base import Format

#: An empty file, compressed, is shorter.
_NEARLY_EMPTY = 100
_GZIP, _BZIP2 = b"\x1f\x8b\x08", b"BZh"


def find_inputs(inputs: Sequence[str]) -> list[str]:
    """All files that the inputs stand for, sorted, whatever the order in which they are given.

    An input is a file, a folder (all files below it), a glob (``**`` is any depth) or a URI of
    these. As in Hadoop, names that begin with ``_`` or ``.`` are passed over unless they are given
    themselves, and so are the empty ``part-*`` files of reducers that had no record.

    Raises ``DataError`` for a folder or glob without files, and for a file that is there twice, by
    two ways to it, or once compressed and once not.
    """
    if not inputs:
        raise UsageError("no input was given; name files, folders or globs")
    origin: dict[str, tuple[str, str]] = {}
    plain: dict[str, str] = {}
    for given in inputs:
        for path in _files_of(without_file_scheme(os.fspath(given))):
            real = path if is_uri(path) else os.path.realpath(path)
            if real in origin:
                other, by = origin[real]
                raise DataError(f"{path}: is there twice, by {by!r} and by {given!r}"
                                f"{'' if other == path else f', the first time as {other}'}; give "
                                "each file once")
            origin[real] = (path, str(given))
            other = plain.setdefault(uncompressed_name(real), path)
            if other != path:
                raise DataError(f"{max(path, other)}: seems to be {min(path, other)} compressed; give "
                                "each file once")
    return sorted(path for path, _ in origin.values())


def choose_format(paths: Sequence[str], name: str | None = None) -> Format:
    """The format called ``name`` (that of ``--format``), or the one that all files have.

    The ending of a file's name decides, without ``.gz`` or ``.bz2``; if it is no format's, the
    first 64 KiB of its content do.
    """
    from mr_gradient.dataset import formats

    if name is not None:
        return formats.get(name)
    first = _format_of(paths[0])
    for path in paths[1:]:
        other = _format_of(path)
        if other != first:
            raise DataError(f"{path}: is {other}, while {paths[0]} is {first}; give files of one "
                            "format, or say which it is with --format")
    return formats.get(first)


def _format_of(path: str) -> str:
    from mr_gradient.dataset import formats

    ending = uncompressed_name(path).lower()
    for name in formats.NAMES:
        if ending.endswith(tuple(formats.get(name).endings)):
            return name
    head = read_head(path)
    if not head:
        raise DataError(f"{path}: is empty; leave it out")
    for name in formats.NAMES:
        if formats.get(name).looks_like(head):
            return name
    if compression(path) is None and head.startswith((_GZIP, _BZIP2)):
        raise DataError(f"{path}: is compressed, but its name does not end in .gz or .bz2; rename it")
    raise DataError(f"{path}: is of no known format; say which it is with --format, one of: "
                    f"{', '.join(formats.NAMES)}")


def _hidden(name: str) -> bool:
    return name.startswith(("_", "."))


def _files_of(given: str) -> list[str]:
    """The files of one input. Raises ``DataError`` if there are none."""
    if is_uri(given):
        return _remote(given)
    if os.path.isdir(given):
        found = _of_folder(given)
    elif not os.path.lexists(given) and glob.has_magic(given):
        found = _of_glob(given)
    else:
        _check_file(given)
        return [given]
    return _with_records(given, found)


def _with_records(given: str, found: list[str]) -> list[str]:
    filled = [path for path in found if not _is_empty_part(path)]
    if not filled:
        what = "matches no file" if glob.has_magic(given) else "is a folder without files"
        if found:
            what = "has only empty part files"
        raise DataError(f"{given}: {what} (names that begin with _ or . are passed over)")
    return filled


def _is_empty_part(path: str) -> bool:
    if not os.path.basename(path).startswith("part-"):
        return False
    length = file_bytes(path)
    return not length or (compression(path) is not None and length < _NEARLY_EMPTY
                          and not read_head(path, 1))


def _of_folder(folder: str) -> list[str]:
    return list(_walk(folder, ()))


def _walk(folder: str, above: tuple[str, ...]) -> Iterator[str]:
    """All files below a folder; links are followed."""
    real = os.path.realpath(folder)
    if real in above:
        raise DataError(f"{folder}: is a link to a folder that it lies in; remove the link")
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror or error}") from None
    for name in names:
        path = os.path.join(folder, name)
        if _hidden(name):
            continue
        if os.path.isdir(path):
            yield from _walk(path, (*above, real))
        else:
            _check_file(path)
            yield path


def _of_glob(pattern: str) -> list[str]:
    """Matches of a pattern; a folder that matches stands for the files below it."""
    fixed = pattern[:next(i for i, letter in enumerate(pattern) if letter in "*?[")]
    folder = os.path.join(os.path.dirname(fixed), "") if os.path.dirname(fixed) else ""
    found: set[str] = set()
    for path in glob.glob(pattern, recursive=True):
        if any(map(_hidden, path[len(folder):].split(os.sep))):
            continue
        # "**" matches its own folder too, with a separator at the end.
        path = path.rstrip(os.sep) or path
        if os.path.isdir(path):
            found.update(_of_folder(path))
        else:
            _check_file(path)
            found.add(path)
    return sorted(found)


def _check_file(path: str) -> None:
    """Raise ``DataError`` unless a path is a file: reading from a pipe would wait for ever."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        what = "a link to nothing" if os.path.islink(path) else (
            "no such file" if isinstance(error, FileNotFoundError) else error.strerror)
        raise DataError(f"{path}: {what}") from None
    if not stat.S_ISREG(mode):
        raise DataError(f"{path}: must be a file or a folder, found a device or a pipe")


def _remote(uri: str) -> list[str]:
    """The files of a URI, as URIs, through fsspec."""
    system, inside = filesystem(uri)
    try:
        with file_errors():
            system.invalidate_cache()  # files may have come since this process last looked
            try:
                found, base = {inside: system.info(inside)}, inside
            except FileNotFoundError:
                if not glob.has_magic(inside):
                    raise
                found = system.glob(inside, detail=True)
                base = os.path.dirname(inside[:next(i for i, c in enumerate(inside) if c in "*?[")])
            if found.get(inside, {}).get("type") == "file":
                return [str(system.unstrip_protocol(inside))]
            files = {file for path, info in found.items()
                     for file in (system.find(path) if info["type"] == "directory" else [path])}
    except FileNotFoundError as error:
        # A store may know more: that there is no such bucket.
        said = str(error).rstrip("/")
        why = "" if said in ("", "Not Found", inside.rstrip("/")) else f" ({said})"
        raise DataError(f"{uri}: no such file or folder{why}") from None
    except OSError as error:
        raise DataError(f"{uri}: cannot be read: {error.strerror or error}") from None
    # An object whose name ends in / stands for a folder.
    shown = [str(system.unstrip_protocol(file)) for file in sorted(files) if not file.endswith("/")
             and not any(map(_hidden, file[len(base):].strip("/").split("/")))]
    return _with_records(uri, shown)
