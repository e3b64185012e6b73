"""Models of one's own on sparse rows: they get CSR arrays, in the check too."""

from __future__ import annotations

import numpy as np
import pytest
from cli_tools import ROOT
from scipy.sparse import csr_array
from trainings import run

from mr_gradient import model_folder
from mr_gradient.dataset.writer import write_arrays
from mr_gradient.errors import ModelError

MACHINE = ROOT / "examples" / "own_model" / "factorization_machine.py"


def sparse() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(3).standard_normal((300, 30)).astype(np.float32)
    x[np.abs(x) < 1] = 0
    x[::7] = 0
    return x, x[:, 0] * x[:, 1] - x[:, 2]


def test_sparse_rows_give_what_dense_ones_give(tmp_path):
    x, y = sparse()
    found = []
    for name, rows in (("dense", x), ("sparse", csr_array(x))):
        data, out = write_arrays(str(tmp_path / name), rows, y, shards=3), tmp_path / f"{name} model"
        run(data, out, 5, model=f"{MACHINE}:make", model_options={"factors": 3}, optimizer="lbfgs",
            precision="float64")
        found.append(model_folder.read(str(out)).parameters["factors"])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-8, atol=1e-10)


def test_a_model_that_only_knows_arrays_is_found_before_the_first_job(tmp_path):
    x, y = sparse()
    data = write_arrays(str(tmp_path / "data"), csr_array(x), y, shards=2)
    dense = MACHINE.read_text().replace("x * x if isinstance(x, np.ndarray) else x.power(2)",
                                        "np.square(x, dtype=x.dtype)")
    (tmp_path / "dense.py").write_text(dense)
    with pytest.raises(ModelError, match=r"model dense.py:make: accumulate failed: .* \(line \d+\)"):
        run(data, tmp_path / "model", 1, model=f"{tmp_path / 'dense.py'}:make")
