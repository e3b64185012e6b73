"""What the tests of the command line share: run a command, make small data, read what it wrote."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from mr_gradient.cli import main

ROOT = Path(__file__).resolve().parent.parent
DIGITS = ROOT / "data" / "digits.csv"
#: What a training tells of its progress where stderr is no terminal.
PROGRESS = re.compile(r"^(iteration \d+/\d+  loss |resuming after iteration \d+$|"
                      r"the jobs are on YARN, |ended job_)")


def command(*argv: object) -> int:
    """Exit status of ``mr-gradient ARGV`` in this process; the signal handlers stay as they were."""
    saved = signal.getsignal(signal.SIGTERM)
    try:
        return main([str(each) for each in argv])
    finally:
        signal.signal(signal.SIGTERM, saved)


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **changes}


def module(name: str, *argv: object, temporary: Path) -> subprocess.CompletedProcess:
    """Run ``python -m NAME ARGV`` with a temporary folder of its own, and wait for it."""
    return subprocess.run([sys.executable, "-m", name, *map(str, argv)], capture_output=True,
                          text=True, check=False, env=environment(TMPDIR=str(temporary)),
                          timeout=120)


def on_terminal(arguments: list[str], columns: int, timeout: float = 60,
                **variables: str) -> tuple[subprocess.CompletedProcess, str]:
    """Run with stderr on a terminal; returns what it showed."""
    driver, terminal = pty.openpty()
    shown = bytearray()

    def collect() -> None:
        try:
            while piece := os.read(driver, 4096):
                shown.extend(piece)
        except OSError:  # how Linux says that a terminal has ended
            pass

    reader = threading.Thread(target=collect)
    reader.start()
    try:
        done = subprocess.run(
            arguments, stdout=subprocess.PIPE, stderr=terminal, stdin=subprocess.DEVNULL,
            env=environment(**{**variables, "COLUMNS": str(columns), "TERM": "xterm",
                               "NO_COLOR": "1"}),
            check=False, text=True, timeout=timeout)
    finally:
        os.close(terminal)
        reader.join()
        os.close(driver)
    return done, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())


def listing(folder: Path) -> list[str]:
    """Everything below a folder, hidden things included."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def assert_one_line(err: str, words: tuple[str, ...] = ()) -> None:
    """One line for the user, after the lines of a training's progress."""
    lines = [line for line in err.splitlines() if not PROGRESS.match(line)]
    assert len(lines) == 1, err
    assert lines[0].startswith("mr-gradient: "), err
    assert "Traceback" not in err
    for word in words:
        assert word in lines[0], f"{word!r} is missing from: {lines[0]}"


def refused(capfd, folder: Path, *argv: object, words: tuple[str, ...] = ()) -> None:
    """The command ends with status 2 and one line with ``words``; ``folder`` lists as before."""
    before = listing(folder)
    capfd.readouterr()
    status = command(*argv)
    out, err = capfd.readouterr()
    assert status == 2, err
    assert out == ""
    assert_one_line(err, words)
    assert listing(folder) == before


def answer(capfd, *argv: object) -> dict:
    """Run a command with ``--json``: status 0, and stdout is exactly one strict JSON object."""
    capfd.readouterr()
    status = command(*argv, "--json")
    out, err = capfd.readouterr()
    assert status == 0, err
    assert out.count("\n") == 1
    value = json.loads(out, parse_constant=_no_json)
    assert isinstance(value, dict)
    return value


def _no_json(text: str) -> None:
    raise AssertionError(f"{text} is not JSON")


def put(folder: Path, files: dict[str, bytes | str]) -> None:
    """Write files by name, and the folders that they are in."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def write_csv(path: Path, features: np.ndarray, labels, names: list[str] | None = None) -> Path:
    """Rows of features (rows, columns) in full precision, the label last."""
    names = names or [f"f{i}" for i in range(features.shape[1])]
    lines = [",".join([*names, "label"])]
    lines += [",".join([*map(repr, row), str(label)])
              for row, label in zip(features.tolist(), labels)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def small(folder: Path, kind: str, rows: int = 60) -> Path:
    """A data set of two features in ``folder/KIND``: ``two`` or ``three`` classes, or ``values``."""
    x = np.random.default_rng(7).normal(size=(rows, 2))
    score = x @ [1.0, -2.0]
    labels = {"two": np.where(score > 0, "yes", "no"), "values": score + 0.5,
              "three": np.digitize(score, [-1.0, 1.0])}[kind]
    write_csv(folder / f"{kind}.csv", x, labels.tolist())
    assert command("prepare", folder / f"{kind}.csv", "--out", folder / kind,
                   "--test-fraction", "0.25", "--shards", "3", "--json") == 0
    return folder / kind


def read_shard(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str], int]:
    """Arrays, metadata and offset of the first byte of data; a reader of its own, as an oracle."""
    kinds = {"U8": "u1", "U16": "<u2", "I32": "<i4", "I64": "<i8", "F16": "<f2",
             "F32": "<f4", "F64": "<f8"}
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    head = json.loads(data[8:start])
    metadata = head.pop("__metadata__", {})
    arrays = {}
    for name, entry in head.items():
        lo, hi = entry["data_offsets"]
        arrays[name] = np.frombuffer(data[start + lo:start + hi],
                                     kinds[entry["dtype"]]).reshape(entry["shape"])
    return arrays, metadata, start


def read_data(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """``x`` (rows, features) as stored and ``y`` (rows,) of all shards of a part."""
    description = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    shards = [read_shard(folder / shard["path"])[0] for shard in description[part]]
    width = len(description["schema"]["features"])
    if not shards:
        return np.empty((0, width)), np.empty(0)
    return (np.concatenate([shard["x"] for shard in shards]),
            np.concatenate([shard["y"] for shard in shards]))
