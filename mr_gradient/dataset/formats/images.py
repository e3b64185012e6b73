"""Images, a folder a class: PNG and JPEG, decoded by Pillow to rows of bytes.

A row is height, width, channel from the slowest to the fastest, as numpy and Pillow have it. A
class is called like the folder that its images are in, so images of different folders with one name
are of one class.
"""

from __future__ import annotations

import io
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from mr_gradient import storage
from mr_gradient.dataset.columns import Piece, Rows, Source, Words
from mr_gradient.dataset.formats.base import BadRows
from mr_gradient.dataset.formats.opening import open_input
from mr_gradient.errors import DataError, MissingPackageError, UsageError

#: More names are too many to send with every piece.
LISTED = 10_000
_BATCH_BYTES = 4 * 1024 * 1024
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
#: Pillow's names of colour modes of 8 bits; in others a conversion would cut values off.
_GREY, _COLOUR = ("1", "L", "LA"), ("P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_MODES = {"grey": "L", "rgb": "RGB"}


class _BadImageError(Exception):
    """What is found, and what must be."""


class Images:
    """Options: ``image_size`` [h, w] resizes all; ``mode`` is grey or rgb; the first decides if not.

    ``labels`` False is for images without classes. The sorted names of up to 10,000 images are in
    ``Source.options["names"]``; of more, in the file that the option ``listing`` names, which
    ``inspect`` writes, a name in JSON a line, and which every task must be able to open.
    Pieces are ranges of that order; their path is what all names begin with.
    """

    name = "images"
    endings = (".png", ".jpg", ".jpeg")

    def looks_like(self, head: bytes) -> bool:
        return head.startswith(_SIGNATURES)

    def inspect(self, paths: Sequence[str], options: dict[str, Any]) -> Source:
        size, mode = _checked(options)
        paths = sorted(paths)
        labelled = options.get("labels") is not False
        classes = sorted({_class(path) for path in paths}) if labelled else []
        if labelled and len(classes) < 2:
            raise DataError(f"{paths[0]}: images must lie in a folder a class, found only the folder "
                            f"{classes[0]!r}")
        if size is None or mode is None:
            first = paths[0]
            try:
                image = _decoded(_bytes(first), None, mode)
            except _BadImageError as error:
                raise DataError(f"{first}: {error.args[1]}, found {error.args[0]}; the first image "
                                "says what size and mode all must have") from None
            mode = mode or ("grey" if image.ndim == 2 else "rgb")
            shape = image.shape[:2]
        else:
            shape = tuple(size)
        alike = next((i for i, (a, b) in enumerate(zip(paths[0], paths[-1])) if a != b),
                     len(paths[0]))
        root = paths[0][:paths[0].rfind("/", 0, alike) + 1]
        names = [path[len(root):] for path in paths]
        shape = [*(size or shape), *([3] if mode == "rgb" else [])]
        told = {"root": root, "count": len(names), "classes": classes, "mode": mode, "shape": shape,
                "resize": size is not None}
        if len(names) < LISTED:
            told["names"] = names
        elif options.get("listing"):
            told["listing"] = os.fspath(options["listing"])
            storage.write_atomically(told["listing"],
                                     (json.dumps(name).encode() + b"\n" for name in names))
        else:
            raise UsageError(f"listing: must name a file for the list of {len(names)} images, which "
                             "every task can open")
        return Source(self.name, {"label": "word"} if labelled else {}, int(np.prod(shape)), "uint8",
                      told)

    def pieces(self, paths: Sequence[str], source: Source, size: int) -> list[Piece]:
        """Pieces of ``size`` decoded bytes, since those are the work, and need no look at the files."""
        count, rows = source.options["count"], max(1, size // source.width)
        return [Piece(number, source.options["root"], start, min(start + rows, count))
                for number, start in enumerate(range(0, count, rows))]

    def read(self, piece: Piece, source: Source, bad: BadRows) -> Iterator[Rows]:
        stop = source.options["count"] if piece.stop < 0 else piece.stop
        batch = max(1, _BATCH_BYTES // source.width)
        names = _names(source, piece.start, stop)
        at = 0
        while part := list(islice(names, batch)):
            yield from _batch(part, at, piece, source, bad)
            at += len(part)


def _batch(names: list[str], at: int, piece: Piece, source: Source,
           bad: BadRows) -> Iterator[Rows]:
    shape, mode = source.options["shape"], source.options["mode"]
    number_of = {name: code for code, name in enumerate(source.options["classes"])}
    x = np.empty((len(names), source.width), np.uint8)
    codes, kept = [], []
    for i, name in enumerate(names):
        path = source.options["root"] + name
        try:
            image = _decoded(_bytes(path), shape[:2], mode, source.options["resize"])
        except _BadImageError as error:
            bad.add(path, 0, "", *error.args)
            continue
        x[len(kept)] = image.reshape(-1)
        kept.append(i)
        codes.append(number_of.get(_class(path), -1))
    if kept:
        columns = {}
        if "label" in source.columns:
            columns["label"] = Words(np.array(codes, np.int32), list(source.options["classes"]))
        number = np.array(kept, np.int64) + at
        yield Rows(columns, x[:len(kept)], number, number + piece.start + 1)


def _checked(options: dict[str, Any]) -> tuple[list[int] | None, str | None]:
    size, mode = options.get("image_size"), options.get("mode")
    if size is not None:
        size = list(size)
        if len(size) != 2 or not all(isinstance(each, int) and each > 0 for each in size):
            raise UsageError(f"image_size: must be height and width in pixels, found {size}")
    if mode not in (None, *_MODES):
        raise UsageError(f"mode: must be {' or '.join(_MODES)}, found {mode!r}")
    return size, mode


def _class(path: str) -> str:
    return os.path.basename(os.path.dirname(path))


def _names(source: Source, start: int, stop: int) -> Iterator[str]:
    if "names" in source.options:
        yield from source.options["names"][start:stop]
        return
    with open_input(source.options["listing"]) as file:
        for line in islice(file, start, stop):
            yield json.loads(line)


def _bytes(path: str) -> bytes:
    with open_input(path) as file:
        return file.read()


def _decoded(data: bytes, size: Sequence[int] | None, mode: str | None,
             resize: bool = False) -> np.ndarray:
    """Pixels (h, w) or (h, w, 3). Raises ``_BadImageError``.

    ``size``: what it must have, or shall have with ``resize``; None takes it as it is. The size is
    read from the header, so a decompression bomb is refused before it is decompressed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MissingPackageError("images: reading them needs Pillow; install it with: "
                                  "pip install 'mr_gradient[images]'") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of palettes, of metadata; no user can act on them.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
            found = [image.height, image.width]
            if not resize and size is not None and found != list(size):
                raise _BadImageError(f"{found[0]} x {found[1]}",
                                     f"an image must have {size[0]} x {size[1]} pixels (height x "
                                     "width), as the first has; --image-size resizes all")
            if image.mode not in _GREY + _COLOUR:
                raise _BadImageError(image.mode, "an image must have 8 bits a channel")
            image.load()
            mode = mode or ("grey" if image.mode in _GREY else "rgb")
            image = image.convert(_MODES[mode])
            if resize and size is not None and found != list(size):
                image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            return np.asarray(image)
    except _BadImageError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise _BadImageError("a decompression bomb", "an image must have at most "
                             f"{Image.MAX_IMAGE_PIXELS} pixels") from None
    except MemoryError:
        raise
    # Pillow's decoders raise errors of a dozen types for files that are broken.
    except Exception as error:
        text = str(error) if type(error).__name__ != "UnidentifiedImageError" else ""
        raise _BadImageError(text or f"{data[:8].hex(' ')} ...", "must be a PNG or JPEG image that "
                             "decodes") from None


FORMAT = Images()
