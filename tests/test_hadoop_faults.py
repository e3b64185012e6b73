"""Faults while a real Hadoop trains: whatever is killed, the final bits are those of a quiet training.

Tasks are held by ``cluster.brakes`` until the kill has landed, so nothing here is a matter of luck.
Two of them, which do the cluster no harm, run with the other tests. The others have a cluster of their
own, which notices losses soon: pytest -m long tests/test_hadoop_faults.py
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_tools import DIGITS, ROOT, assert_one_line, command
from cluster import HadoopCluster, Options, rest
from cluster.brakes import Brakes, Held
from cluster.processes import parents, with_argument
from trainings import bits

#: A training takes half a minute here, and several of them if the machine is busy.
pytestmark = pytest.mark.timeout(900)
SECONDS = 400

MODEL = ("--model", "softmax", "--learning-rate", "1")
#: A slow machine is no reason for second attempts here.
NO_BACKUPS = ("-D", "mapreduce.map.speculative=false", "-D", "mapreduce.reduce.speculative=false")
#: Of an iteration: one for each of two shards for training, one for the shard that is held out.
MAP_TASKS = 3
#: Middles of patterns for ``Brakes``: the first attempt of one task, and of all.
ONE_MAP, MAPS, REDUCES = r" \w+_m_000000_0 ", r" \w+_m_\d+_0 ", r" \w+_r_\d+_0 "


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> Path:
    """The digits, prepared, beside models that were trained on them in peace."""
    folder = tmp_path_factory.mktemp("digits")
    assert command("prepare", DIGITS, "--out", folder / "digits", "--test-fraction", "0.2",
                   "--shards", "2") == 0
    for iterations in (1, 2):
        assert command("train", "--data", folder / "digits", *MODEL, "--iterations", iterations,
                       "--out", folder / f"model-{iterations}") == 0
    return folder


@pytest.fixture(scope="module")
def own_hadoop(hadoop_jars) -> Iterator[HadoopCluster]:
    """Losses count after ten seconds. The tasks of a job, of 512 MB as its master, need both nodes."""
    with HadoopCluster(Options(expiry_seconds=10, node_memory=1024)) as cluster:
        yield cluster


class Scene:
    """One training on a cluster, ``out``, and all that a test needs to disturb it."""

    def __init__(self, cluster: HadoopCluster, digits: Path, folder: Path) -> None:
        self.cluster, self.yarn = cluster, cluster.resource_manager
        self.digits, self.folder, self.out = digits, folder, folder / "model"
        self.brakes = Brakes(folder / "brakes")
        (folder / "temporary").mkdir()
        self.data = f"digits-{os.getpid()}-{folder.name}"
        cluster.run("fs", "-put", digits / "digits", self.data)
        self._drivers: list[subprocess.Popen] = []
        self._before = self._in_hdfs()

    def start(self, *options: object, iterations: int = 1) -> subprocess.Popen:
        """A driver, in a process of its own. After the iterations it has one more job."""
        self.iterations = iterations
        uri = f"hdfs://{self.cluster.ports.address('name node')}/user/hadoop/{self.data}"
        with open(self.folder / "stderr", "w") as stderr:
            driver = subprocess.Popen(
                [sys.executable, "-m", "mr_gradient", "train", "--data", uri, *MODEL, "--iterations",
                 str(iterations), "--out", str(self.out), "-r", "hadoop", "--python-bin",
                 str(self.brakes.python), "--hadoop-streaming-jar",
                 str(self.cluster.streaming_jar), *NO_BACKUPS, *map(str, options)],
                stdout=subprocess.DEVNULL, stderr=stderr, env=self.cluster.environment(
                    PYTHONPATH=str(ROOT), TMPDIR=str(self.folder / "temporary")))
        self._drivers.append(driver)
        return driver

    def held(self, brake: str, count: int = 1) -> list[Held]:
        """The tasks at a brake, as soon as there are ``count``, while the driver runs."""
        def there() -> list[Held]:
            assert self._drivers[-1].poll() is None, self.said()
            found = self.brakes.held(brake)
            return found if len(found) >= count else []

        return self.wait(f"{count} at the brake {brake}", there)

    def said(self) -> str:
        return (self.folder / "stderr").read_text()

    def job(self, title: str) -> str:
        """Id of the newest application of a job of this training."""
        return [each["id"] for each in self.yarn.applications()
                if each["name"].endswith(title)][-1]

    def attempts(self, id: str) -> dict[str, str]:
        """State of each attempt of each task of a job that has ended, from the job history."""
        job = id.replace("application", "job")
        base = (f"http://{self.cluster.ports.address('history server web')}"
                f"/ws/v1/history/mapreduce/jobs/{job}")
        tasks = self.wait("the history", lambda: rest.get(f"{base}/tasks"))["tasks"]["task"]
        found: dict[str, str] = {}
        for task in tasks:
            attempts = rest.get(f"{base}/tasks/{task['id']}/attempts")["taskAttempts"]["taskAttempt"]
            # A list of one is no list there.
            for each in attempts if isinstance(attempts, list) else [attempts]:
                found[each["id"]] = each["state"]
        return found

    def wait(self, what: str, ready: Callable[[], Any]) -> Any:
        return self.cluster.wait(what, ready, SECONDS)

    def finish(self) -> list[dict]:
        """The driver succeeds, with the bits of a quiet training; returns the lines of the history."""
        assert self._drivers[-1].wait(SECONDS) == 0, self.said()
        assert bits(self.out) == bits(self.digits / f"model-{self.iterations}")
        self.assert_nothing_left()
        return [json.loads(line) for line in (self.out / "history.jsonl").read_text().splitlines()]

    def assert_nothing_left(self) -> None:
        """In HDFS, where YARN takes some seconds for it, and of temporary files."""
        self.wait("HDFS without what was not there before", lambda: self._in_hdfs() <= self._before)
        assert list((self.folder / "temporary").iterdir()) == []
        assert [path for driver in self._drivers
                for path in Path("/dev/shm").glob(f"mr_gradient-{driver.pid}-*")] == []

    def _in_hdfs(self) -> set[str]:
        """Files of drivers and of jobs."""
        user = self.cluster.options.user
        folders = f"/user/{user}", f"/tmp/hadoop-yarn/staging/{user}/.staging"
        return {path for folder in folders for path in self.cluster.listed(folder)}

    def close(self) -> None:
        """No driver, held task or job is left behind, whatever happened."""
        for driver in self._drivers:
            driver.kill()
            driver.wait()
        for each in self.yarn.applications("NEW,SUBMITTED,ACCEPTED,RUNNING"):
            with contextlib.suppress(OSError):
                self.yarn.kill(each["id"], self.cluster.options.user)
        self.brakes.release()
        self.cluster.run("fs", "-rm", "-r", "-f", "-skipTrash", self.data)


@pytest.fixture
def quick(hadoop, digits, tmp_path) -> Iterator[Scene]:
    """On the cluster that all tests share, for what only harms the training itself."""
    with contextlib.closing(Scene(hadoop, digits, tmp_path)) as scene:
        yield scene


@pytest.fixture
def scene(own_hadoop, digits, tmp_path) -> Iterator[Scene]:
    """On a cluster that tests may hurt; they mend it."""
    with contextlib.closing(Scene(own_hadoop, digits, tmp_path)) as scene:
        yield scene


def kill(pid: int) -> None:
    """SIGKILL, for a process that lives."""
    assert pid in parents()
    os.kill(pid, signal.SIGKILL)


def gone(scene: Scene, *pids: int) -> None:
    """A process that was killed is there until it has been reaped."""
    assert scene.wait("the end of what was killed", lambda: not set(pids) & set(parents()))


# Those that run with the other tests


def test_the_python_of_a_map_task(quick):
    """In the middle of its first record."""
    quick.brakes.put("map", f"iteration 2{ONE_MAP}.*output")
    quick.start(iterations=2)
    [task] = quick.held("map")
    kill(task.pid)
    lines = quick.finish()
    states = quick.attempts(quick.job("iteration 2"))
    assert states.pop(task.attempt) == "FAILED"
    assert set(states.values()) == {"SUCCEEDED"}
    assert lines[1]["job"]["failed_map_tasks"] == 1


def test_the_driver(quick):
    """The next one ends the job that is left, goes on after the checkpoint, and leaves nothing."""
    quick.brakes.put("map", f"iteration 2{ONE_MAP}.*output")
    driver = quick.start(iterations=2)
    [task] = quick.held("map")
    left = quick.job("iteration 2")
    driver.kill()
    driver.wait()
    assert quick.yarn.application(left)["state"] == "RUNNING"
    again = quick.start(iterations=2)
    quick.wait("the end of the job that was left",
               lambda: quick.yarn.application(left)["finalStatus"] == "KILLED")
    gone(quick, task.pid)
    quick.brakes.release("map")
    assert again.poll() is None
    quick.finish()
    assert "resuming after iteration 1" in quick.said()
    name = quick.yarn.application(left)["name"].split()[0]
    quick.wait("the end of its client", lambda: not with_argument(name))


# Tasks


@pytest.mark.long
@pytest.mark.parametrize(("step", "tasks", "what"), [
    ("map", ONE_MAP, "java"), ("reduce", REDUCES, "pid"), ("reduce", REDUCES, "java")])
def test_a_task_or_its_java(scene, step, tasks, what):
    """In the middle of its first record."""
    scene.brakes.put(step, f"iteration 1{tasks}.*output")
    scene.start()
    [task] = scene.held(step)
    kill(getattr(task, what))
    scene.finish()
    scene.brakes.release()
    gone(scene, task.pid)
    states = scene.attempts(scene.job("iteration 1"))
    assert states.pop(task.attempt) == "FAILED"
    assert set(states.values()) == {"SUCCEEDED"}


@pytest.mark.long
def test_a_task_that_is_always_killed(scene):
    """One line for the user, and no more attempts than Hadoop allows."""
    scene.brakes.put("kill", r"iteration 1 \w+_m_000000_\d+ .*output")
    assert scene.start().wait(SECONDS) == 1
    assert_one_line(scene.said(), ("the job failed on Hadoop", "killed by signal 9", "yarn logs"))
    assert [each.rpartition("_")[2] for each in scene.brakes.came("kill")] == ["0", "1", "2", "3"]
    assert scene.yarn.application(scene.job("iteration 1"))["finalStatus"] == "FAILED"
    assert not scene.out.exists()
    scene.assert_nothing_left()


@pytest.mark.long
def test_a_task_whose_shard_is_gone(scene):
    """The last attempt tells the driver."""
    shard = f"{scene.data}/shards/00001.safetensors"
    scene.cluster.run("fs", "-rm", "-skipTrash", shard)
    assert scene.start("--no-node-cache", "-D", "mapreduce.map.maxattempts=2").wait(SECONDS) == 2
    assert_one_line(scene.said(), (shard, "no such file; prepare the data set again"))
    states = scene.attempts(scene.job("iteration 1"))
    assert list(states.values()).count("FAILED") == 1
    scene.assert_nothing_left()


@pytest.mark.long
def test_a_slow_task_and_its_backup(scene):
    """Speculative execution: the second attempt overtakes the first, which has begun to write."""
    scene.brakes.put("map", f"iteration 1{ONE_MAP}.*output")
    scene.start("-D", "mapreduce.map.speculative=true")
    [slow] = scene.held("map")
    lines = scene.finish()
    gone(scene, slow.pid)
    states = scene.attempts(scene.job("iteration 1"))
    assert states.pop(slow.attempt) == "KILLED"
    assert states[slow.attempt[:-1] + "1"] == "SUCCEEDED"
    assert lines[0]["job"]["killed_map_tasks"] >= 1


# The application master and the nodes


def master(scene: Scene, id: str) -> dict:
    """The newest attempt of an application master."""
    return scene.yarn.attempts(id)[-1]


def masters(scene: Scene, id: str) -> list[dict]:
    """All attempts, once the last has ended; it stays some seconds after its job."""
    scene.wait("the end of the master", lambda: master(scene, id)["appAttemptState"] == "FINISHED")
    return scene.yarn.attempts(id)


def node_number(host: str) -> int:
    return int(host.rpartition(".")[2]) - 1


@contextlib.contextmanager
def without(scene: Scene, node: int, *daemons: str) -> Iterator[list[int]]:
    """A node whose daemons have been killed with all that they started; they are back at the end."""
    names = [f"{daemon} {node}" for daemon in daemons]
    killed = [pid for name in names for pid in scene.cluster.kill(name)]
    try:
        assert not set(names) & set(scene.cluster.running())
        yield killed
    finally:
        for name in names:
            scene.cluster.start(name)
        scene.wait("the return of the node", lambda: (
            scene.yarn.metrics()["activeNodes"] == 2
            and scene.cluster.name_node()["NumLiveDataNodes"] == 2))


@pytest.mark.long
def test_the_application_master(scene):
    scene.brakes.put("map", f"iteration 1{ONE_MAP}.*output")
    scene.start()
    [task] = scene.held("map")
    id = scene.job("iteration 1")
    for pid in scene.cluster.processes(master(scene, id)["containerId"]):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    scene.finish()
    gone(scene, task.pid)
    assert [each["appAttemptState"] for each in masters(scene, id)] == ["FAILED", "FINISHED"]


@pytest.mark.long
@pytest.mark.parametrize("phase", ["map", "reduce"])
def test_a_node_that_runs_tasks(scene, phase):
    """Held tasks die with it, and what its mappers had finished is computed again."""
    tasks, count = {"map": (MAPS, MAP_TASKS), "reduce": (REDUCES, 1)}[phase]
    scene.brakes.put(phase, f"iteration 1{tasks}.*output")
    scene.start()
    held = scene.held(phase, count)
    id = scene.job("iteration 1")
    node = 3 - node_number(master(scene, id)["nodeId"].partition(":")[0])
    here = [each for each in held if node_number(each.node) == node]
    lost = scene.yarn.metrics()["lostNodes"]
    with without(scene, node, "node manager") as killed:
        assert {each.pid for each in here} <= set(killed)
        scene.wait("the loss", lambda: scene.yarn.metrics()["lostNodes"] > lost)
        # The application master hears of it a moment later.
        scene.wait("the loss of tasks", lambda: scene.yarn.job(id)["job"]["killedMapAttempts"])
        scene.brakes.release(phase)
        lines = scene.finish()
    assert here or phase == "reduce"
    assert lines[0]["job"]["killed_map_tasks"] >= 1
    states = scene.attempts(id)
    assert all(states[each.attempt] == "KILLED" for each in here)


@pytest.mark.long
def test_the_node_of_the_application_master(scene):
    """With it goes whoever knew of the job; another master takes it up."""
    scene.brakes.put("map", f"iteration 1{MAPS}.*output")
    scene.start()
    scene.held("map", MAP_TASKS)
    id = scene.job("iteration 1")
    first = master(scene, id)["nodeId"]
    with without(scene, node_number(first.partition(":")[0]), "node manager"):
        scene.wait("another master", lambda: len(scene.yarn.attempts(id)) == 2)
        scene.brakes.release("map")
        scene.finish()
    states = [(each["appAttemptState"], each["nodeId"]) for each in masters(scene, id)]
    assert states[0] == ("FAILED", first)
    assert states[1][0] == "FINISHED"
    assert states[1][1] != first


@pytest.mark.long
def test_a_data_node(scene):
    """When no task has fetched anything yet: all shards come from the other one."""
    scene.brakes.put("map", f"iteration 1{MAPS}.*start")
    scene.start("--no-node-cache")
    scene.held("map", MAP_TASKS)
    with without(scene, 1, "data node"):
        scene.brakes.release("map")
        scene.wait("the loss", lambda: scene.cluster.name_node()["NumDeadDataNodes"] == 1)
        scene.finish()


# Corruption


@pytest.mark.long
def test_shards_that_are_corrupt_in_the_cache_of_a_node(scene):
    """All of them. They are found by their checksum and fetched anew."""
    scene.brakes.put("map", f"iteration 2{MAPS}.*start")
    scene.start(iterations=2)
    here = [task for task in scene.held("map", MAP_TASKS) if node_number(task.node) == 1]
    assert here
    [cache] = (scene.cluster.folder / "node1").rglob("mr_gradient-cache")
    for shard in (scene.digits / "digits" / "shards").iterdir():
        copy = cache / hashlib.sha256(shard.read_bytes()).hexdigest()
        (cache / "new").write_bytes(flipped(shard.read_bytes()))
        (cache / "new").rename(copy)
    scene.brakes.release("map")
    lines = scene.finish()
    assert lines[1]["job"]["cache_misses"] >= len(here)
    whole = [path for path in cache.iterdir()
             if hashlib.sha256(path.read_bytes()).hexdigest() == path.name]
    assert len(whole) >= len(here)


@pytest.mark.long
def test_replicas_that_are_corrupt(scene):
    """HDFS finds them by its own checksums and reads the others."""
    shards = {path.read_bytes() for path in (scene.digits / "digits" / "shards").iterdir()}
    spoiled = 0
    for path in (scene.cluster.folder / "node1" / "blocks").rglob("blk_*"):
        with contextlib.suppress(FileNotFoundError):  # of earlier tests, on its way out
            if (data := path.read_bytes()) in shards:
                path.write_bytes(flipped(data))
                spoiled += 1
    assert spoiled >= MAP_TASKS
    scene.start("--no-node-cache")
    scene.finish()
    scene.wait("a report", lambda: scene.cluster.name_node("FSNamesystem")["CorruptBlocks"])


def flipped(data: bytes) -> bytes:
    """With another bit in the middle."""
    found = bytearray(data)
    found[len(found) // 2] ^= 1
    return bytes(found)
