"""At which density do CSR shards become faster than dense ones?

    python -m benchmarks.density [--elements N] [--classes N]

The same synthetic float32 data as a dense and as a CSR shard, for several widths and densities; one
gradient pass over each in turn, by one process on one BLAS thread, with the model and the chunks
that a training uses. Prints the medians and where the two lines cross.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from itertools import pairwise

import mr_gradient.jobs  # noqa: F401  before numpy: one BLAS thread

# isort: split
import numpy as np
from scipy.sparse import csr_array

from mr_gradient.dataset.shards import Shard, open_shard
from mr_gradient.dataset.writer import write_arrays
from mr_gradient.jobs.broadcast import settings_for
from mr_gradient.models.base import AtPoint, accumulate_chunks, layout
from mr_gradient.models.linear import Linear

COLUMNS = (100, 1000, 10_000)
DENSITIES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 0.9)
DTYPE = np.dtype(np.float32)


def compare(folder: str, columns: int, density: float, rows: int, classes: int,
            repeats: int) -> tuple[float, float]:
    """Median seconds of a pass over the dense and over the CSR shard."""
    generator = np.random.default_rng([columns, round(100 * density)])
    x = generator.standard_normal((rows, columns), DTYPE)
    x[generator.random((rows, columns), DTYPE) >= density] = 0
    y = generator.integers(0, classes, rows).astype(np.uint8)
    model = (Linear(columns, 1, "logistic") if classes == 2 else Linear(columns, classes, "softmax"))
    where = layout(model)
    parameters = where.views(generator.normal(0, 0.01, where.size).astype(DTYPE))
    passes = []
    for form in (x, csr_array(x)):
        data = write_arrays(os.path.join(folder, "data"), form, y, shards=1, overwrite=True,
                            classes=tuple(map(str, range(classes))))
        shard = open_shard(os.path.join(data.folder, data.train[0].path), data.train[0].sha256, True)
        passes.append((shard, settings_for(model, data.schema, DTYPE.name).rows_per_chunk))

    def one(shard: Shard, chunk: int) -> tuple[float, np.ndarray]:
        started = time.perf_counter()
        gradient = np.zeros(where.size, DTYPE)
        accumulate_chunks(model, [AtPoint(parameters, where.views(gradient))],
                          shard.chunks(0, rows, chunk, DTYPE))
        return time.perf_counter() - started, gradient

    (_, dense), (_, sparse) = (one(*each) for each in passes)
    if not np.allclose(dense, sparse, rtol=1e-2, atol=1e-4 * rows):
        raise SystemExit("the gradients differ")
    seconds = [[one(*each)[0] for each in passes] for _ in range(repeats)]
    return tuple(np.median(seconds, axis=0).tolist())


def crossover(points: list[tuple[float, float]]) -> str:
    """The density at which CSR takes as long as dense; ``points`` are (density, ratio)."""
    for (low, below), (high, above) in pairwise(points):
        if below < 1 <= above:
            share = np.log(below) / (np.log(below) - np.log(above))
            return f"{low * (high / low) ** share:.2f}"
    return f"below {points[0][0]}" if points[0][1] >= 1 else f"above {points[-1][0]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--elements", type=int, default=20_000_000, help="rows times columns")
    parser.add_argument("--classes", type=int, default=2, help="2: logistic; more: softmax")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="mr_gradient-density-")
    try:
        for columns in COLUMNS:
            rows, points = options.elements // columns, []
            print(f"{rows:,} x {columns:,} float32, {options.classes} classes\n"
                  "  density  dense ms  CSR ms  ratio")
            for density in DENSITIES:
                dense, sparse = compare(folder, columns, density, rows, options.classes,
                                        options.repeats)
                points.append((density, sparse / dense))
                print(f"  {density:7.2f}  {1e3 * dense:8.2f}  {1e3 * sparse:6.2f}"
                      f"  {sparse / dense:5.2f}", flush=True)
            print(f"  they cross at density {crossover(points)}")
    finally:
        shutil.rmtree(folder)
    print(f"numpy {np.__version__}, {os.cpu_count()} CPUs")


if __name__ == "__main__":
    main()
