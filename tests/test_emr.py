"""``-r emr`` against moto's server and an agent that runs the steps: see ``emr_agent``.

What this does not show: that AWS takes the same requests, and how its nodes behave.
"""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_tools import DIGITS, ROOT, assert_one_line, module
from emr_account import SECONDS, SECRET, Aws
from emr_account import account as emr_account
from trainings import bits

pytestmark = pytest.mark.usefixtures("fresh_s3")

TRAIN = ("train", "--data", "s3://data/digits", "--model", "softmax", "--iterations")
EMR = ("-r", "emr", "--cloud-tmp-dir", "s3://data/tmp", "--check-cluster-every", "0.2")


@pytest.fixture(scope="module")
def account(s3_environment, tmp_path_factory) -> Iterator[Aws]:
    with emr_account(s3_environment, tmp_path_factory.mktemp("agent")) as found:
        yield found


@pytest.fixture
def aws(account) -> Iterator[Aws]:
    """Nothing is left in S3 by a test, and no cluster that it has not asked for."""
    account.begin()
    yield account
    assert account.files() == []


def run(tmp_path: Path, *argv: object) -> subprocess.CompletedProcess:
    return module("mr_gradient", *argv, temporary=tmp_path)


@pytest.fixture(scope="module")
def trained(account, tmp_path_factory) -> tuple[Path, str, dict]:
    """Three iterations on EMR; the folder of the model, what the driver said, and the cluster."""
    folder = tmp_path_factory.mktemp("emr")
    account.begin()
    done = run(folder, *TRAIN, "3", "--out", folder / "model", *EMR, "--yes")
    assert done.returncode == 0, done.stderr
    (cluster,) = account.clusters()
    return folder, done.stderr, cluster


def test_a_training_has_the_bits_of_inline(aws, trained, tmp_path):
    folder, said, _ = trained
    assert run(tmp_path, *TRAIN, "3", "--out", tmp_path / "model").returncode == 0
    assert bits(folder / "model") == bits(tmp_path / "model")
    assert re.match(r"starting a cluster: emr-7[.\d]+ in us-east-1, 1 m6i.xlarge as master, 2 "
                    "m6i.xlarge as core; it ends with this run, or after 10 idle minutes", said)
    assert [path.name for path in folder.iterdir()] == ["model"]


def test_one_cluster_for_all_iterations_which_ends(account, trained):
    folder, _, cluster = trained
    assert cluster["Status"]["State"] == "TERMINATED"
    assert cluster["AutoTerminate"] is False
    policy = account.emr.get_auto_termination_policy(ClusterId=cluster["Id"])
    assert policy["AutoTerminationPolicy"] == {"IdleTimeout": 600}
    assert cluster["ServiceRole"] == "EMR_DefaultRole"
    assert cluster["Ec2InstanceAttributes"]["IamInstanceProfile"] == "EMR_EC2_DefaultRole"
    steps = account.steps(cluster["Id"])
    assert len(steps) == 5  # one to look at the data, and one to measure the model
    assert [step["Name"] for step in steps[1:4]] == [
        f"{cluster['Name']} iteration {i}" for i in (1, 2, 3)]
    assert all(step["Name"].startswith(f"{cluster['Name']} ") for step in steps)
    assert {step["Status"]["State"] for step in steps} == {"COMPLETED"}
    lines = (folder / "model/history.jsonl").read_text().splitlines()
    assert [json.loads(line)["job"]["step"] for line in lines] == [step["Id"] for step in steps[1:4]]
    assert SECRET not in json.dumps([cluster, steps], default=str)


def test_only_parameters_travel_again(account, trained):
    arguments = [step["Config"]["Args"] for step in account.steps(trained[2]["Id"])]
    files = [words[words.index("-files") + 1].split(",") for words in arguments]
    (package, *others), params = {each[0] for each in files}, [each[1] for each in files]
    assert package.endswith("/staged/0/mr_gradient.zip#mr_gradient.zip")
    assert not others
    assert all(len(each) == 2 for each in files)
    assert len(set(params)) == len(files)


def test_a_data_set_is_made_there(aws, tmp_path):
    """Byte for byte the one that was made here."""
    aws.s3.upload_file(str(DIGITS), "data", "digits/digits.csv")
    done = run(tmp_path, "prepare", "s3://data/digits/digits.csv", "--out", "s3://data/digits/again",
               "--test-fraction", "0.2", "--shards", "2", *EMR, "--yes")
    assert done.returncode == 0, done.stderr
    found = {each["Key"].removeprefix("digits/"): each["ETag"]
             for each in aws.s3.list_objects_v2(Bucket="data", Prefix="digits/")["Contents"]}
    again = {name.removeprefix("again/"): tag for name, tag in found.items()
             if name.startswith("again/")}
    assert len(again) == 4
    assert {name: found[name] for name in again} == again
    assert aws.states() == ["TERMINATED"]


def test_a_cluster_of_the_users_goes_on(aws, trained, tmp_path):
    mine = aws.start_cluster("numpy", "s3fs", "PyYAML")
    options = ("--model", trained[0] / "model", "--data", "s3://data/digits", "--json")
    there = run(tmp_path, "evaluate", *options, *EMR, "--cluster-id", mine)
    here = run(tmp_path, "evaluate", *options)
    assert there.returncode == 0, there.stderr
    assert there.stderr == ""
    assert json.loads(there.stdout) | {"seconds": 0} == json.loads(here.stdout) | {"seconds": 0}
    assert aws.states() == ["WAITING"]
    aws.emr.terminate_job_flows(JobFlowIds=[mine])


def test_an_error_of_a_task_comes_as_a_record(aws, tmp_path):
    shard = {"Bucket": "data", "Key": "digits/shards/00001.safetensors"}
    whole = aws.s3.get_object(**shard)["Body"].read()
    aws.s3.put_object(**shard, Body=whole[:-1] + b"\xff")
    try:
        done = run(tmp_path, *TRAIN, "3", "--out", tmp_path / "m", *EMR, "--yes",
                   "-D", "mapreduce.map.maxattempts=1")
    finally:
        aws.s3.put_object(**shard, Body=whole)
    assert done.returncode == 2
    start, error = done.stderr.splitlines()
    assert start.startswith("starting a cluster: ")
    assert_one_line(error, ("s3://data/digits/shards/00001.safetensors", "SHA-256", "corrupted"))
    assert aws.states() == ["TERMINATED"]
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_of_the_users_without_numpy(aws, trained, tmp_path):
    mine = aws.start_cluster("PyYAML")
    done = run(tmp_path, "evaluate", "--model", trained[0] / "model", "--data", "s3://data/digits",
               *EMR, "--cluster-id", mine)
    assert done.returncode == 2
    assert_one_line(done.stderr, (
        "has no numpy; install numpy there, or name another Python with --python-bin",))
    aws.emr.terminate_job_flows(JobFlowIds=[mine])


def test_a_step_that_says_nothing_itself(aws, tmp_path):
    done = run(tmp_path, *TRAIN, "3", "--out", tmp_path / "m", *EMR, "--yes",
               "--python-bin", "python3.4", "-D", "mapreduce.map.maxattempts=1",
               "--cloud-log-dir", "s3://data/logs")
    assert done.returncode == 1
    (cluster,) = aws.clusters()
    (step,) = aws.steps(cluster["Id"])
    assert_one_line(done.stderr.splitlines()[1], (
        f"the job failed on EMR: step {step['Id']} failed (", "subprocess failed with code 127",
        f"s3://data/logs/{cluster['Id']}/steps/{step['Id']}/"))
    assert aws.states() == ["TERMINATED"]


def test_a_bootstrap_that_fails(aws, tmp_path):
    conf = tmp_path / "mrjob.conf"
    conf.write_text(json.dumps({"runners": {"emr": {"bootstrap": ["false"]}}}))
    done = run(tmp_path, *TRAIN, "3", "--out", tmp_path / "m", *EMR, "--yes", "-c", conf)
    assert done.returncode == 1
    assert_one_line(done.stderr.splitlines()[1], (
        "the job failed on EMR: ", f"cluster {aws.clusters()[0]['Id']} is terminated_with_errors: ",
        "bootstrap action 1 returned a non-zero return code 1", "--cloud-log-dir"))


def start(tmp_path: Path, *argv: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "mr_gradient", *map(str, argv)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)})


def test_a_lost_driver_is_cleaned_up_after_and_ctrl_c_ends_the_cluster(aws, tmp_path):
    arguments = (*TRAIN, "300", "--out", tmp_path / "m", *EMR, "--yes")
    with start(tmp_path, *arguments) as lost:
        aws.wait(lambda: aws.running())
        lost.kill()
    (left,) = aws.clusters()
    assert left["Status"]["State"] in ("RUNNING", "WAITING")
    with start(tmp_path, *arguments) as driver:
        aws.wait(lambda: len(aws.clusters()) == 2 and aws.running())
        driver.send_signal(signal.SIGINT)
        _, said = driver.communicate(timeout=SECONDS)
    assert driver.returncode == 130
    assert said.splitlines()[1].startswith("mr-gradient: interrupted")
    assert aws.states() == ["TERMINATED", "TERMINATED"]


def test_ctrl_c_ends_the_step_on_a_cluster_of_the_users(aws, tmp_path):
    mine = aws.start_cluster("numpy", "s3fs", "PyYAML")
    with start(tmp_path, *TRAIN, "300", "--out", tmp_path / "m", *EMR, "--cluster-id", mine) as driver:
        aws.wait(lambda: aws.running())
        driver.send_signal(signal.SIGTERM)
        assert driver.wait(SECONDS) == 130
    step, kill = aws.steps(mine)
    assert step["Status"]["State"] == "CANCELLED"
    aws.wait(lambda: aws.steps(mine)[1]["Status"]["State"] == "COMPLETED")
    name = step["Name"].partition(" ")[0]
    assert f"mapreduce.job.tags={name}" in step["Config"]["Args"]
    assert kill["Name"] == f"{name} end"
    assert aws.states() == ["WAITING"]
    aws.emr.terminate_job_flows(JobFlowIds=[mine])
    aws.wait((aws.folder / f"{mine}.yarn").exists)
    assert (aws.folder / f"{mine}.yarn").read_text() == f"application -list -appTags {name}\n"


def test_without_a_terminal_it_does_not_ask(aws, tmp_path):
    done = run(tmp_path, *TRAIN, "3", "--out", tmp_path / "m", *EMR)
    assert done.returncode == 2
    assert_one_line(done.stderr, ("-r emr: would start a cluster: emr-7", "--yes", "--cluster-id"))
    assert aws.clusters() == []
    assert list(tmp_path.iterdir()) == []


def test_on_a_terminal_it_asks(aws, tmp_path):
    ours, theirs = pty.openpty()
    with subprocess.Popen(
            [sys.executable, "-m", "mr_gradient", *TRAIN, "3", "--out", tmp_path / "m", *EMR],
            stdin=theirs, stderr=theirs, env={**os.environ, "PYTHONPATH": str(ROOT)}) as done:
        os.close(theirs)
        os.write(ours, b"n\n")
        said = b""
        while b"no cluster was started" not in said:
            said += os.read(ours, 4096)
        assert done.wait(SECONDS) == 2
    os.close(ours)
    assert b"Start it? [y/N]" in said
    assert aws.clusters() == []
