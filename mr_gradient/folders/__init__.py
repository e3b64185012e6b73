"""Where a training or a model lies: a folder here, or one in a store, with the same few operations.

Whoever keeps something there knows names of files in the folder, and no path, no URI and no client.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mr_gradient.dataset.uris import is_uri, without_file_scheme
from mr_gradient.folders.base import LEASES, Folder
from mr_gradient.folders.local import LocalFolder

__all__ = ["LEASES", "Folder", "open_folder", "opened"]


def open_folder(place: str) -> Folder:
    """A folder by its path or URI, which need not be there; close it at the end."""
    place = without_file_scheme(place)
    if not is_uri(place):
        return LocalFolder(place)
    from mr_gradient.folders.at_uri import UriFolder

    return UriFolder(place)


@contextlib.contextmanager
def opened(place: str | Folder) -> Iterator[Folder]:
    """A folder for the time of the block, or one that is open already, which stays so."""
    if isinstance(place, Folder):
        yield place
    else:
        with contextlib.closing(open_folder(place)) as folder:
            yield folder
