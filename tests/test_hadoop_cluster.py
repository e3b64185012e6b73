"""The real Hadoop that other tests use: it works, its parts can be killed, and it leaves nothing."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import word_count_job
from cluster import HadoopCluster, Missing, Options, jars
from cluster.processes import parents, with_argument
from cluster.supervisor import PREFIX

ROOT = Path(__file__).resolve().parent.parent
TEXT = "to be or not\nto be\n"


@pytest.fixture(scope="module")
def text(hadoop, tmp_path_factory):
    """Path in HDFS of a small text."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT)
    hadoop.run("fs", "-put", path, "text.txt")
    return "text.txt"


def test_the_daemons_are_processes_of_their_own(hadoop):
    assert hadoop.running() == [
        "name node", "resource manager", "node manager 1", "node manager 2", "data node 1",
        "data node 2", "history server"]
    assert len({node["nodeHostName"] for node in hadoop.resource_manager.nodes()}) == 2
    assert "Hadoop 3." in hadoop.run("version")


def test_hdfs_keeps_a_file_twice(hadoop, text):
    assert hadoop.run("fs", "-cat", text) == TEXT
    assert re.search(rf" 2 hadoop hdfs +{len(TEXT)} .* text.txt", hadoop.run("fs", "-ls", text))
    assert hadoop.wait("two replicas",
                       lambda: hadoop.name_node("FSNamesystem")["UnderReplicatedBlocks"] == 0)


def test_the_user_of_hdfs_is_an_ordinary_one(hadoop, text):
    with pytest.raises(RuntimeError, match="Permission denied: user=hadoop"):
        hadoop.run("fs", "-cp", text, "/stranger")
    with pytest.raises(RuntimeError, match="Permission denied: user=other"):
        hadoop.run("fs", "-rm", f"/user/hadoop/{text}", user="other")


def test_a_bare_streaming_job(hadoop, text):
    hadoop.run("jar", hadoop.streaming_jar, "-D", "mapreduce.job.name=bare", "-input", text,
               "-output", "bare", "-mapper", "cat", "-reducer", "cat")
    assert hadoop.run("fs", "-cat", "bare/part-*").replace("\t", "") == "to be\nto be or not\n"
    [job] = [each for each in hadoop.resource_manager.applications() if each["name"] == "bare"]
    assert (job["finalStatus"], job["user"]) == ("SUCCEEDED", "hadoop")


def test_a_job_of_mrjob(hadoop, tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    # Hadoop's clients find no file whose path has a space, and a checkout may have one.
    job, python = tmp_path / "word_count_job.py", tmp_path / "python"
    shutil.copy(word_count_job.__file__, job)
    python.write_text(f"#!/bin/sh\nexec '{sys.executable}' \"$@\"\n")
    python.chmod(0o755)
    (tmp_path / "checkout").symlink_to(ROOT)
    done = subprocess.run(
        [sys.executable, job, "-r", "hadoop", "--hadoop-streaming-jar",
         hadoop.streaming_jar, "--python-bin", python, "--no-bootstrap-mrjob",
         "--cmdenv", f"PYTHONPATH={tmp_path / 'checkout'}", tmp_path / "text.txt"],
        env=hadoop.environment(PYTHONPATH=str(ROOT), TMPDIR=str(tmp_path)), capture_output=True,
        text=True, check=False)
    # mrjob leaves its own folder; other tests look for what is left of theirs.
    hadoop.run("fs", "-rm", "-r", "-f", "-skipTrash", "tmp")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ['"be"\t2', '"not"\t1', '"or"\t1', '"to"\t2']


#: Says where it is, and then does nothing, in a process that can be told by its argument.
MAPPER = """#!/bin/sh
echo "$NODE_NAME" > "$NODE_FOLDER/mark"
sleep 612.5
"""


def test_a_node_manager_dies_with_its_containers(hadoop_jars, tmp_path):
    """And with the cluster everything else: processes, ports and files."""
    before = temporary_files()
    mapper = tmp_path / "mapper.sh"
    mapper.write_text(MAPPER)
    mapper.chmod(0o755)
    options = Options(
        data_nodes=1, node_managers=1, expiry_seconds=10, history=False,
        node_environment={"NODE_NAME": "node {node}", "NODE_FOLDER": "{folder}"})
    with HadoopCluster(options) as hadoop:
        folder, ports = hadoop.folder, hadoop.ports.numbers()
        assert folder in folders()
        hadoop.run("fs", "-put", mapper, "input")
        mark = folder / "node1" / "mark"
        with subprocess.Popen(
                [folder / "bin" / "hadoop", "jar", hadoop.streaming_jar, "-input", "input",
                 "-output", "output", "-mapper", mapper], env=hadoop.environment()) as job:
            try:
                hadoop.wait("a mapper", lambda: mark.exists() and mark.read_text() == "node 1\n")
                lose_and_regain_the_node(hadoop)
            finally:
                job.kill()
    assert_nothing_left(folder, ports)
    assert temporary_files() <= before


def lose_and_regain_the_node(hadoop: HadoopCluster) -> None:
    manager = hadoop.resource_manager
    [id] = [each["id"] for each in manager.applications("RUNNING")]
    containers = [each["containerId"] for each in manager.containers(id)]
    assert len(containers) >= 2
    tree = {pid for each in containers for pid in hadoop.processes(each)}
    sleepers = set(with_argument("sleep 612.5"))
    assert len(tree) >= 4
    assert sleepers
    assert tree | sleepers < set(hadoop.kill("node manager 1"))
    # A process that was killed is there until it has been reaped.
    hadoop.wait("the containers to go", lambda: not set(parents()) & (tree | sleepers))
    assert "node manager 1" not in hadoop.running()
    assert hadoop.wait("the loss", lambda: manager.metrics()["lostNodes"] == 1)
    hadoop.start("node manager 1")
    assert hadoop.wait("its return", lambda: manager.metrics()["activeNodes"] == 1)


def test_the_cluster_ends_with_the_process_that_started_it(hadoop_jars):
    """Killed in the middle of the start, by a signal that leaves it no time."""
    before = set(folders())
    code = "from cluster import HadoopCluster; HadoopCluster()"
    starter = subprocess.Popen([sys.executable, "-c", code],
                               env={**os.environ, "PYTHONPATH": str(ROOT / "tests")})
    try:
        end = time.monotonic() + 60
        while not (new := set(folders()) - before) or len(with_argument(str(*new))) < 5:
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        starter.send_signal(signal.SIGKILL)
        starter.wait()
    assert_nothing_left(*new)


def temporary_files() -> set[str]:
    """In /tmp, where Hadoop and Java put things that nothing told them to put elsewhere."""
    return {path.name for pattern in ("hadoop-*", "[Jj]etty*", "lib*")
            for path in Path("/tmp").glob(pattern)}


def folders() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))


def assert_nothing_left(folder: Path, ports: Sequence[int] = ()) -> None:
    """Soon: no folder, no process that names it, and nobody on the ports."""
    end = time.monotonic() + 10
    while folder.exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not folder.exists()
    assert not with_argument(str(folder))
    for port in ports:
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", port))
            free.listen()


def test_jars_are_fetched_once_and_whole(tmp_path, monkeypatch):
    """Of three processes at a time one runs Maven; what a killed one left is removed."""
    (tmp_path / "bin").mkdir()
    maven = tmp_path / "bin" / "mvn"
    maven.write_text('#!/bin/sh\necho run >> "$MAVEN_LOG"\nsleep 0.3\n'
                     'for each; do\n'
                     '    case $each in -DoutputDirectory=*) mkdir "${each#*=}" ;; esac\n'
                     'done\n')
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MAVEN_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))
    folder = jars.cache_folder()
    assert folder.is_relative_to(tmp_path)
    (folder.parent / f"{folder.name}.new-killed").mkdir(parents=True)
    code = "from cluster import jars; print(jars.find_jars())"
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
                 for _ in range(3)]
    assert [each.communicate()[0] for each in processes] == [f"{folder}\n"] * 3
    assert (tmp_path / "log").read_text() == "run\n"
    assert sorted(path.name for path in folder.parent.iterdir()) == [
        folder.name, f"{folder.name}.lock"]
    maven.write_text("#!/bin/sh\necho no such artifact\nexit 1\n")
    folder.rmdir()
    with pytest.raises(Missing, match=r"Maven could not fetch Hadoop .*: no such artifact"):
        jars.find_jars()


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert jars.why_not() == "Java 17 is needed: no java on the path or in JAVA_HOME"
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    assert jars.why_not().startswith(f"Java 17 is needed, {java} is 'openjdk version")
    java.write_text(java.read_text().replace("11", "21"))
    assert jars.why_not().startswith("Maven is needed to fetch Hadoop 3.")
    jars.cache_folder().mkdir(parents=True)
    assert jars.why_not() == ""
