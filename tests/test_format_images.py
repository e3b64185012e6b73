"""Folders of images: classes, sizes, colours, and images that are broken."""

from __future__ import annotations

import io
import json
import os
import struct
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mr_gradient.dataset.formats import images
from mr_gradient.dataset.formats.base import BadRows
from mr_gradient.dataset.formats.images import FORMAT
from mr_gradient.errors import DataError, UsageError


def pillow():
    """Pillow, which is absent where only the fast tests of other modules run."""
    from PIL import Image

    return Image


def pixels(number: int, shape=(4, 5, 3)) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, shape).astype(np.uint8)


def encoded(array: np.ndarray, kind="PNG") -> bytes:
    file = io.BytesIO()
    pillow().fromarray(array).save(file, kind)
    return file.getvalue()


def write(folder, count=7, shape=(4, 5, 3)) -> list[str]:
    """Images in two classes, in the order of their paths."""
    for i in range(count):
        path = folder / ("cat" if i < count // 2 else "dog") / f"{i:03}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(pixels(i, shape)))
    return sorted(str(path) for path in folder.rglob("*.png"))


def read(paths, options=None, size=1 << 20, bad=None):
    """Rows, class names, positions in the list, and the source."""
    source = FORMAT.inspect(paths, options or {})
    xs, labels, lines = [], [], []
    for piece in FORMAT.pieces(paths, source, size):
        for rows in FORMAT.read(piece, source, bad or BadRows()):
            assert (rows.number + piece.start + 1).tolist() == rows.line.tolist()
            xs += list(rows.features)
            lines += rows.line.tolist()
            if rows.columns:
                label = rows.columns["label"]
                labels += [label.words[code] for code in label.codes]
    return np.array(xs), labels, lines, source


def test_a_folder_a_class(tmp_path):
    paths = write(tmp_path)
    found, labels, lines, source = read(list(reversed(paths)))
    assert labels == ["cat"] * 3 + ["dog"] * 4
    assert lines == list(range(1, 8))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, [pixels(i).reshape(-1) for i in range(7)])
    assert (source.columns, source.width, source.dtype) == ({"label": "word"}, 60, "uint8")
    assert source.options == {
        "root": f"{tmp_path}/", "count": 7, "classes": ["cat", "dog"], "mode": "rgb",
        "shape": [4, 5, 3], "resize": False,
        "names": [path[len(str(tmp_path)) + 1:] for path in paths]}
    assert json.loads(json.dumps(source.options)) == source.options


@given(count=st.integers(2, 9), size=st.integers(1, 700), batch=st.integers(1, 300))
def test_pieces_together_are_the_whole(tmp_path_factory, count, size, batch):
    folder = tmp_path_factory.getbasetemp() / f"images-{count}"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "_BATCH_BYTES", batch)
        found, labels, lines, _ = read(write(folder, count), size=size)
    np.testing.assert_array_equal(found, [pixels(i).reshape(-1) for i in range(count)])
    assert labels == ["cat"] * (count // 2) + ["dog"] * (count - count // 2)
    assert lines == list(range(1, count + 1))


def test_grey_or_colour_is_that_of_the_first_or_said(tmp_path):
    paths = write(tmp_path, 4, (4, 5))
    found, *_, source = read(paths)
    np.testing.assert_array_equal(found, [pixels(i, (4, 5)).reshape(-1) for i in range(4)])
    assert (source.options["mode"], source.options["shape"]) == ("grey", [4, 5])
    found, *_, source = read(paths, {"mode": "rgb"})
    np.testing.assert_array_equal(found[:, ::3], [pixels(i, (4, 5)).reshape(-1) for i in range(4)])
    assert (source.width, source.options["shape"]) == (60, [4, 5, 3])
    colour = pillow().fromarray(pixels(9))
    colour.save(paths[1])
    np.testing.assert_array_equal(read(paths)[0][1], np.asarray(colour.convert("L")).reshape(-1))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_modes_of_8_bits_are_converted(tmp_path, mode):
    paths = write(tmp_path)
    image = pillow().fromarray(pixels(0)).convert(mode)
    image.save(paths[0])
    np.testing.assert_array_equal(read(paths, {"mode": "rgb"})[0][0],
                                  np.asarray(image.convert("RGB")).reshape(-1))


def test_jpeg_and_the_said_size(tmp_path):
    paths = write(tmp_path)
    for path, kind, shape in ((paths[0], "JPEG", (4, 5, 3)), (paths[3], "PNG", (9, 2, 3))):
        with open(path, "wb") as file:
            file.write(encoded(pixels(1, shape), kind))
    found, *_, source = read(paths, {"image_size": [6, 3], "mode": "rgb"})
    assert found.shape == (7, 54)
    assert (source.options["shape"], source.options["resize"]) == ([6, 3, 3], True)
    expected = pillow().fromarray(pixels(1, (9, 2, 3))).resize((3, 6), pillow().Resampling.BILINEAR)
    np.testing.assert_array_equal(found[3], np.asarray(expected).reshape(-1))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width: int, height: int) -> bytes:
    """A small PNG whose header tells of very many pixels."""
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))


UNREADABLE = "must be a PNG or JPEG image that decodes"
#: What an image holds, made when it is needed, and what is said of it.
BROKEN = {
    "empty": (lambda: b"", UNREADABLE),
    "text": (lambda: b"not an image", UNREADABLE),
    "another format": (lambda: encoded(pixels(1), "BMP"), UNREADABLE),
    "cut PNG": (lambda: encoded(pixels(1))[:-40], UNREADABLE),
    "cut JPEG": (lambda: encoded(pixels(1, (4, 5, 3)), "JPEG")[:-20], UNREADABLE),
    "damaged PNG": (lambda: encoded(pixels(1)).replace(b"IDAT", b"IDAT123"), UNREADABLE),
    "another size": (lambda: encoded(pixels(1, (5, 4, 3))),
                     r"must have 4 x 5 pixels \(height x width\).*'5 x 4'"),
    "16 bits": (lambda: encoded(pixels(1, (4, 5)).astype(np.uint16) * 9), "must have 8 bits a channel"),
    "bomb": (lambda: bomb(50_000, 50_000), "must have at most [0-9]+ pixels, found 'a decompr"),
    "smaller bomb": (lambda: bomb(10_000, 10_000), "must have at most [0-9]+ pixels"),
}


@pytest.mark.parametrize(("what", "resize"), [
    (what, resize) for what in BROKEN for resize in (False, True)
    if not (resize and what == "another size")])  # No fault there.
def test_a_broken_image_is_a_bad_row(tmp_path, what, resize):
    make, words = BROKEN[what]
    paths = write(tmp_path)
    with open(paths[4], "wb") as file:
        file.write(make())
    options = {"image_size": [4, 5]} if resize else {}
    with pytest.raises(DataError, match=rf"^{paths[4]}: .*{words}"):
        read(paths, options)
    bad = BadRows(fail=False, limit=1)
    found, labels, lines, _ = read(paths, options, size=120, bad=bad)
    assert lines == [1, 2, 3, 4, 6, 7]
    assert labels == ["cat"] * 3 + ["dog"] * 3
    np.testing.assert_array_equal(found[3:], [pixels(i).reshape(-1) for i in (3, 5, 6)])
    assert [note[:3] for note in bad.notes] == [(paths[4], 0, "")]


@pytest.mark.parametrize("what", sorted(BROKEN.keys() - {"another size"}))
def test_a_broken_first_image_says_nothing_of_the_others(tmp_path, what):
    make, words = BROKEN[what]
    paths = write(tmp_path)
    with open(paths[0], "wb") as file:
        file.write(make())
    words = words.partition(", found")[0]
    with pytest.raises(DataError, match=rf"^{paths[0]}: .*{words}.*, found .*the first image says"):
        FORMAT.inspect(paths, {})


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_image_cut_anywhere_is_whole_or_refused(tmp_path, kind):
    paths = write(tmp_path)
    data = encoded(pixels(4), kind)
    expected = np.asarray(pillow().open(io.BytesIO(data))).reshape(-1)
    for length in range(len(data)):
        with open(paths[0], "wb") as file:
            file.write(data[:length])
        bad = BadRows(fail=False, limit=1)
        found, _, lines, _ = read(paths, {"mode": "rgb", "image_size": [4, 5]}, bad=bad)
        assert len(lines) == 7 - bad.count
        if not bad.count:
            np.testing.assert_array_equal(found[0], expected)


def test_what_cannot_be_a_set_of_images(tmp_path):
    paths = write(tmp_path)
    with pytest.raises(DataError, match="must lie in a folder a class, found only the folder 'cat'"):
        FORMAT.inspect(paths[:3], {})
    assert FORMAT.inspect(paths[:3], {"labels": False}).columns == {}
    assert read(paths[:1], {"labels": False})[0].shape == (1, 60)
    for options, words in (({"image_size": [4]}, "image_size: must be height and width"),
                           ({"image_size": [0, 4]}, "image_size: must be height and width"),
                           ({"mode": "hsv"}, "mode: must be grey or rgb, found 'hsv'")):
        with pytest.raises(UsageError, match=words):
            FORMAT.inspect(paths, options)
    os.unlink(paths[5])
    with pytest.raises(DataError, match=rf"^{paths[5]}: no such file"):
        read(paths)


def test_a_long_list_is_written_to_a_file(tmp_path, monkeypatch):
    paths = write(tmp_path)
    monkeypatch.setattr(images, "LISTED", 7)
    with pytest.raises(UsageError, match="listing: must name a file for the list of 7 images"):
        FORMAT.inspect(paths, {})
    found, *_, source = read(paths, {"listing": str(tmp_path / "list")}, size=130)
    np.testing.assert_array_equal(found, [pixels(i).reshape(-1) for i in range(7)])
    assert "names" not in source.options
    assert len((tmp_path / "list").read_text().splitlines()) == 7


def test_without_pillow(tmp_path, monkeypatch):
    paths = write(tmp_path)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match=r"needs Pillow; install it with: pip install 'mr_gradient"):
        FORMAT.inspect(paths, {})


def test_content_is_told():
    assert FORMAT.looks_like(encoded(pixels(1)))
    assert FORMAT.looks_like(encoded(pixels(1), "JPEG"))
    assert not FORMAT.looks_like(encoded(pixels(1), "BMP"))
