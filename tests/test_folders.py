"""Folders in stores, over a store of this process's that can fail at any moment: the lease, the history
in pieces, and a kill between any two changes."""

from __future__ import annotations

import json
import os
import threading
import time

import numpy as np
import pytest

from mr_gradient import checkpoint, history, training_folder
from mr_gradient.checkpoint import Checkpoint
from mr_gradient.errors import DataError, UsageError
from mr_gradient.folders import LEASES, lease, open_folder, store_process
from mr_gradient.folders.at_uri import UriFolder
from mr_gradient.folders.lease import Lease
from mr_gradient.training_folder import TrainingFolder

pytestmark = pytest.mark.fast

URI = "memory://model"


class Killed(BaseException):
    """As a kill: nothing that follows happens."""


class FakeStore:
    """``clock``: the store's own. ``kill``: the number of the change before which all ends."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[bytes, float]] = {}
        self.clock, self.kill, self.changes, self.sent = 1e9, 0, 0, 0
        self.broken = self.saved = 0

    def _change(self) -> None:
        self.changes += 1
        if self.broken:
            self.broken -= 1
            raise OSError(5, "the disk is on fire")
        if self.changes == self.kill:
            raise Killed

    def times(self, below):
        start = f"{below}/" if below else ""
        return {name[len(start):].partition("/")[0]: time for name, (_, time) in self.files.items()
                if name.startswith(start)}

    def read(self, name, stop=None):
        if name not in self.files:
            raise FileNotFoundError(2, name)
        return self.files[name][0][:stop]

    def write(self, name, data):
        if not name.startswith(LEASES):
            self._change()
            self.sent += len(data)
        self.clock += 1
        self.files[name] = bytes(data), self.clock

    def remove(self, names):
        for name in names:
            if not name.startswith(LEASES) and name in self.files:
                self._change()
            self.files.pop(name, None)

    def remove_empty(self):
        pass


class InProcess(UriFolder):
    """All but the process and its pipes."""

    def __init__(self, store: FakeStore) -> None:
        super().__init__(URI)
        self._server = store_process._Server(URI)
        self._server._store = store

    def _ask(self, *request, chunks=()):
        return self._server.do(b"".join(chunks), *request)

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setattr(store_process, "_PAUSES", (0, 0))
    store = FakeStore()
    monkeypatch.setattr(training_folder, "open_folder", lambda place: InProcess(store))
    before = threading.active_count()
    yield store
    assert threading.active_count() == before


PART = np.random.default_rng(1).normal(size=40_000)


def state(iteration: int) -> Checkpoint:
    """With parts that come and go."""
    return Checkpoint(iteration, {"w": np.arange(3.0) + iteration},
                      {f"steps.{i}": PART + i for i in range(iteration - 1, iteration + 1)},
                      {"model": "linear"}, progress={"reason": ""})


def train(store: FakeStore, until: int, restart: bool = False) -> list[int]:
    """What a driver does with the folder; returns the iterations that it has computed."""
    folder, computed = TrainingFolder(URI, restart), []
    try:
        last = folder.newest({"model": "linear"}, until)
        for iteration in range(last.iteration + 1 if last else 1, until + 1):
            computed.append(iteration)
            folder.save({"iteration": iteration, "loss": 1 / iteration}, state(iteration))
            store.saved = iteration
        folder.finish()
    except Killed:
        folder.files._server._lease._ended.set()
        folder.files._server._lease = None  # nobody gives it back
        raise
    finally:
        folder.close()
    return computed


def lines(store: FakeStore) -> list[int]:
    return [json.loads(line)["iteration"] for line in store.read("history.jsonl").splitlines()]


def test_a_folder_holds_what_a_local_one_does(store, tmp_path, monkeypatch):
    assert train(store, 4) == [1, 2, 3, 4]
    stored = {name: data for name, (data, _) in store.files.items()}
    monkeypatch.undo()
    folder = TrainingFolder(str(tmp_path), False)
    assert folder.newest({"model": "linear"}, 4) is None
    for iteration in range(1, 5):
        folder.save({"iteration": iteration, "loss": 1 / iteration}, state(iteration))
    folder.close()
    local = {path.relative_to(tmp_path).as_posix(): path.read_bytes()
             for path in tmp_path.rglob("*") if path.is_file()}
    assert stored.keys() == local.keys()
    assert {name for name in local if local[name] != stored[name]} == {
        f"checkpoints/{iteration:08d}.safetensors" for iteration in (3, 4)}  # they have the tail
    found = checkpoint.load(str(tmp_path), 4)
    assert found.history_bytes == len(local["history.jsonl"])


@pytest.mark.parametrize("restarted", [False, True])
def test_a_kill_before_any_change_costs_at_most_an_iteration(store, monkeypatch, restarted):
    """A lease that is left is known to be, since its process is gone."""
    monkeypatch.setattr(lease, "_has_gone", lambda owner: True)
    monkeypatch.setattr(history, "_TAIL_BYTES", 60)  # two lines
    monkeypatch.setattr(history, "_TAIL_SECONDS", float("inf"))

    def begun() -> int:
        store.files.clear()
        if restarted:
            train(store, 3)
        store.saved = 0
        return store.changes

    before = begun()
    train(store, 4, restarted)
    changes = store.changes - before
    assert changes > 15
    train(store, 6)
    whole = dict(store.files)
    for number in range(1, changes + 1):
        store.kill = begun() + number
        with pytest.raises(Killed):
            train(store, 4, restarted)
        store.kill = 0
        kept = checkpoint.iterations(InProcess(store))
        assert (kept or [0])[-1] >= store.saved  # the iteration in the making is lost, no other
        assert train(store, 6) == list(range((kept or [0])[-1] + 1, 7))
        assert store.files.keys() == whole.keys()
        for name in ("history.jsonl", "training.json"):
            assert store.read(name) == whole[name][0]
        for iteration in (5, 6):
            found, name = checkpoint.load(InProcess(store), iteration), f"steps.{iteration}"
            assert found.parameters["w"].tobytes() == (np.arange(3.0) + iteration).tobytes()
            assert found.optimizer[name].tobytes() == (PART + iteration).tobytes()


def test_another_configuration_and_another_folder_are_told(store):
    train(store, 2)
    before = dict(store.files)
    folder = TrainingFolder(URI, False)
    with pytest.raises(UsageError, match=r"another configuration: --model was linear and is mlp"):
        folder.newest({"model": "mlp"}, 2)
    folder.close()
    assert store.files == before
    store.files = {"notes.txt": (b"x", 1.0)}
    with pytest.raises(UsageError, match=r"^--out memory://model: must be empty.*\('notes.txt'\)"):
        TrainingFolder(URI, False)
    assert list(store.files) == ["notes.txt"]
    store.files = {"training.json": (b"{", 1.0)}
    with pytest.raises(UsageError, match=r"its training.json is damaged"):
        TrainingFolder(URI, False)


def test_two_begin_at_once(store):
    """The second is refused before it computes anything, and the first goes on."""
    first = TrainingFolder(URI, False)
    with pytest.raises(UsageError, match=rf"another process is training in this folder \(number "
                                         rf"{os.getpid()} on .*\); wait for it"):
        TrainingFolder(URI, False)
    assert len(store.files) == 1
    first.newest({"model": "linear"}, 1)
    first.save({"iteration": 1}, state(1))
    with pytest.raises(UsageError, match="another process is training"):
        TrainingFolder(URI, True)
    first.close()
    assert train(store, 2) == [2]
    late = TrainingFolder(URI, False)
    late._ours = False  # as if it had looked before the first one began
    with pytest.raises(UsageError, match="another training has begun in this folder meanwhile"):
        late.save({"iteration": 1}, state(1))
    late._ours = True
    late.close()


def test_a_store_that_fails_is_asked_again(store):
    folder = TrainingFolder(URI, False)
    folder.newest({"model": "linear"}, 9)
    folder.save({"iteration": 1}, state(1))
    store.broken = 2
    folder.save({"iteration": 2}, state(2))
    store.broken = 1000
    with pytest.raises(UsageError, match=r"^memory://model/\S+: cannot be written: the disk is on "
                                         "fire; run the same command again to go on$"):
        folder.save({"iteration": 3}, state(3))
    folder.close()
    store.broken = 0
    assert train(store, 4) == [3, 4]
    assert lines(store) == [1, 2, 3, 4]


def test_the_history_costs_little(store, monkeypatch):
    """10,000 lines of 100 bytes are 1 MB: each goes once with its checkpoint, and in few files."""
    monkeypatch.setattr(history, "_TAIL_SECONDS", float("inf"))
    folder = InProcess(store)
    folder.lock()
    kept = history.StoredHistory.__new__(history.StoredHistory)
    monkeypatch.setattr(folder, "lock", lambda: None)
    kept.__init__(folder)
    kept.cut(0)
    longest = 0
    for iteration in range(10_000):
        length = kept.append({"iteration": iteration, "text": "x" * 70})
        longest = max(longest, len(kept.tail))
    kept.flush()
    assert len(store.read("history.jsonl")) == length
    assert longest <= 64 * 1024
    assert store.sent < 10 * length
    folder.close()


@pytest.mark.parametrize("missing", [0, 5])
def test_a_history_that_lacks_lines_is_damaged(store, missing):
    train(store, 2)
    data, time = store.files["history.jsonl"]
    store.files["history.jsonl"] = data[:missing], time
    with pytest.raises(DataError, match=r"history.jsonl: must have at least \d+ bytes, and has"):
        train(store, 3)


def test_leases(monkeypatch):
    store = FakeStore()
    one = Lease(store, URI, os.getpid())
    with pytest.raises(UsageError, match="if it was lost with its machine, this lock ends 3 minutes"):
        Lease(store, URI, os.getpid())
    assert len(store.files) == 1
    store.clock += lease.ABANDONED_SECONDS + 1  # it has said nothing for so long
    other = Lease(store, URI, os.getpid())
    assert len(store.files) == 1
    one.check()  # it has just looked
    now = time.time() + 1000
    monkeypatch.setattr(lease.time, "time", lambda: now)
    other.check()
    with pytest.raises(UsageError, match="another process has taken over this folder"):
        one.check()
    one.close()
    other.check()
    assert len(store.files) == 1
    other.close()
    assert store.files == {}


def test_a_process_that_is_gone_has_no_lease():
    """Nor has one whose end nobody has asked about; what worked for it is awaited."""
    store = FakeStore()
    pid, began = os.fork(), time.monotonic()
    if pid == 0:
        time.sleep(0.3)
        os._exit(0)
    worker = {"pid": pid, "begun": lease._begun(pid)}
    store.write(f"{LEASES}/one.json", json.dumps(lease._describe(os.getpid())).encode())
    store.write(f"{LEASES}/zombie.json", json.dumps(
        {**lease._describe(os.getpid()), "pid": pid, "begun": "1", "worker": worker}).encode())
    with pytest.raises(UsageError, match=f"number {os.getpid()} on"):
        Lease(store, URI, os.getpid())
    store.remove([f"{LEASES}/one.json"])
    Lease(store, URI, os.getpid()).close()
    assert store.files == {}
    assert time.monotonic() - began >= 0.3
    os.waitpid(pid, 0)
    # Another machine's numbers say nothing, nor does what cannot be read.
    for content in (json.dumps({"host": "x", "pid": pid, "space": "y", "begun": "1"}), "[]", "?"):
        store.write(f"{LEASES}/other.json", content.encode())
        with pytest.raises(UsageError, match="another process is training"):
            Lease(store, URI, os.getpid())


def test_one_that_begins_while_another_looks_is_refused(monkeypatch):
    store, refused = FakeStore(), []

    def times(below, look=store.times):
        monkeypatch.setattr(store, "times", look)
        with pytest.raises(UsageError, match="another process is training"):
            Lease(store, URI, os.getpid())
        refused.append(1)
        return look(below)

    monkeypatch.setattr(store, "times", times)
    Lease(store, URI, os.getpid()).close()
    assert refused == [1]


def test_a_store_that_lists_late_has_no_lock(store, monkeypatch):
    monkeypatch.setattr(store, "times", lambda below: {})
    with pytest.raises(UsageError, match=r"^--out memory://model: cannot be written: the store does "
                                         "not list a file that was just written, so drivers would "
                                         "not see each other$"):
        TrainingFolder(URI, False)
    assert store.files == {}


def test_a_uri_with_a_password_is_refused():
    with pytest.raises(UsageError) as error:
        open_folder("hdfs://me:geheim@host/model")
    assert "geheim" not in str(error.value)
    assert str(error.value).startswith("hdfs://...@host: a URI must not hold a password")
