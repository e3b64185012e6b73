"""``prepare -r hadoop`` on the real one: the bytes of inline, and what failures and kills leave."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from cli_tools import assert_one_line, command, put
from cluster.brakes import Brakes
from hadoop_tools import User, interrupt, left, until_gone
from pyarrow import parquet
from shared_data import shared_data

from mr_gradient.dataset.hdfs import Hdfs

ROWS = [f"{i % 97},{'oops' if i in (700, 701) else f'{i * 0.37:.2f}'},{['Oslo', 'Rome', ''][i % 3]},"
        f"{'ab'[i * i % 7 % 2]}" for i in range(2000)]
HEADER = "n,size,city,label"
OPTIONS = ("--test-fraction", "0.2", "--shards", "3", "--kind", "size=number")
SKIP = ("--on-bad-row", "skip", "--max-bad-rows", "2")


@pytest.fixture(scope="module")
def home(hadoop):
    """URI of the user's home."""
    return f"hdfs://{hadoop.ports.address('name node')}/user/{hadoop.options.user}"


@pytest.fixture(scope="module")
def table(hadoop, home, tmp_path_factory):
    """A table in two files, one of which is compressed: here, and in HDFS."""
    folder = tmp_path_factory.mktemp("input") / "table"
    put(folder, {"a.csv": "\n".join([HEADER, *ROWS[:1200], ""]),
                 "b.csv.gz": gzip.compress("\n".join([HEADER, *ROWS[1200:], ""]).encode())})
    hadoop.run("fs", "-put", folder, "table")
    yield folder
    hadoop.run("fs", "-rm", "-r", "-f", "-skipTrash", "table")


@pytest.fixture
def user(hadoop, home, tmp_path, monkeypatch):
    """Who leaves nothing behind, whatever happens to him."""
    user = User(hadoop, tmp_path)
    monkeypatch.setenv("MR_GRADIENT_WEBHDFS", hadoop.ports.address("name node web"))  # for ``files``
    yield user
    hadoop.run("fs", "-rm", "-r", "-f", "-skipTrash", f"{home}/made/data", f"{home}/made/other")
    assert files(hadoop, "made") == {}
    assert left(user) == []


def files(hadoop, folder: str) -> dict[str, int]:
    """What is in a folder of the user's."""
    return Hdfs(hadoop.ports.address("name node")).files(f"/user/{hadoop.options.user}/{folder}")


def fetched(hadoop, home: str, to: Path) -> dict[str, bytes]:
    """The files of the data set that was made."""
    hadoop.run("fs", "-get", f"{home}/made/data", to)
    return contents(to)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def held_by(brakes: Brakes, user: User) -> list[object]:
    """The user's options, for tasks that the brakes hold."""
    return [*user.options[:user.options.index("--python-bin")], "--python-bin", brakes.python]


def assert_same(there: dict[str, bytes], here: dict[str, bytes], inputs: tuple[object, object]) -> None:
    """File by file; only the list of bad rows says where the input was."""
    assert set(there) == set(here)
    for name, data in here.items():
        assert there[name] == data.replace(str(inputs[0]).encode(), str(inputs[1]).encode()), name


def test_the_bytes_of_inline_after_a_driver_that_was_killed(hadoop, home, user, table, tmp_path):
    argv = ("prepare", f"{home}/table", "--out", f"{home}/made/data", *OPTIONS, *SKIP)
    brakes = Brakes(tmp_path / "brakes")
    brakes.put("map", "_m_")
    process = user.start(*argv, *held_by(brakes, user))
    job = user.wait_for_job(process, lambda job: True)
    hadoop.wait("a mapper", lambda: brakes.held("map"), 120)
    assert files(hadoop, "made") == {}
    interrupt(process, signal.SIGKILL)
    shutil.rmtree(user.folder / "temporary")  # what that one had here
    (user.folder / "temporary").mkdir()
    done = user.run(*argv, *user.options, "--json")
    assert done.returncode == 0, done.stderr
    assert until_gone(hadoop, job["id"]) == "KILLED"
    assert f"ended {job['id'].replace('application', 'job')}, which an earlier run" in done.stderr
    assert command("prepare", table, "--out", tmp_path / "here", *OPTIONS, *SKIP) == 0
    here, there = contents(tmp_path / "here"), fetched(hadoop, home, tmp_path / "there")
    assert_same(there, here, (table, f"{home}/table"))
    assert sum(name.startswith("shards/") for name in there) == 4
    answered = json.loads(done.stdout)
    assert (answered["data"], answered["bad_rows"]) == (f"{home}/made/data", 2)
    assert answered["examples"] + answered["held_out"] == len(ROWS) - 2


def test_a_bad_row_is_told_in_one_line(hadoop, home, user, table):
    done = user.run("prepare", f"{home}/table", "--out", f"{home}/made/data", *OPTIONS, *user.options)
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_line(done.stderr, (f"{home}/table/a.csv, line 702, column 'size': must be a number",
                                  "found 'oops'; mend the row"))
    [job] = hadoop.resource_manager.applications()[-1:]
    assert job["name"].endswith(" statistics")
    assert job["finalStatus"] == "SUCCEEDED"


@pytest.mark.parametrize("title", ["statistics", pytest.param("shards", marks=pytest.mark.long)])
def test_interrupted(hadoop, home, user, table, title):
    """The job ends, and nothing is there, nor the folder that was in the making."""
    process = user.start("prepare", f"{home}/table", "--out", f"{home}/made/data", *OPTIONS, *SKIP,
                         *user.options)
    job = user.wait_for_job(process, lambda job: job["name"].endswith(title))
    status, out, err = interrupt(process)
    assert (status, out) == (130, "")
    assert_one_line(err, ("interrupted",))
    assert until_gone(hadoop, job["id"]) == "KILLED"


@pytest.mark.long
@pytest.mark.parametrize("step", ["m", "r"])
def test_a_task_that_is_killed_when_it_has_written(hadoop, home, user, table, tmp_path, step):
    """Its segment or shard is there, and no record of it: what another attempt writes counts."""
    brakes = Brakes(tmp_path / "brakes")
    brakes.put("kill", rf"shards attempt_\w+_{step}_\d+_0 .* output")
    done = user.run("prepare", f"{home}/table", "--out", f"{home}/made/data", *OPTIONS, *SKIP,
                    *held_by(brakes, user))
    assert done.returncode == 0, done.stderr
    assert len(brakes.came("kill")) == {"m": 2, "r": 1}[step]
    assert command("prepare", table, "--out", tmp_path / "here", *OPTIONS, *SKIP) == 0
    assert_same(fetched(hadoop, home, tmp_path / "there"), contents(tmp_path / "here"),
                (table, f"{home}/table"))


@pytest.mark.long
def test_two_attempts_at_a_time(hadoop, home, user, tmp_path):
    """The first one of a mapper is held when its segment is there, until a second one has done all."""
    for number in range(6):
        put(tmp_path / "many", {f"{number}.csv": "\n".join([HEADER, *ROWS[number::6], ""])})
    hadoop.run("fs", "-put", tmp_path / "many", f"{home}/many")
    brakes = Brakes(tmp_path / "brakes")
    brakes.put("slow", r"shards attempt_\w+_m_000002_0 .* output")
    done = user.run("prepare", f"{home}/many", "--out", f"{home}/made/data", *OPTIONS, *SKIP,
                    *held_by(brakes, user), "-D", "mapreduce.map.speculative=true")
    hadoop.run("fs", "-rm", "-r", "-skipTrash", f"{home}/many")
    assert done.returncode == 0, done.stderr
    assert len(brakes.came("slow")) == 1
    assert command("prepare", tmp_path / "many", "--out", tmp_path / "here", *OPTIONS, *SKIP) == 0
    assert_same(fetched(hadoop, home, tmp_path / "there"), contents(tmp_path / "here"),
                (tmp_path / "many", f"{home}/many"))


@pytest.mark.long
@pytest.mark.parametrize("kind", ["libsvm", "parquet"])
def test_other_formats(hadoop, home, user, tmp_path, tmp_path_factory, request, kind):
    """a9a as it is, compressed and sparse, with a stratified held-out part; and a table in Parquet."""
    if kind == "libsvm":
        there, options = "a9a.bz2", ("--stratify",)
        shutil.copy(shared_data(request, tmp_path_factory) / there, tmp_path / there)
    else:
        there, options = "table.parquet", ()
        values = np.random.default_rng(1).normal(size=(5000, 3))
        parquet.write_table(pa.table({**{name: values[:, i] for i, name in enumerate("abc")},
                                      "label": np.where(values[:, 0] > 0, "yes", "no")}),
                            tmp_path / there, row_group_size=1000)
    argv = ("--test-fraction", "0.2", *options)
    hadoop.run("fs", "-put", tmp_path / there, f"{home}/{there}")
    done = user.run("prepare", f"{home}/{there}", "--out", f"{home}/made/data", *argv, *user.options)
    hadoop.run("fs", "-rm", "-skipTrash", f"{home}/{there}")
    assert done.returncode == 0, done.stderr
    assert command("prepare", tmp_path / there, "--out", tmp_path / "here", *argv) == 0
    assert fetched(hadoop, home, tmp_path / "there") == contents(tmp_path / "here")


@pytest.mark.long
def test_where_webhdfs_is_not_served(hadoop, home, user, table, tmp_path):
    """As with Kerberos: the user's ``hadoop`` does it, for the driver and for the tasks."""
    user.environment["MR_GRADIENT_WEBHDFS"] = "off"
    path = f"{hadoop.folder / 'bin'}:{os.environ['PATH']}"
    done = user.run("prepare", f"{home}/table", "--out", f"{home}/made/data", *OPTIONS, *SKIP,
                    *user.options, "--cmdenv", "MR_GRADIENT_WEBHDFS=off", "--cmdenv", f"PATH={path}")
    assert done.returncode == 0, done.stderr
    assert command("prepare", table, "--out", tmp_path / "here", *OPTIONS, *SKIP) == 0
    assert_same(fetched(hadoop, home, tmp_path / "there"), contents(tmp_path / "here"),
                (table, f"{home}/table"))
