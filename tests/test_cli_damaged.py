"""Damaged, foreign and moved files: named in one line, by every command and on every runner."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest
from cli_tools import answer, listing, module, refused, small

from mr_gradient.dataset.schema import open_dataset
from mr_gradient.jobs import broadcast
from mr_gradient.jobs.manifest import make_splits, to_lines
from mr_gradient.models import Linear, to_json
from mr_gradient.models.base import layout

RUNNERS = [pytest.param("inline", marks=pytest.mark.fast), "local"]
COMMANDS = ["train", "evaluate"]


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """A data set, a model trained on it, and one of another shape."""
    folder = tmp_path_factory.mktemp("originals")
    small(folder, "three")
    return folder


@pytest.fixture
def place(tmp_path, originals, capfd):
    """Copies to damage, in a folder with a space in its name: ``data`` and ``model``."""
    folder = tmp_path / "a place"
    shutil.copytree(originals / "three", folder / "data")
    answer(capfd, "train", "--data", folder / "data", "--model", "softmax", "--out",
           folder / "model", "--iterations", "2")
    return folder


def damage(path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "flip":
        data[-1] ^= 1
    elif how == "flip header":
        data[12] ^= 1
    elif how == "cut":
        del data[-8:]
    elif how == "longer":
        data += b"\0" * 8
    elif how == "empty":
        data.clear()
    path.write_bytes(data)


def argv(place, command: str, *options: str) -> list:
    if command == "train":
        return ["train", "--data", place / "data", "--model", "softmax", "--out", place / "new",
                "--iterations", "2", *options]
    return ["evaluate", "--data", place / "data", "--model", place / "model", "--part", "train",
            *options]


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("command", COMMANDS)
def test_one_flipped_byte(place, capfd, command, runner):
    shard = place / "data" / "shards" / "00001.safetensors"
    right = hashlib.sha256(shard.read_bytes()).hexdigest()
    damage(shard, "flip")
    found = hashlib.sha256(shard.read_bytes()).hexdigest()
    refused(capfd, place, *argv(place, command, "-r", runner), words=[str(shard), right, found])


@pytest.mark.parametrize(("how", "runner"), [
    ("cut", "inline"), ("longer", "inline"), ("empty", "inline"), ("flip header", "inline"),
    ("cut", "local")])
@pytest.mark.parametrize("command", COMMANDS)
def test_shard_that_is_no_shard(place, capfd, command, how, runner):
    shard = place / "data" / "shards" / "00001.safetensors"
    damage(shard, how)
    refused(capfd, place, *argv(place, command, "-r", runner), words=[str(shard)])


@pytest.mark.fast
@pytest.mark.parametrize("command", COMMANDS)
def test_shard_that_is_gone(place, capfd, command):
    shard = place / "data" / "shards" / "00001.safetensors"
    shard.unlink()
    refused(capfd, place, *argv(place, command), words=[str(shard), "prepare"])


@pytest.mark.fast
def test_damage_is_found_when_a_training_goes_on(place, capfd):
    shard = place / "data" / "shards" / "00000.safetensors"
    damage(shard, "flip")
    before = (place / "model" / "model.json").read_bytes()
    refused(capfd, place, "train", "--data", place / "data", "--model", "softmax", "--out",
            place / "model", "--iterations", "3", words=[str(shard), "SHA-256"])
    assert (place / "model" / "model.json").read_bytes() == before


@pytest.mark.fast
def test_restart_removes_nothing_before_the_data_was_read(place, capfd):
    damage(place / "data" / "shards" / "00000.safetensors", "flip")
    refused(capfd, place, "train", "--data", place / "data", "--model", "softmax", "--out",
            place / "model", "--iterations", "2", "--restart", words=["00000.safetensors"])
    assert (place / "model" / "checkpoints" / "00000002.safetensors").is_file()


def edit(path, change) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


DATA_EDITS = {
    "another version": (lambda v: v.update(version=2), ["version 1", "version 2"]),
    "another format": (lambda v: v.update(format="parquet"), ["'mr_gradient data set'", "'parquet'"]),
    "no schema": (lambda v: v.pop("schema"), ["damaged"]),
    "no shards": (lambda v: v.update(train=[]), []),
    "path outside": (lambda v: v["train"][0].update(path="../../x"), ["'../../x'"]),
    "absolute path": (lambda v: v["train"][0].update(path="/etc/passwd"), ["'/etc/passwd'"]),
    "more rows": (lambda v: v["train"][0].update(rows=9999), ["9999"]),
    "fewer rows": (lambda v: v["train"][0].update(rows=1), []),
    "rows as text": (lambda v: v["train"][0].update(rows="7"), ["damaged"]),
    "fewer classes": (lambda v: v["schema"].update(classes=["0", "1"]), []),
    "fewer features": (lambda v: v["schema"].update(features=["f0"]), []),
    "another checksum": (lambda v: v["train"][0].update(sha256="0" * 64), ["SHA-256"]),
}


@pytest.mark.fast
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("change", "words"), DATA_EDITS.values(), ids=DATA_EDITS)
def test_edited_dataset_json(place, capfd, command, change, words):
    edit(place / "data" / "dataset.json", change)
    refused(capfd, place, *argv(place, command), words=words)


@pytest.mark.fast
@pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
@pytest.mark.parametrize("name", ["data/dataset.json", "model/model.json"])
def test_description_that_is_no_json(place, capfd, name, text):
    (place / name).write_bytes(text.encode("latin-1"))
    refused(capfd, place, *argv(place, "evaluate"), words=[name.partition("/")[2], "JSON"])


def replace_tensors(place, capfd, *options: str) -> None:
    """Put another model's tensors into ``place/model``, with a checksum that fits."""
    answer(capfd, "train", "--data", place / "data", "--out", place / "other", "--iterations", "1",
           *options)
    shutil.copy(place / "other" / "model.safetensors", place / "model" / "model.safetensors")
    digest = hashlib.sha256((place / "model" / "model.safetensors").read_bytes()).hexdigest()
    edit(place / "model" / "model.json", lambda value: value.update(sha256=digest))


@pytest.mark.fast
def test_parameters_of_another_model(place, capfd):
    replace_tensors(place, capfd, "--model", "mlp", "--hidden", "4")
    refused(capfd, place, *argv(place, "evaluate"),
            words=["model.safetensors", "(3, 2)", "(4, 2)", "shapes"])


@pytest.mark.fast
@pytest.mark.parametrize("how", ["flip", "cut", "empty"])
def test_damaged_model(place, capfd, how):
    damage(place / "model" / "model.safetensors", how)
    refused(capfd, place, *argv(place, "evaluate"), words=["model.safetensors", "train"])


@pytest.mark.fast
@pytest.mark.parametrize("how", ["flip", "cut", "empty"])
def test_damaged_checkpoint(place, capfd, how):
    """The line names the file, and what to do about it."""
    newest = place / "model" / "checkpoints" / "00000002.safetensors"
    damage(newest, how)
    refused(capfd, place, "train", "--data", place / "data", "--model", "softmax", "--out",
            place / "model", "--iterations", "3", words=[newest.name, "--restart"])


@pytest.mark.fast
def test_moved_data_and_moved_model(place, capfd):
    before = answer(capfd, *argv(place, "evaluate"))
    (place / "data").rename(place / "elsewhere")
    (place / "model").rename(place / "moved")
    after = answer(capfd, "evaluate", "--data", place / "elsewhere", "--model", place / "moved",
                   "--part", "train")
    assert (after["loss"], after["accuracy"]) == (before["loss"], before["accuracy"])
    on = answer(capfd, "train", "--data", place / "elsewhere", "--model", "softmax", "--out",
                place / "moved", "--iterations", "3")
    assert on["iterations"] == 3
    refused(capfd, place, *argv(place, "train"), words=["data", "no such folder", "prepare"])


@pytest.mark.parametrize("runner", ["inline", "local"])
@pytest.mark.parametrize("wrong", ["shape", "type", "names"])
def test_job_with_parameters_of_another_shape(place, tmp_path_factory, runner, wrong):
    model = Linear(features=2, outputs=3, loss="softmax")
    arrays = {name: np.zeros(shape, np.float32) for name, shape in layout(model).shapes}
    if wrong == "shape":
        arrays["weight"] = np.zeros((3, 7), np.float32)
    elif wrong == "type":
        arrays["weight"] = arrays["weight"].astype(np.float64)
    else:
        arrays["weights"] = arrays.pop("weight")
    params, manifest = place / "params.safetensors", place / "manifest.txt"
    broadcast.write(str(params), broadcast.Settings(to_json(model), 2, 3, "float32", 64), [arrays])
    manifest.write_bytes(to_lines(make_splits(open_dataset(str(place / "data")))))
    before = listing(place)
    done = module("mr_gradient.jobs.gradient_job", "-r", runner, "--params", params, manifest,
                  temporary=tmp_path_factory.mktemp("temporary"))
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "Traceback" not in done.stderr
    line, = [line for line in done.stderr.splitlines() if line.startswith("mr-gradient: ")]
    assert "params" in line
    assert {"shape": "(3, 7)", "type": "float64", "names": "weights"}[wrong] in line
    assert listing(place) == before
