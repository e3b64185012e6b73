"""Large arrays that last for many iterations are written once, and go when nobody needs them."""

import itertools
import os

import numpy as np
import pytest

from mr_gradient import checkpoint
from mr_gradient.checkpoint import Checkpoint
from mr_gradient.config import TrainConfig
from mr_gradient.dataset.writer import write_arrays
from mr_gradient.errors import DataError
from mr_gradient.training import train

pytestmark = pytest.mark.fast

SIZE = 70_000
VECTORS = [np.random.default_rng(i).normal(size=SIZE).astype(np.float32) for i in range(8)]
MEMORY = 3


def example(iteration, vectors=VECTORS):
    """A state that remembers the last few vectors, and other arrays, large and small."""
    kept = vectors[max(0, iteration - MEMORY):iteration]
    pairs = {f"curvature.steps.{i}": vector for i, vector in enumerate(kept)}
    rest = {"gradient": np.full(SIZE, iteration, np.float32), "small.0": np.arange(iteration)}
    return Checkpoint(iteration, {"0.weight": np.full(SIZE, -iteration, np.float32)}, pairs | rest,
                      {"model": "linear"})


def check(out, iteration):
    found, expected = checkpoint.load(out, iteration), example(iteration)
    assert found.optimizer.keys() == expected.optimizer.keys()
    for name, array in expected.optimizer.items():
        assert found.optimizer[name].dtype == array.dtype
        assert found.optimizer[name].tobytes() == array.tobytes()
    assert found.parameters["0.weight"].tobytes() == expected.parameters["0.weight"].tobytes()


def parts(out):
    """Names and inodes of the parts: a file that is written again has another inode."""
    return {entry.name: entry.inode() for entry in os.scandir(os.path.join(out, "checkpoints"))
            if entry.name.startswith("part-")}


@pytest.fixture
def out(tmp_path):
    for iteration in range(1, 5):
        checkpoint.save(str(tmp_path), example(iteration))
    return str(tmp_path)


def test_a_vector_is_written_once_and_the_rest_lies_in_the_checkpoint(tmp_path):
    out, before = str(tmp_path), {}
    for iteration in range(1, 8):
        checkpoint.save(out, example(iteration))
        check(out, iteration)
        now = parts(out)
        assert len(now) == min(iteration, MEMORY + 1)  # of two checkpoints
        assert len(now.keys() - before.keys()) == 1
        assert all(now[name] == inode for name, inode in before.items() if name in now)
        before = now
    check(out, 6)


def test_the_same_numbers_in_another_array_are_not_written_again(out):
    """As after a resume, whose state holds copies."""
    before = parts(out)
    checkpoint.save(out, example(5, [vector.copy() for vector in VECTORS]))
    check(out, 5)
    assert len(parts(out).items() - before.items()) == 1


def test_an_array_in_the_place_of_a_freed_one_is_not_taken_for_it(tmp_path):
    for iteration in range(1, 6):
        vectors = [np.full(SIZE, iteration, np.float32)]
        checkpoint.save(str(tmp_path), Checkpoint(iteration, {}, {"steps.0": vectors[0]}, {}))
        assert checkpoint.load(str(tmp_path), iteration).optimizer["steps.0"][0] == iteration
        del vectors


def test_removing_all_checkpoints_removes_all_parts(out):
    checkpoint.remove(out, 4)
    check(out, 3)
    checkpoint.remove(out, 3)
    assert os.listdir(os.path.join(out, "checkpoints")) == []


def interrupt(monkeypatch, call):
    """The ``call``-th change of a folder does not happen: Ctrl-C comes before it. Or is there none?"""
    calls = itertools.count(1)

    def interrupted(original):
        def changed(*arguments):
            if ".tmp-" not in os.fspath(arguments[-1]) and next(calls) == call:
                raise KeyboardInterrupt
            original(*arguments)
        return changed

    for name in ("replace", "unlink"):
        monkeypatch.setattr(os, name, interrupted(getattr(os, name)))


@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_an_interrupt_between_any_two_changes_loses_nothing(out, monkeypatch, call):
    """A part, the checkpoint, the removal of the third last one, and of the part that it alone had."""
    with monkeypatch.context() as patch:
        interrupt(patch, call)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(out, example(5))
    kept = checkpoint.iterations(out)
    assert kept == [[3, 4], [3, 4], [3, 4, 5], [4, 5]][call - 1]
    for iteration in kept:
        check(out, iteration)
    checkpoint.remove_leftovers(out)
    assert len(parts(out)) == [4, 4, 5, 4][call - 1]
    checkpoint.save(out, example(kept[-1] + 1))
    for iteration in checkpoint.iterations(out):
        check(out, iteration)
    assert len(parts(out)) == MEMORY + 1


def test_a_save_makes_no_more_changes_than_those(out, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, 5)
        checkpoint.save(out, example(5))


def test_a_missing_part_is_named(out):
    checkpoint.remove(out, 3)
    name = min(parts(out))
    os.unlink(os.path.join(out, "checkpoints", name))
    with pytest.raises(DataError, match=f"{name}.*No such file.*a part of the checkpoint.*--restart"):
        checkpoint.load(out, 4)


@pytest.mark.parametrize("damage", [
    lambda data: data[:-1], lambda data: data[:1000] + b"?" + data[1001:],
    lambda data: data.replace(b"70000", b"69999"), lambda data: b""])
def test_a_damaged_part_is_named(out, damage):
    names = parts(out)
    for name in names:
        path = os.path.join(out, "checkpoints", name)
        with open(path, "rb") as file:
            data = file.read()
        with open(path, "wb") as file:
            file.write(damage(data))
    with pytest.raises(DataError, match=r"part-[0-9a-f]{64}\.safetensors.*remove that to go on from"):
        checkpoint.load(out, 4)


def test_no_part_goes_while_a_checkpoint_cannot_be_read(out):
    """It may be the other one that is damaged, and its parts still wanted by the user."""
    before = parts(out)
    with open(os.path.join(out, "checkpoints", "00000004.safetensors"), "r+b") as file:
        file.truncate(100)
    checkpoint.remove_leftovers(out)
    assert parts(out) == before
    check(out, 3)


def folder(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_a_training_goes_on_from_parts_and_restart_removes_them(tmp_path):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(12, SIZE)).astype(np.float32)
    data = write_arrays(str(tmp_path / "data"), x, generator.integers(0, 2, 12).astype(np.uint8),
                        classes=("0", "1"), shards=2).folder

    def run(out, iterations, **more):
        train(TrainConfig(data, str(tmp_path / out), "logistic", optimizer="lbfgs", memory=2, l2=1e-3,
                          iterations=iterations, runner_options=["--num-cores", "1"], **more))
        return parts(tmp_path / out)

    assert len(run("whole", 6)) >= 4  # steps and changes of two iterations at least
    for iterations in range(1, 7):
        pieces = run("pieces", iterations)
    assert pieces.keys() == parts(tmp_path / "whole").keys()
    whole, resumed = (folder(tmp_path / out / "checkpoints") for out in ("whole", "pieces"))
    assert {name for name in whole if whole[name] == resumed[name]} >= pieces.keys()
    for iteration in (5, 6):
        one, other = (checkpoint.load(str(tmp_path / out), iteration) for out in ("whole", "pieces"))
        assert all(one.optimizer[name].tobytes() == other.optimizer[name].tobytes()
                   for name in one.optimizer)
    assert run("pieces", 1, restart=True) == {}
