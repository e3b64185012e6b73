"""The folder of real data for tests, or data of the same layout made up where it is absent."""

from __future__ import annotations

import bz2
import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
#: Rows of each file, in the real data and in the made up.
A9A = {"a9a.bz2": 32_560, "a9a.t.bz2": 16_281}
MNIST = {"train": 60_000, "t10k": 10_000}


def shared_data(request: pytest.FixtureRequest, factory: pytest.TempPathFactory,
                root: Path = ROOT) -> Path:
    """``../shared/data``. Without it, CI fails, and others get made up data and a note that says so."""
    folder = root.parent / "shared" / "data"
    if folder.is_dir():
        return folder
    if os.environ.get("MR_GRADIENT_CI"):
        pytest.fail(f"{folder} is missing, and MR_GRADIENT_CI is set")
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{folder} is missing: {request.node.name} runs on made up data of the same layout")
    return make(factory.mktemp("made_up"))


def make(folder: Path) -> Path:
    """Files like the real ones: their names, rows, widths and types."""
    random = np.random.default_rng(1)
    for name, rows in A9A.items():
        indices = np.sort(random.integers(0, 123 // 3, size=(rows, 14)), axis=1)
        # All rise, since each step is one more than it was; 123 is the last of them.
        indices = indices * 2 + np.arange(1, 15)
        indices[0, -1] = 123
        lines = (f"{i % 2} " + " ".join(f"{index}:1" for index in row) + " \n"
                 for i, row in enumerate(indices.tolist()))
        (folder / name).write_bytes(bz2.compress("".join(lines).encode(), 1))
    (folder / "mnist").mkdir()
    for part, rows in MNIST.items():
        y = (np.arange(rows) % 10).astype(np.uint8)
        x = np.repeat((np.arange(rows) % 100).astype(np.uint8), 784).reshape(rows, 784)
        x.reshape(rows, 28, 28)[np.arange(rows), y] = 255  # a line at the height of the label
        for name, array, shape in (("images-idx3", x, (rows, 28, 28)), ("labels-idx1", y, (rows,))):
            data = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + array.tobytes()
            path = folder / "mnist" / f"{part}-{name}-ubyte.gz"
            path.write_bytes(gzip.compress(data, 1, mtime=0))
    return folder
