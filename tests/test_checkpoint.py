"""Law 5: a checkpoint is whole or absent, and holds every bit that going on needs."""

import errno
import os
import resource

import numpy as np
import pytest

from mr_gradient import checkpoint, tensors
from mr_gradient.checkpoint import Checkpoint
from mr_gradient.errors import DataError, UsageError

pytestmark = pytest.mark.fast


def example(iteration, size=6):
    generator = np.random.default_rng(iteration)
    weight = generator.normal(size=(2, size // 2)).astype(np.float32)
    weight[0, :3] = np.nan, -0.0, np.inf
    return Checkpoint(iteration, {"0.weight": weight, "0.bias": np.array([5e-324, -0.0])},
                      {"velocity": generator.normal(size=size), "step": np.array(iteration)},
                      {"model": "mlp", "hidden": [4, 2], "learning_rate": 0.1, "data": "ümlaut"},
                      1234)


def same(found, expected):
    for one, other in ((found.parameters, expected.parameters), (found.optimizer, expected.optimizer)):
        assert one.keys() == other.keys()
        for name, array in other.items():
            assert (one[name].dtype, one[name].shape) == (array.dtype, array.shape)
            assert one[name].tobytes() == array.tobytes()
    assert (found.iteration, found.identity, found.history_bytes) == (
        expected.iteration, expected.identity, expected.history_bytes)


def files(out):
    return sorted(os.listdir(os.path.join(out, "checkpoints")))


def test_round_trip_is_bit_exact(tmp_path):
    out = str(tmp_path / "model")
    checkpoint.save(out, example(3))
    same(checkpoint.load(out, 3), example(3))


def test_round_trip_without_any_state(tmp_path):
    empty = Checkpoint(0, {"weight": np.zeros((0, 3))}, {}, {}, 0)
    checkpoint.save(str(tmp_path), empty)
    same(checkpoint.load(str(tmp_path), 0), empty)


def test_the_last_two_are_kept_and_nothing_else_is_touched(tmp_path):
    out = str(tmp_path)
    assert checkpoint.iterations(out) == []
    (tmp_path / "checkpoints").mkdir()
    strangers = ["00000001.safetensors.bak", "1.safetensors", "notes.txt"]
    for name in strangers:
        (tmp_path / "checkpoints" / name).write_text("not ours")
    for iteration in (1, 2, 3, 10, 11):
        checkpoint.save(out, example(iteration))
    assert checkpoint.iterations(out) == [10, 11]
    assert files(out) == sorted(["00000010.safetensors", "00000011.safetensors", *strangers])
    for iteration in (10, 11):
        same(checkpoint.load(out, iteration), example(iteration))


def test_remove_is_content_with_what_is_absent(tmp_path):
    checkpoint.save(str(tmp_path), example(1))
    checkpoint.remove(str(tmp_path), 1)
    checkpoint.remove(str(tmp_path), 1)
    assert files(tmp_path) == []


def test_every_flipped_bit_is_noticed(tmp_path):
    out = str(tmp_path)
    checkpoint.save(out, example(1))
    path = tmp_path / "checkpoints" / "00000001.safetensors"
    content = path.read_bytes()
    unnoticed = []
    with open(path, "r+b", buffering=0) as file:
        for position, byte in enumerate(content):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), position)
                try:
                    checkpoint.load(out, 1)
                    unnoticed.append((position, bit))
                except DataError:
                    pass
            os.pwrite(file.fileno(), content[position:position + 1], position)
    assert unnoticed == []
    same(checkpoint.load(out, 1), example(1))


def test_every_truncation_is_noticed(tmp_path):
    out = str(tmp_path)
    checkpoint.save(out, example(1))
    path = tmp_path / "checkpoints" / "00000001.safetensors"
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"00000001\.safetensors"):
            checkpoint.load(out, 1)


def test_another_safetensors_file_is_refused(tmp_path):
    checkpoint.save(str(tmp_path), example(1))
    path = tmp_path / "checkpoints" / "00000001.safetensors"
    path.write_bytes(b"".join(tensors.to_chunks({"parameters.w": np.ones(3)})))
    with pytest.raises(DataError, match="its checksum does not fit"):
        checkpoint.load(str(tmp_path), 1)
    with pytest.raises(DataError, match="No such file"):
        checkpoint.load(str(tmp_path), 2)


def fail_at(monkeypatch, name, call, error):
    """The ``call``-th use of ``os.<name>`` raises ``error``."""
    original, calls = getattr(os, name), []

    def failing(*arguments, **options):
        calls.append(arguments)
        if len(calls) == call:
            raise error
        return original(*arguments, **options)

    monkeypatch.setattr(os, name, failing)


def check_old_ones(out, also=()):
    assert files(out) == [f"{number:08d}.safetensors" for number in (1, 2, *also)]
    for iteration in (1, 2, *also):
        same(checkpoint.load(out, iteration), example(iteration))


@pytest.fixture
def out(tmp_path):
    """A training that has two checkpoints."""
    for iteration in (1, 2):
        checkpoint.save(str(tmp_path), example(iteration))
    return str(tmp_path)


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
errors = pytest.mark.parametrize(("error", "raised"), [(FULL, UsageError),
                                                       (KeyboardInterrupt(), KeyboardInterrupt)])


@errors
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_failure_before_the_rename_leaves_the_old_ones_alone(
        out, monkeypatch, function, error, raised):
    with monkeypatch.context() as patch:
        fail_at(patch, function, 1, error)
        with pytest.raises(raised):
            checkpoint.save(out, example(3))
    check_old_ones(out)


@errors
def test_a_failure_after_the_rename_leaves_the_new_one_too(out, monkeypatch, error, raised):
    with monkeypatch.context() as patch:
        fail_at(patch, "fsync", 2, error)  # the folder's
        with pytest.raises(raised):
            checkpoint.save(out, example(3))
    check_old_ones(out, also=(3,))


@errors
def test_a_failure_between_writes_leaves_the_old_ones_alone(out, monkeypatch, error, raised):
    original = tensors.to_chunks

    def interrupted(*arguments):
        yield from original(*arguments)[:2]
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(tensors, "to_chunks", interrupted)
        with pytest.raises(raised):
            checkpoint.save(out, example(3))
    check_old_ones(out)


def test_a_file_that_may_not_grow_leaves_the_old_ones_alone(out):
    """A write that the system itself cuts short, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, limits[1]))
    try:
        with pytest.raises(UsageError, match=r"00000003\.safetensors: cannot be written: File too"):
            checkpoint.save(out, example(3, size=100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    check_old_ones(out)


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="the folder cannot be made"):
        checkpoint.save(str(tmp_path / "file"), example(1))
