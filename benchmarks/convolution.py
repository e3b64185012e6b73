"""Which way to convolve is fastest in numpy?

    python -m benchmarks.convolution [--images N] [--repeats N]

Forward and backward of single convolutions, in turn: the layer of this package (channels last,
im2col and one product a group of images) with groups of several sizes, and other ways to write it.
All must agree. Then whole networks. Milliseconds of CPU on one BLAS thread, medians; "product" is
the time that the products alone would take at the speed of a product of square matrices.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import mr_gradient.jobs  # noqa: F401  before numpy: one BLAS thread

# isort: split
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mr_gradient import models
from mr_gradient.models.base import layout
from mr_gradient.models.layers import columns, conv2d
from mr_gradient.models.layers.base import Workspace
from mr_gradient.models.layers.conv2d import Conv2d

DTYPE = np.dtype(np.float32)
#: Height and width, channels in and out, kernel, padding; and whether dx is wanted.
SHAPES = {
    "28 x 28, 1 to 32, 3 x 3": (28, 1, 32, 3, 1, False),
    "28 x 28, 1 to 6, 5 x 5": (28, 1, 6, 5, 2, False),
    "32 x 32, 3 to 48, 3 x 3": (32, 3, 48, 3, 1, False),
    "14 x 14, 6 to 16, 5 x 5": (14, 6, 16, 5, 0, True),
    "14 x 14, 32 to 64, 3 x 3": (14, 32, 64, 3, 1, True),
    "7 x 7, 192 to 192, 3 x 3": (7, 192, 192, 3, 1, True),
}
NETWORKS = {
    "3x3x32, pool, 3x3x64, pool, 128, 10": ("network", 784, {"input_shape": (1, 28, 28), "layers": [
        {"conv2d": {"out": 32, "kernel": 3, "padding": 1}}, "relu", {"max_pool2d": 2},
        {"conv2d": {"out": 64, "kernel": 3, "padding": 1}}, "relu", {"max_pool2d": 2},
        "flatten", {"dense": 128}, "relu", {"dense": 10}]}),
    "lenet": ("lenet", 784, {}),
    "alexnet-small": ("alexnet-small", 3072, {"input_shape": (3, 32, 32)}),
    "mlp 784-512-256-10": ("mlp", 784, {"hidden": (512, 256)}),
}
#: A pass over x, dy (n, channels, height, width) and weight returns y, dW and dx, as PyTorch has them.
Pass = Callable[[], tuple[np.ndarray, ...]]


class _Scattered(Conv2d):
    """The layer with dx added up from the gradient of the columns."""

    _flips = False


def layer(x: np.ndarray, weight: np.ndarray, dy: np.ndarray, padding: int, wanted: bool,
          group_bytes: int = columns.GROUP_BYTES, kind: type = Conv2d,
          short_run: int | None = None) -> Pass:
    """The layer of this package, or a variant of it."""
    of_layer = kind(out=len(weight), kernel=weight.shape[2], padding=padding, bias=False)
    workspace = Workspace(DTYPE)
    workspace.parameters, workspace.gradient = {"weight": weight}, {"weight": np.zeros_like(weight)}
    x, dy = (np.ascontiguousarray(array.transpose(0, 2, 3, 1)) for array in (x, dy))

    def run() -> tuple[np.ndarray, ...]:
        saved = conv2d.GROUP_BYTES, columns._SHORT_RUN
        conv2d.GROUP_BYTES = group_bytes
        columns._SHORT_RUN = saved[1] if short_run is None else short_run
        workspace.gradient["weight"].fill(0)
        of_layer.prepare(workspace, (x.shape[3], *x.shape[1:3]))
        y = of_layer.forward(x, workspace, False)
        dx = of_layer.backward(dy, workspace, wanted)
        of_layer.finish(workspace)
        conv2d.GROUP_BYTES, columns._SHORT_RUN = saved
        return (y.transpose(0, 3, 1, 2), workspace.gradient["weight"],
                *([dx.transpose(0, 3, 1, 2)] if wanted else []))

    return run


def shifted(x: np.ndarray, weight: np.ndarray, dy: np.ndarray, padding: int, wanted: bool) -> Pass:
    """Channels last; a product for each place in the kernel, of images that are shifted, not copied.

    The rows of all padded images are one long matrix, of which a shift is a slice.
    """
    out, channels, size, _ = weight.shape
    n, _, height, width = x.shape
    high, wide = height + 2 * padding, width + 2 * padding
    places = n * high * wide - (size - 1) * (wide + 1)
    padded = np.zeros((n, high, wide, channels), DTYPE)
    of_outputs = np.zeros((n, high, wide, out), DTYPE)
    dy = np.ascontiguousarray(dy.transpose(0, 2, 3, 1))
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    y, part = np.empty((2, n * high * wide, out), DTYPE)
    back = np.empty((places, channels), DTYPE)
    dx, dw = np.empty((n * high * wide, channels), DTYPE), np.empty((size, size, channels, out), DTYPE)
    ahead = np.ascontiguousarray(weight.transpose(2, 3, 1, 0))

    def run() -> tuple[np.ndarray, ...]:
        padded[:, padding:padding + height, padding:padding + width] = x
        of_outputs[:, :dy.shape[1], :dy.shape[2]] = dy
        rows, of_rows = padded.reshape(-1, channels), of_outputs.reshape(-1, out)[:places]
        y.fill(0)
        dx.fill(0)
        for i in range(size):
            for j in range(size):
                there = slice(i * wide + j, i * wide + j + places)
                y[:places] += np.matmul(rows[there], ahead[i, j], out=part[:places])
                np.matmul(rows[there].T, of_rows, out=dw[i, j])
                if wanted:
                    dx[there] += np.matmul(of_rows, ahead[i, j].T, out=back)
        images = y.reshape(n, high, wide, out)[:, :dy.shape[1], :dy.shape[2]]
        inside = dx.reshape(padded.shape)[:, padding:padding + height, padding:padding + width]
        return (images.transpose(0, 3, 1, 2), dw.transpose(3, 2, 0, 1),
                *([inside.transpose(0, 3, 1, 2)] if wanted else []))

    return run


def channels_first(x: np.ndarray, weight: np.ndarray, dy: np.ndarray, padding: int,
                   wanted: bool) -> Pass:
    """Channels first; im2col and a product for each image."""
    out, channels, size, _ = weight.shape
    n, _, height, width = x.shape
    matrix, of_images = weight.reshape(out, -1), dy.reshape(n, out, -1)
    padded = np.zeros((channels, height + 2 * padding, width + 2 * padding), DTYPE)
    dx = np.zeros((n, *padded.shape), DTYPE)
    windows = sliding_window_view(padded, (size, size), (1, 2)).transpose(0, 3, 4, 1, 2)
    copied = np.empty(windows.shape, DTYPE)
    rows, y = copied.reshape(matrix.shape[1], -1), np.empty_like(of_images)
    dw = np.empty_like(matrix)

    def run() -> tuple[np.ndarray, ...]:
        dw.fill(0)
        dx.fill(0)
        for number in range(n):
            padded[:, padding:padding + height, padding:padding + width] = x[number]
            np.copyto(copied, windows)
            np.matmul(matrix, rows, out=y[number])
            dw[...] += of_images[number] @ rows.T
            if wanted:
                np.matmul(matrix.T, of_images[number], out=rows)
                for i in range(size):
                    for j in range(size):
                        dx[number, :, i:i + dy.shape[2], j:j + dy.shape[3]] += copied[:, i, j]
        inside = dx[..., padding:padding + height, padding:padding + width]
        return y.reshape(dy.shape), dw.reshape(weight.shape), *([inside] if wanted else [])

    return run


def textbook(x: np.ndarray, weight: np.ndarray, dy: np.ndarray, padding: int, wanted: bool) -> Pass:
    """Channels first; tensor products of sliding windows."""
    size = weight.shape[2]
    border, turned = size - 1 - padding, weight[:, :, ::-1, ::-1]

    def windows(images: np.ndarray, border: int) -> np.ndarray:
        padded = np.pad(images, ((0, 0), (0, 0), (border,) * 2, (border,) * 2))
        return sliding_window_view(padded, (size, size), (2, 3))

    def run() -> tuple[np.ndarray, ...]:
        seen = windows(x, padding)
        y = np.tensordot(seen, weight, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
        dw = np.tensordot(dy, seen, ((0, 2, 3), (0, 2, 3)))
        if not wanted:
            return y, dw
        return y, dw, np.tensordot(windows(dy, border), turned, ((1, 4, 5), (0, 2, 3))).transpose(
            0, 3, 1, 2)

    return run


WAYS: dict[str, Callable[..., Pass]] = {
    "the layer, groups of 1 MiB": layer,
    "groups of 256 KiB": lambda *problem: layer(*problem, group_bytes=1 << 18),
    "groups of 4 MiB": lambda *problem: layer(*problem, group_bytes=1 << 22),
    "all images at once": lambda *problem: layer(*problem, group_bytes=1 << 50),
    "dx scattered": lambda *problem: layer(*problem, kind=_Scattered),
    "always runs of a kernel's row": lambda *problem: layer(*problem, short_run=0),
    "never": lambda *problem: layer(*problem, short_run=1 << 30),
    "shifted products": shifted,
    "channels first, an image at a time": channels_first,
    "textbook": textbook,
}


def in_turn(passes: list[Pass], repeats: int) -> np.ndarray:
    """Median milliseconds of CPU of each pass."""
    times = np.empty((repeats, len(passes)))
    for repeat in range(repeats):
        for number, run in enumerate(passes):
            started = time.process_time()
            run()
            times[repeat, number] = 1e3 * (time.process_time() - started)
    return np.median(times, axis=0)


def compare(name: str, images: int, repeats: int, speed: float) -> None:
    size, channels, out, kernel, padding, wanted = SHAPES[name]
    generator = np.random.default_rng(0)
    places = size + 2 * padding - kernel + 1
    x, dy = (generator.standard_normal((images, each, side, side), DTYPE)
             for each, side in ((channels, size), (out, places)))
    weight = generator.standard_normal((out, channels, kernel, kernel), DTYPE)
    passes = [way(x, weight, dy, padding, wanted) for way in WAYS.values()]
    expected = passes[-1]()
    for run, way in zip(passes, WAYS):
        for found, right in zip(run(), expected):
            if not np.allclose(found, right, rtol=1e-3, atol=1e-4 * np.abs(right).max()):
                raise SystemExit(f"{name}: {way}: differs from the last way")
    operations = 2 * images * places ** 2 * weight.size * (3 if wanted else 2)
    print(f"{name}, {images} images: product {operations / speed:.1f}")
    for way, milliseconds in zip(WAYS, in_turn(passes, repeats)):
        print(f"  {milliseconds:8.1f}  {way}", flush=True)


def whole(name: str, images: int) -> Pass:
    """Forward and backward of a network over one batch."""
    model, features, options = NETWORKS[name]
    made = models.create(model, features, "class", 10, options)
    where = layout(made)
    parameters = where.views(where.flatten(made.init(0), DTYPE))
    generator = np.random.default_rng(0)
    x, y = generator.random((images, features), DTYPE), generator.integers(0, 10, images)
    gradient = where.views(np.zeros(where.size, DTYPE))
    return lambda: made.accumulate(parameters, x, y, None, gradient)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    square = np.random.default_rng(0).random((1024, 1024), DTYPE)
    speed = 2 * 1024 ** 3 / in_turn([lambda: square @ square], 9)[0]
    print(f"product of 1024 x 1024: {speed / 1e6:.0f} GFLOP/s; milliseconds of CPU")
    for name in SHAPES:
        compare(name, options.images, options.repeats, speed)
    passes = [whole(name, options.images) for name in NETWORKS]
    print(f"networks, {options.images} examples, forward and backward")
    in_turn(passes, 1)
    for name, milliseconds in zip(NETWORKS, in_turn(passes, options.repeats)):
        print(f"  {milliseconds:8.1f}  {name}")
    print(f"numpy {np.__version__}, {os.cpu_count()} CPUs")


if __name__ == "__main__":
    main()
