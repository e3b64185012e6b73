"""Shards kept on the node: fetched once, whole, private, bounded, whoever is killed or comes late."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from http_store import HttpStore
from trainings import ROOT

from mr_gradient import storage
from mr_gradient.dataset import cache_folder, fetching, node_cache, shards
from mr_gradient.dataset.node_cache import NodeCache, open_shard_file
from mr_gradient.dataset.writer import write_arrays
from mr_gradient.errors import DataError, UsageError

pytestmark = pytest.mark.fast

CONTENT = np.random.default_rng(3).bytes(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
#: A task: says that it is about to begin, then what it read and how.
TASK = """
import hashlib, sys
from mr_gradient.dataset import node_cache
print("begins", flush=True)
with node_cache.open_shard_file(sys.argv[1], sys.argv[2]) as file:
    print(hashlib.sha256(file.read()).hexdigest(), node_cache.counts.hits, node_cache.counts.misses)
"""


@pytest.fixture
def store(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store/shard").write_bytes(CONTENT)
    store = HttpStore(tmp_path / "store")
    yield store
    store.close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """The folder of the cache; what was checked and counted starts anew."""
    monkeypatch.setenv("MR_GRADIENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(node_cache, "_checked", set())
    monkeypatch.setattr(node_cache, "counts", node_cache.Counts())
    monkeypatch.setattr(fetching, "PAUSE_SECONDS", 0.01)
    return tmp_path / "cache"


def task(store: HttpStore) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", TASK, store.uri("shard"), SHA256],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "PYTHONPATH": str(ROOT)})


def ended(process: subprocess.Popen) -> list[str]:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.split()[-3:]


def read(store: HttpStore, sha256: str = SHA256) -> bytes:
    with open_shard_file(store.uri("shard"), sha256) as file:
        return file.read()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def many(store: HttpStore, count: int, size: int = 1000) -> list[str]:
    """Checksums of files of ``size`` bytes in the store, each called by its own."""
    data = [bytes([number]) * size for number in range(count)]
    found = [hashlib.sha256(each).hexdigest() for each in data]
    for name, each in zip(found, data):
        (store.folder / name).write_bytes(each)
    return found


def test_a_shard_is_fetched_once(store, cache):
    assert read(store) == CONTENT
    (store.folder / "shard").unlink()  # nobody asks for it again
    assert read(store) == CONTENT
    assert store.asked == ["/shard"]
    counts = node_cache.counts
    assert (counts.hits, counts.misses, counts.bytes) == (1, 1, len(CONTENT))
    assert counts.seconds > 0
    assert names(cache) == [SHA256]
    assert (cache / SHA256).stat().st_mode & 0o777 == 0o600


def test_twenty_tasks_at_once_fetch_it_once(store, cache):
    waiting = threading.Event()

    def send(_: str, data: bytes, write) -> None:
        write(data[:1000])
        waiting.wait(30)  # until all have begun
        write(data[1000:])

    store.send = send
    tasks = [task(store) for _ in range(20)]
    for each in tasks:
        assert each.stdout.readline() == "begins\n"
    time.sleep(0.1)
    waiting.set()
    found = [ended(each) for each in tasks]
    assert {each[0] for each in found} == {SHA256}
    assert sorted(each[1:] for each in found) == sorted([["0", "1"]] + [["1", "0"]] * 19)
    assert store.asked == ["/shard"]
    assert names(cache) == [SHA256]


@pytest.mark.parametrize("sent", [0, 1, len(CONTENT) // 2, len(CONTENT) - 1])
def test_another_task_fetches_when_the_fetcher_is_killed(store, cache, sent):
    reached, over = threading.Event(), threading.Event()

    def send(_: str, data: bytes, write) -> None:
        if len(store.asked) == 1:
            write(data[:sent])
            reached.set()
            over.wait(30)
        write(data)

    store.send = send
    fetcher = task(store)
    assert reached.wait(30)
    part = cache / f"{SHA256}.part"
    assert part.exists()
    others = [task(store) for _ in range(3)]
    for each in others:
        assert each.stdout.readline() == "begins\n"
    assert all(each.poll() is None for each in others)
    fetcher.kill()
    assert fetcher.wait() == -signal.SIGKILL
    fetcher.communicate()
    found = [ended(each) for each in others]
    over.set()
    assert {each[0] for each in found} == {SHA256}
    assert sorted(each[1:] for each in found) == [["0", "1"], ["1", "0"], ["1", "0"]]
    assert store.asked == ["/shard"] * 2
    assert names(cache) == [SHA256]


def test_kills_at_any_moment_leave_nothing_harmful(store, cache):
    """Before, in and after the fetch, which takes about 20 ms."""
    store.send = lambda _, data, write: [write(data[at:at + 50_000]) or time.sleep(0.001)
                                         for at in range(0, len(data), 50_000)]
    draw = random.Random(5)
    for _ in range(16):
        process = task(store)
        process.stdout.readline()
        time.sleep(draw.uniform(0, 0.06))
        process.kill()
        process.communicate()
        assert not cache.exists() or names(cache) in ([], [SHA256], [f"{SHA256}.part"])
        (cache / SHA256).unlink(missing_ok=True)
    assert read(store) == CONTENT
    assert names(cache) == [SHA256]


@pytest.mark.parametrize("damage", [
    lambda path: path.write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])),
    lambda path: os.truncate(path, 1000), lambda path: os.truncate(path, 0)])
def test_a_corrupt_file_is_fetched_again(store, cache, damage):
    read(store)
    damage(cache / SHA256)
    assert ended(task(store)) == [SHA256, "0", "1"]
    assert (cache / SHA256).read_bytes() == CONTENT
    damage(cache / SHA256)
    assert read(store) == CONTENT  # by the process that had checked the file as it was
    assert store.asked == ["/shard"] * 3


def test_what_is_not_what_the_checksum_says_is_not_kept(store, cache):
    with pytest.raises(DataError, match=rf"^shard http://.*/shard: cannot be read: its SHA-256 must be "
                                        rf"{'0' * 64}, found {SHA256}: .*prepare the data set again$"):
        read(store, "0" * 64)
    assert store.asked == ["/shard"] * fetching.TRIES
    assert names(cache) == []


def test_a_connection_that_breaks_is_tried_again(store, cache):
    def send(_: str, data: bytes, write) -> None:
        write(data if len(store.asked) % 3 == 0 else data[:5000])

    store.send = send
    assert read(store) == CONTENT
    assert len(store.asked) == 3
    os.unlink(cache / SHA256)
    store.send = lambda _, data, write: write(data[:5000])
    with pytest.raises(DataError, match=r"the connection ended 695000 bytes too soon$"):
        read(store)
    assert len(store.asked) == 6
    assert names(cache) == []


def test_a_shard_that_is_not_there(store, cache):
    with pytest.raises(DataError, match=r"^shard http://.*/none: no such file; prepare the data set"):
        open_shard_file(store.uri("none"), SHA256)
    assert store.asked == ["/none"]
    store.close()
    with pytest.raises(DataError, match=r"^shard http://.*/shard: cannot be read: .*refused"):
        read(store)
    assert names(cache) == []


def test_whoever_waits_in_vain_fetches_for_itself(store, cache, monkeypatch):
    """The holder of the part lives, and does nothing."""
    monkeypatch.setattr(node_cache, "STALLED_SECONDS", 0.2)
    read(store)
    (cache / SHA256).rename(cache / f"{SHA256}.part")
    with open(cache / f"{SHA256}.part", "r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert read(store) == CONTENT
        assert names(cache) == [SHA256, f"{SHA256}.part"]
    NodeCache(str(cache)).trim()
    assert names(cache) == [SHA256]


def test_the_least_recently_opened_go_first(store, cache, monkeypatch):
    monkeypatch.setenv("MR_GRADIENT_CACHE_GB", "3.5e-6")  # three files and a half
    found = many(store, 6)

    def use(number: int) -> None:
        open_shard_file(store.uri(found[number]), found[number]).close()
        time.sleep(0.01)  # a tick of the file system's clock

    for number in (0, 1, 2, 0, 3):
        use(number)
    assert names(cache) == sorted(found[number] for number in (0, 2, 3))
    use(2)
    use(4)
    assert names(cache) == sorted(found[number] for number in (2, 3, 4))


def test_what_is_open_or_mapped_stays(store, cache, monkeypatch):
    x = np.arange(18.0).reshape(9, 2)
    data = write_arrays(str(store.folder / "data"), x, np.zeros(9), shards=3)
    monkeypatch.setenv("MR_GRADIENT_CACHE_GB", "0")
    monkeypatch.setattr(shards, "_open", {})
    uris = [store.uri(f"data/{info.path}") for info in data.train]
    first, second, third = (info.sha256 for info in data.train)
    mapped = shards.open_shard(uris[0], first)
    with open_shard_file(uris[1], second):
        open_shard_file(uris[2], third).close()
        assert names(cache) == sorted([first, second, third])
        NodeCache.usual().trim()
        assert names(cache) == sorted([first, second])
    NodeCache.usual().trim()
    assert names(cache) == [first]
    assert mapped.x.sum() == 15
    del mapped
    shards._open.clear()
    NodeCache.usual().trim()
    assert names(cache) == []


def test_a_file_that_is_removed_by_hand_stays_mapped(store, cache, monkeypatch):
    data = write_arrays(str(store.folder / "data"), np.ones((3, 2)), np.zeros(3), shards=1)
    monkeypatch.setattr(shards, "_open", {})
    shard = shards.open_shard(store.uri("data/shards/00000.safetensors"), data.train[0].sha256)
    os.unlink(cache / data.train[0].sha256)
    assert shard.x.sum() == 6


def test_old_files_and_parts_go_others_stay(store, cache, monkeypatch):
    old, new = many(store, 2)
    open_shard_file(store.uri(old), old).close()
    os.utime(cache / old, (time.time() - 10 * 86400,) * 2)
    (cache / f"{'a' * 64}.part").write_bytes(b"of a killed task")
    (cache / "notes").write_text("not ours")
    monkeypatch.setenv("MR_GRADIENT_CACHE_DAYS", "11")
    NodeCache.usual().trim()
    assert names(cache) == sorted([old, "notes"])
    monkeypatch.setenv("MR_GRADIENT_CACHE_DAYS", "9")
    open_shard_file(store.uri(new), new).close()
    assert names(cache) == sorted([new, "notes"])


def test_half_of_the_free_disk_is_the_bound(store, cache, monkeypatch):
    found = many(store, 3)
    free = os.statvfs_result((1, 1, 0, 0, 2000, 0, 0, 0, 0, 255))  # bytes
    monkeypatch.setattr(os, "statvfs", lambda _: free)
    for name in found:
        open_shard_file(store.uri(name), name).close()
        time.sleep(0.01)
    assert names(cache) == sorted(found[1:])  # (2000 + 3000) / 2


def test_without_the_cache_nothing_stays(store, cache, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with open_shard_file(store.uri("shard"), SHA256, keep=False) as file:
        assert names(temporary) == []
        assert file.read() == CONTENT
    assert not cache.exists()
    assert (node_cache.counts.hits, node_cache.counts.misses) == (0, 1)


@pytest.mark.parametrize(("make", "found"), [
    (lambda path: path.mkdir(0o755), "mode 0755"), (lambda path: path.mkdir(0o710), "mode 0710"),
    (lambda path: path.write_text(""), "a file"),
    (lambda path: path.symlink_to(path.parent / "store"), "a link")])
def test_a_folder_that_is_not_private_is_refused(store, cache, make, found):
    old = os.umask(0)
    try:
        make(cache)
    finally:
        os.umask(old)
    with pytest.raises(UsageError, match=rf"^node cache {cache}: must be a folder of this user alone "
                                         rf"\(mode 0700\), found {found}; set MR_GRADIENT_CACHE to "
                                         r"another folder, or add --no-node-cache$"):
        read(store)
    assert store.asked == []


def test_the_folder_of_another_user_is_refused(store, cache, monkeypatch):
    read(store)
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    with pytest.raises(UsageError, match=rf"found one of user {own};"):
        read(store)


def test_a_folder_that_cannot_be_made(store, cache, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MR_GRADIENT_CACHE", str(tmp_path / "file/cache"))
    with pytest.raises(UsageError, match=r"file/cache: cannot be made: "):
        read(store)


def test_where_the_folder_is(tmp_path, monkeypatch):
    local = tmp_path / "usercache"
    local.mkdir()
    for name, value, folder in (
            ("MR_GRADIENT_CACHE", tmp_path / "given", tmp_path / "given"),
            ("LOCAL_USER_DIRS", f"{local}/,/other/", local / "mr_gradient-cache"),
            ("XDG_CACHE_HOME", tmp_path / "xdg", tmp_path / "xdg/mr_gradient/shards")):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "later"))
        monkeypatch.setenv(name, str(value))
        assert cache_folder.find() == str(folder)
        assert folder.stat().st_mode & 0o777 == 0o700
        monkeypatch.delenv(name)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cache_folder.find() == str(tmp_path / f"mr_gradient-cache-{os.geteuid()}")
    monkeypatch.setenv("MR_GRADIENT_CACHE", "relative")
    with pytest.raises(UsageError, match=r"^MR_GRADIENT_CACHE: must be an absolute path, found 'rel"):
        cache_folder.find()


@pytest.mark.parametrize("value", ["x", "-1", "inf", "nan"])
@pytest.mark.parametrize("name", [node_cache.GIGABYTES, node_cache.DAYS])
def test_settings_that_are_no_numbers(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=rf"^{name}: must be a number from 0, found '{value}'$"):
        NodeCache.usual()


def test_a_disk_that_is_full(store, cache):
    """The error names the folder here, and is not the source's fault."""
    class Full:
        name = "/cache/part"

        def truncate(self) -> None:
            pass

        def seek(self, _: int) -> None:
            pass

        def write(self, _: bytes) -> None:
            raise OSError(28, os.strerror(28))

    with pytest.raises(DataError, match=r"^/cache/part: a shard cannot be written there: No space"):
        fetching.copy_checked(store.uri("shard"), SHA256, Full())
    assert store.asked == ["/shard"]


def test_hashing_by_a_descriptor(tmp_path):
    (tmp_path / "x").write_bytes(CONTENT)
    assert storage.sha256(os.open(tmp_path / "x", os.O_RDONLY)) == SHA256
