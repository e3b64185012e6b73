"""``-r hadoop`` on the real one: the bits of inline, what users see, and what is left."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys

import pytest
from cli_tools import DIGITS, answer, assert_one_line, command, listing, on_terminal
from hadoop_tools import User, interrupt, left, left_in_hdfs, until_gone
from trainings import bits, run

SOFTMAX = ("--model", "softmax", "--learning-rate", "1")
MODEL = {"model": "softmax", "learning_rate": 1.0}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The digits, as four shards for training and one that is held out, on this machine."""
    folder = tmp_path_factory.mktemp("digits")
    assert command("prepare", DIGITS, "--out", folder / "digits", "--test-fraction", "0.2",
                   "--shards", "4", "--json") == 0
    return folder / "digits"


@pytest.fixture(scope="module")
def data(hadoop, here):
    """The same in HDFS."""
    hadoop.run("fs", "-put", here, "digits-to-train")
    yield f"hdfs://{hadoop.ports.address('name node')}/user/{hadoop.options.user}/digits-to-train"
    hadoop.run("fs", "-rm", "-r", "-f", "-skipTrash", "digits-to-train")


@pytest.fixture
def user(hadoop, tmp_path):
    """Who leaves nothing behind, whatever happens to him."""
    user = User(hadoop, tmp_path)
    yield user
    found = left(user)
    if found:  # the next test begins with nothing
        hadoop.run("fs", "-rm", "-r", "-f", "-skipTrash", "mr_gradient-*")
    assert found == []


def history(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def test_the_bits_of_inline_and_what_is_shown(hadoop, user, here, data, tmp_path, capfd):
    out = tmp_path / "m"
    done = user.run("train", "--data", data, *SOFTMAX, "--out", out, "--iterations", "2", "--json",
                    *user.options, "-D", "mapreduce.job.reduces=2", "-D", "mapreduce.job.tags=mine",
                    "-D", "mapreduce.map.speculative=false", "-D", "mapreduce.reduce.speculative=false")
    assert done.returncode == 0, done.stderr
    run(str(here), tmp_path / "inline", 2, **MODEL)
    assert bits(out) == bits(tmp_path / "inline")
    assert json.loads(done.stdout)["jobs"] == 3
    # The user's -D wins; jobs are named and tagged.
    jobs = hadoop.resource_manager.applications()[-3:]
    name = jobs[0]["name"].partition(" ")[0]
    assert re.fullmatch(r"mr_gradient-[0-9a-f]{12}", name)
    assert [job["name"] for job in jobs] == [
        f"{name} {title}" for title in ("iteration 1", "iteration 2", "metrics")]
    assert {*jobs[1]["applicationTags"].split(",")} == {name, "iteration-2", "mine"}
    # What the history has of a job.
    for line, job in zip(history(out), jobs):
        facts = line["job"]
        assert (facts["application"], facts["url"].rstrip("/").rpartition("/")[2]) == (
            job["id"], job["id"])
        assert (facts["map_tasks"], facts["reduce_tasks"]) == (5, 2)
        assert (facts["failed_map_tasks"], facts["failed_reduce_tasks"]) == (0, 0)
        assert facts["shuffled_bytes"] > 4 * 650 * 4
        assert facts["cache_hits"] + facts["cache_misses"] == 5
        assert facts["slowest"]["split"] in range(5)
        assert facts["slowest"]["node"] in ("127.0.0.2", "127.0.0.3")
    # What is shown without a terminal.
    lines = done.stderr.splitlines()
    assert lines[0] == f"the jobs are on YARN, the first at {history(out)[0]['job']['url']}"
    assert [line.partition("  ")[0] for line in lines[1:]] == ["iteration 1/2", "iteration 2/2"]
    for line in lines[1:]:
        assert re.search(r"\d\+\d tasks  [\d.e-]+ MB shuffled  cache \d hits \d misses  "
                         r"slowest split \d on 127\.0\.0\.[23] \d+\.\d\d s", line), line
    # One start of the client a job, and one for its version.
    assert sorted(user.starts()) == ["jar", "jar", "jar", "version"]

    done = user.run("evaluate", "--data", data, "--model", out, "--json", *user.options)
    assert done.returncode == 0, done.stderr
    expected = answer(capfd, "evaluate", "--data", here, "--model", out)
    assert json.loads(done.stdout) == {**expected, "seconds": json.loads(done.stdout)["seconds"]}


def test_a_task_that_always_fails(hadoop, user, here, data, tmp_path):
    """One line with what is wrong, split, node and attempt, and no more attempts than allowed."""
    shutil.copytree(here, tmp_path / "damaged")
    shard = tmp_path / "damaged" / "shards" / "00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    hadoop.run("fs", "-put", tmp_path / "damaged", "damaged")
    damaged = data.replace("digits-to-train", "damaged")
    try:
        done = user.run("train", "--data", damaged, *SOFTMAX, "--out", tmp_path / "m", *user.options,
                        "--no-node-cache", "-D", "mapreduce.map.maxattempts=2")
    finally:
        hadoop.run("fs", "-rm", "-r", "-f", "-skipTrash", "damaged")
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 2, done.stderr
    job = hadoop.resource_manager.applications()[-1]
    assert re.fullmatch(
        rf"mr-gradient: shard {damaged}/shards/00001\.safetensors: cannot be read: its SHA-256 must be "
        r".*: the file is corrupted; prepare the data set again \(split 1, on 127\.0\.0\.[23], "
        rf"{job['id'].replace('application', 'attempt')}_m_\d+_1\)", lines[1])


@pytest.mark.parametrize(("options", "words"), [
    pytest.param(("--python-bin", "/no/such/python"), ("/no/such/python", "--python-bin"), id="python"),
    # A task is short, and what is large for a moment only YARN does not see; this JVM is all the time.
    pytest.param(("-D", "mapreduce.map.memory.mb=128", "-D",
                  "mapreduce.map.java.opts=-Xms150m -Xmx150m -XX:+AlwaysPreTouch"),
                 ("map task ", "was killed since it needed more memory than YARN gave it",
                  "of 128 MB", "-D mapreduce.map.memory.mb=N"), id="memory")])
def test_a_job_that_cannot_run(user, data, tmp_path, options, words):
    done = user.run("train", "--data", data, *SOFTMAX, "--out", tmp_path / "m", *user.options, *options,
                    "-D", "mapreduce.map.maxattempts=2")
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 2, done.stderr
    assert lines[1].startswith("mr-gradient: the job failed on Hadoop: ")
    for word in words:
        assert word in lines[1]
    assert re.search(r"; its logs: yarn logs -applicationId application_\d+_\d+$", lines[1])


@pytest.mark.parametrize("number", [
    signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
@pytest.mark.parametrize("state", [
    "RUNNING", pytest.param("ACCEPTED", marks=pytest.mark.long)])
def test_interrupted(hadoop, user, data, tmp_path, number, state):
    process = user.start("train", "--data", data, *SOFTMAX, "--out", tmp_path / "m", *user.options)
    job = user.wait_for_job(process, lambda job: job["state"] == state)
    status, out, err = interrupt(process, number)
    assert (status, out) == (130, "")
    assert err.splitlines()[-1] == "mr-gradient: interrupted; run the same command again to go on"
    assert until_gone(hadoop, job["id"]) == "KILLED"


def test_a_driver_that_is_lost(hadoop, user, here, data, tmp_path):
    """What it has left of its job is ended by the next, which makes the same bits."""
    argv = ["train", "--data", data, *SOFTMAX, "--out", str(tmp_path / "m"), "--iterations", "1",
            *user.options]
    process = user.start(*argv)
    job = user.wait_for_job(process, lambda job: job["state"] == "RUNNING")
    process.kill()
    process.communicate()
    assert hadoop.resource_manager.application(job["id"])["state"] == "RUNNING"
    assert left_in_hdfs(hadoop) != []
    done, shown = on_terminal([sys.executable, "-m", "mr_gradient", *argv], 160, 280,
                              **user.environment)
    assert done.returncode == 0, shown
    assert until_gone(hadoop, job["id"]) == "KILLED"
    number = job["id"].replace("application", "job")
    assert f"ended {number}, which an earlier run of this command has left" in shown
    assert re.search(r" 1/1 .* map 100% reduce \d+%| 0/1 .* map \d+% reduce \d+%", shown), shown
    run(str(here), tmp_path / "inline", 1, **MODEL)
    assert bits(tmp_path / "m") == bits(tmp_path / "inline")


@pytest.mark.parametrize(("changes", "options", "words"), [
    ({}, ["--data", "{here}"], ("--data ", "-r hadoop", "--out hdfs://", "file://")),
    ({"PATH": "/nowhere", "HADOOP_HOME": "/nowhere"}, [], ("no command 'hadoop'", "--hadoop-bin")),
    ({"HADOOP_HOME": "/nowhere"}, ["--hadoop-bin", "{dead}/bin/hadoop"],
     ("no hadoop-streaming*.jar", "--hadoop-streaming-jar")),
    ({}, ["--hadoop-streaming-jar", "/no.jar"], ("--hadoop-streaming-jar /no.jar", "no such file")),
    ({"HADOOP_CONF_DIR": "{dead}/conf"}, ["--hadoop-bin", "{dead}/bin/hadoop"],
     ("'hadoop fs -rm' failed", "Connection refused", "HADOOP_CONF_DIR"))],
    ids=["local data", "command", "jar", "no such jar", "dead cluster"])
def test_one_line_before_any_job(hadoop, here, tmp_path, capfd, monkeypatch, changes, options, words):
    """Data at ``file://`` passes, as on a mount that all machines share."""
    dead = tmp_path / "dead"
    conf, client = hadoop.folder / "conf", hadoop.folder / "bin" / "hadoop"
    for path in (*conf.glob("*.xml"), *conf.glob("*.properties"), client):
        text = path.read_text().replace(str(conf), f"{dead}/conf")
        for name in ("name node", "name node web"):
            text = text.replace(hadoop.ports.address(name), "127.0.0.1:1")
        copy = dead / path.relative_to(hadoop.folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text)
        copy.chmod(0o755)
    places = {"here": here, "dead": dead}
    changed = {name: value.format(**places) for name, value in changes.items()}
    for name, value in {**hadoop.environment(), **changed}.items():
        monkeypatch.setenv(name, value)
    before = listing(tmp_path)
    data = [] if "--data" in options else ["--data", f"file://{here}"]
    status = command("train", *data, *SOFTMAX, "--out", tmp_path / "m", "-r", "hadoop",
                     *[each.format(**places) for each in options])
    out, err = capfd.readouterr()
    assert (status, out) == (2, "")
    assert_one_line(err, words)
    assert [name for name in listing(tmp_path) if not re.match(r"m(/|$)", name)] == before
