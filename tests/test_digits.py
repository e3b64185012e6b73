"""The digits and ./run_local.sh, as a newcomer runs it: a fresh copy, a path with a space."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
RESULT = re.compile(r"^(\w+): held-out accuracy (0\.\d{4}) on \d+ digits, model in (.+)$", re.M)


def test_the_file_is_scikit_learns_copy():
    from sklearn.datasets import load_digits

    digits = load_digits()
    with (ROOT / "data/digits.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert len(header) == 65
    assert header[0] == "pixel_0_0"
    assert header[63:] == ["pixel_7_7", "label"]
    values = np.array(rows, dtype=int)
    assert np.array_equal(values[:, :64], digits.data)
    assert np.array_equal(values[:, 64], digits.target)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as git would clone it, below a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("a new") / "mr gradient"
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True,
                           capture_output=True, text=True).stdout.splitlines()
    for name in files:
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def run_local(clone: Path, *arguments: object, cwd: Path, **environment: str):
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([clone / "run_local.sh", *map(str, arguments)], cwd=cwd, check=False,
                          capture_output=True, text=True, env={**kept, **environment})


def parameters(folder: Path) -> list[bytes]:
    return [(folder / f"{name}-0/model.safetensors").read_bytes() for name in ("softmax", "mlp")]


def test_more_epochs_go_on_and_a_second_folder_has_the_same_bits(clone, tmp_path):
    (tmp_path / "else where").mkdir()
    first = run_local(clone, 4, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    losses = re.findall(r"^iteration (\d)/4  loss \d", first.stderr, re.M)
    assert losses == ["1", "2", "3", "4"] * 2  # softmax, then the network
    assert [match[0] for match in RESULT.findall(first.stdout)] == ["softmax", "mlp"]
    assert first.stdout.splitlines()[-1].startswith("mlp: held-out accuracy ")
    assert first.stdout.rstrip().endswith(str(clone / "local/mlp-0"))
    assert (clone / "local/mlp-0/model.safetensors").is_file()

    more = run_local(clone, 7, cwd=tmp_path / "else where")
    assert re.findall(r"^iteration (\d)/7", more.stderr, re.M) == ["5", "6", "7"] * 2
    second = run_local(clone, 7, tmp_path / "else where/second", cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert parameters(clone / "local") == parameters(tmp_path / "else where/second")


def test_held_out_accuracy_over_five_seeds(clone, tmp_path):
    accuracies: dict[str, list[float]] = {"softmax": [], "mlp": []}
    for seed in range(5):
        result = run_local(clone, 300, tmp_path / "out", cwd=tmp_path, SEED=str(seed))
        for name, accuracy, _ in RESULT.findall(result.stdout):
            accuracies[name].append(float(accuracy))
    assert [len(values) for values in accuracies.values()] == [5, 5]
    assert np.mean(accuracies["softmax"]) >= 0.95, accuracies
    assert np.mean(accuracies["mlp"]) >= 0.97, accuracies


@pytest.mark.parametrize(("arguments", "words"), [
    (["ten"], "EPOCHS must be a whole number from 1, found 'ten'"),
    (["0"], "EPOCHS must be a whole number from 1, found '0'"),
    (["3", "folder", "more"], "at most two arguments"),
])
def test_wrong_arguments_are_one_line(clone, tmp_path, arguments, words):
    result = run_local(clone, *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("run_local.sh: ")
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_machine_without_python_is_told_what_to_do(clone, tmp_path):
    """Only the tools that the script itself needs are on the path."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "dirname", "mkdir", "cmp", "cp", "rm"):
        (tools / tool).symlink_to(shutil.which(tool))
    copy = tmp_path / "copy"
    shutil.copytree(clone, copy, ignore=shutil.ignore_patterns(".venv", "local"))
    result = run_local(copy, cwd=tmp_path, PATH=str(tools))
    assert result.returncode == 2
    assert "Python 3.10 or later is needed" in result.stderr
