"""MB/s of input that preparation turns into shards, beside the parsing library alone.

    python benchmarks/prepare.py [--megabytes N] [--repeats N] [--cpu] [--only NAME]
    python benchmarks/prepare.py --memory [--gigabytes N]

Made-up files: CSV of 30 numbers, CSV in the Criteo layout (``make_ctr.py``, ``--preset criteo``),
libsvm with 40 of 100,000 features a row, Parquet of 30 numbers. Each is prepared by one process with
both passes, by one process without statistics (``--like`` an earlier data set: the writing pass
alone), and by two processes with both passes. Beside them, in turn, the library reads the same file on
one thread, batch by batch, and throws it away: pyarrow.csv with the types of the columns given,
pyarrow.parquet, scikit-learn's svmlight parser. MB are 10**6 bytes of the file. Prints medians, and
the ratio of speeds to the library's.

``--cpu`` takes processor time of the driver and its children instead of time on the clock, and leaves
two processes out: for a machine that is busy. ``--memory`` prepares one CSV of numbers (4 GB) on two
processes in a process of its own and prints the most memory that any of its processes held
(``ru_maxrss``), and the most that all held together, sampled every 50 ms: private pages and each one's
part of those that are shared (PSS).
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import mr_gradient.jobs  # noqa: F401  before numpy: one BLAS thread

# isort: split
import make_ctr
import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet
from sklearn.datasets import load_svmlight_file

from mr_gradient.dataset.formats.opening import line_chunks
from mr_gradient.dataset.presets import preset
from mr_gradient.jobs.launch import job_arguments
from mr_gradient.preparation import prepare
from mr_gradient.preparation_config import PreparationConfig

COLUMNS = 30
_ROWS = 100_000
_BLOCK_BYTES = 1 << 20


class Case(NamedTuple):
    """``write(path, bytes)`` makes the file, ``library(path)`` reads it; ``options`` of a
    preparation, ``like`` those of one like an earlier data set."""

    ending: str
    write: Callable[[str, int], None]
    library: Callable[[str], None]
    options: dict[str, Any]
    like: dict[str, Any]


def numbers(rows: int, seed: int) -> pa.Table:
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((COLUMNS, rows)).round(6)
    label = (x[0] + generator.standard_normal(rows) > 0).astype(np.int64)
    return pa.table({**{f"x{i}": x[i] for i in range(COLUMNS)}, "label": label})


def write_csv(path: str, size: int) -> None:
    with open(path, "wb") as file:
        seed = 0
        while file.tell() < size:
            csv.write_csv(numbers(_ROWS, seed), file, csv.WriteOptions(include_header=not seed))
            seed += 1


def write_parquet(path: str, size: int) -> None:
    first = numbers(_ROWS, 0)
    with parquet.ParquetWriter(path, first.schema) as writer:
        for seed in range(max(1, size // first.nbytes)):
            writer.write_table(numbers(_ROWS, seed))


def write_libsvm(path: str, size: int) -> None:
    generator = np.random.default_rng(0)
    with open(path, "w", encoding="ascii") as file:
        while file.tell() < size:
            indices = np.sort(generator.integers(1, 99_960, (1000, 40)), axis=1) + np.arange(40)
            values = generator.random((1000, 40)).round(4)
            for row, (at, value) in enumerate(zip(indices.tolist(), values.tolist())):
                file.write(f"{row % 2} " + " ".join(f"{i}:{v}" for i, v in zip(at, value)) + "\n")


def read_csv(path: str, names: list[str] | None = None, delimiter: str = ",",
             words: frozenset[str] = frozenset()) -> None:
    """With a type given for each column: to find them out takes half as long again."""
    header = names is None
    if header:
        with open(path, encoding="utf-8") as file:
            names = file.readline().strip().replace('"', "").split(",")
    types = {name: pa.dictionary(pa.int32(), pa.string()) if name in words else pa.float64()
             for name in names}
    with csv.open_csv(
            path, csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES, column_names=names,
                                  skip_rows=int(header)),
            csv.ParseOptions(delimiter=delimiter),
            csv.ConvertOptions(column_types=types, strings_can_be_null=True)) as reader:
        for _ in reader:
            pass


def read_parquet(path: str) -> None:
    with parquet.ParquetFile(path) as file:
        for _ in file.iter_batches(use_threads=False):
            pass


def read_libsvm(path: str) -> None:
    for chunk in line_chunks(path):
        load_svmlight_file(io.BytesIO(chunk), zero_based=False)


_CRITEO = preset("criteo").options
CASES = {
    "csv": Case(".csv", write_csv, read_csv, {}, {}),
    "criteo": Case(
        ".tsv", lambda path, size: make_ctr.write(path, size=size) and None,
        lambda path: read_csv(path, list(make_ctr.COLUMNS), "\t", frozenset(make_ctr.CATEGORIES)),
        {"preset": "criteo"}, {"format": "tsv", "format_options": _CRITEO}),
    "libsvm": Case(".svm", write_libsvm, read_libsvm, {}, {}),
    "parquet": Case(".parquet", write_parquet, read_parquet, {}, {}),
}


def processor_seconds() -> float:
    return sum(sum(resource.getrusage(who)[:2])
               for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def prepared(path: str, out: str, cores: int, **options: Any) -> None:
    arguments = job_arguments("inline", ["--num-cores", str(cores)], False)
    prepare(PreparationConfig(inputs=[path], out=out, overwrite=True, arguments=arguments, **options))


def compare(name: str, case: Case, folder: str, size: int, repeats: int, cpu: bool) -> None:
    path, known = os.path.join(folder, "input" + case.ending), os.path.join(folder, "known")
    case.write(path, size)
    megabytes = os.path.getsize(path) / 1e6
    out = os.path.join(folder, "out")
    ways = {"library": lambda: case.library(path),
            "both passes": lambda: prepared(path, out, 1, **case.options),
            "without statistics": lambda: prepared(path, out, 1, like=known, **case.like)}
    if not cpu:
        ways["both passes, 2 processes"] = lambda: prepared(path, out, 2, **case.options)
    prepared(path, known, 1, **case.options)
    clock = processor_seconds if cpu else time.perf_counter
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, work in ways.items():
            started = clock()
            work()
            seconds[way].append(clock() - started)
    middle = {way: statistics.median(found) for way, found in seconds.items()}
    print(f"{name}, {megabytes:,.0f} MB" + (", processor time" if cpu else "") + ":")
    for way, found in middle.items():
        low, high = min(seconds[way]), max(seconds[way])
        print(f"  {way:25} {megabytes / found:6.0f} MB/s   {middle['library'] / found:5.2f} of the "
              f"library   ({low:.2f} to {high:.2f} s)")
    if not cpu:
        print(f"  two processes are {middle['both passes'] / middle['both passes, 2 processes']:.2f} "
              "times as fast as one")
    for each in (path, known, out):
        shutil.rmtree(each) if os.path.isdir(each) else os.unlink(each)


def memory(folder: str, size: int) -> None:
    path = os.path.join(folder, "input.csv")
    write_csv(path, size)
    code = (f"import sys; sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r})\n"
            f"import prepare; prepare.prepared({path!r}, {os.path.join(folder, 'out')!r}, 2)\n"
            "import resource; print(max(resource.getrusage(who).ru_maxrss for who in "
            "(resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))")
    most = 0
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    ended = threading.Event()

    def watch() -> None:
        nonlocal most
        while not ended.wait(0.05):
            most = max(most, sum(map(_proportional_kib, _family(process.pid))))

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    output = process.communicate()[0]
    ended.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(process.returncode)
    print(f"CSV of {os.path.getsize(path) / 1e9:.2f} GB, 2 processes, "
          f"{time.perf_counter() - started:.0f} s: the largest process held {int(output) >> 10:,} MiB, "
          f"all together {most >> 10:,} MiB")


def _family(pid: int) -> list[int]:
    """A process and its children, theirs included."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            children = map(int, file.read().split())
        return [pid, *(each for child in children for each in _family(child))]
    except OSError:
        return []


def _proportional_kib(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=300, help="of each file; 300 is usual")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=CASES, action="append")
    parser.add_argument("--cpu", action="store_true", help="processor time, for a busy machine")
    parser.add_argument("--memory", action="store_true", help="measure memory, not speed")
    parser.add_argument("--gigabytes", type=float, default=4, help="of the CSV for --memory")
    parser.add_argument("--folder", help="where to write; a temporary folder in it")
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="mr_gradient-prepare-", dir=options.folder)
    pa.set_cpu_count(1)
    try:
        if options.memory:
            memory(folder, int(options.gigabytes * 1e9))
        else:
            for name in options.only or CASES:
                compare(name, CASES[name], folder, options.megabytes * 10**6, options.repeats,
                        options.cpu)
    finally:
        shutil.rmtree(folder)
    print(f"pyarrow {pa.__version__}, numpy {np.__version__}, {os.cpu_count()} CPUs")


if __name__ == "__main__":
    main()
