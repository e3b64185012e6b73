"""``--driver-on-cluster``: the driver as a step of the stand-in for EMR, its jobs on a real Hadoop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from cli_tools import ROOT, assert_one_line, module
from emr_account import SECONDS, Aws
from emr_account import account as emr_account

pytestmark = pytest.mark.usefixtures("fresh_s3")

TRAIN = ("train", "--data", "s3://data/digits", "--model", "softmax", "--iterations")
THERE = ("-r", "emr", "--driver-on-cluster", "--yes", "--cloud-tmp-dir", "s3://data/tmp",
         "--check-cluster-every", "0.2", "--python-bin", sys.executable)
MODEL = "digits/model"


@pytest.fixture(scope="module")
def aws(s3_environment, hadoop, tmp_path_factory) -> Iterator[Aws]:
    """An account whose master nodes have the Hadoop of the tests."""
    for name, value in hadoop.environment().items():
        if name.startswith("HADOOP_"):
            s3_environment.setenv(name, value)
    s3_environment.setenv("EMR_AGENT_PATH", str(hadoop.folder / "bin"))
    with emr_account(s3_environment, tmp_path_factory.mktemp("agent")) as found:
        yield found
    # Here the Hadoop does not end with the cluster.
    hadoop.run("fs", "-rm", "-r", "-f", "-skipTrash", "mr_gradient-*")


@pytest.fixture
def nodes(hadoop) -> tuple[str, ...]:
    """Options that stand for what nodes of EMR have: a role, and streaming in its place."""
    names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
    given = [word for name in names for word in ("--cmdenv", f"{name}={os.environ[name]}")]
    return ("--hadoop-streaming-jar", f"file://{hadoop.streaming_jar}", *given)


def files(aws: Aws) -> list[str]:
    """All but the data set's and the model's."""
    return [each["Key"] for each in aws.s3.list_objects_v2(Bucket="data")["Contents"]
            if not each["Key"].startswith(("digits/", f"{MODEL}/"))]


def test_the_bits_are_those_of_inline(aws, hadoop, nodes, tmp_path):
    out = "s3://data/digits/model"
    aws.begin()
    there = module("mr_gradient", *TRAIN, "2", "--out", out, "--json", *THERE, *nodes,
                   temporary=tmp_path)
    assert there.returncode == 0, there.stderr
    here = module("mr_gradient", *TRAIN, "2", "--out", tmp_path / "model", "--json", temporary=tmp_path)
    start, *lines = there.stderr.splitlines()
    assert start.startswith("starting a cluster: emr-7")
    assert [line.partition("  ")[0] for line in lines if line.startswith("iteration ")] == [
        "iteration 1/2", "iteration 2/2"]
    results = [json.loads(done.stdout) for done in (here, there)]
    assert results[1].pop("model") == out
    assert {**results[0], "model": 0, "seconds": 0} == {**results[1], "model": 0, "seconds": 0}
    model = aws.s3.get_object(Bucket="data", Key=f"{MODEL}/model.safetensors")["Body"].read()
    assert model == (tmp_path / "model/model.safetensors").read_bytes()
    (cluster,) = aws.clusters()
    assert cluster["Status"]["State"] == "TERMINATED"
    (step,) = aws.steps(cluster["Id"])
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in json.dumps(step, default=str)
    assert files(aws) == []
    assert "mr_gradient-" not in hadoop.run("fs", "-ls", check=False)


def test_an_error_of_the_driver_is_ours(aws, nodes, tmp_path):
    """Hadoop streaming is not where the driver, on the master node, is told to look for it."""
    aws.begin()
    done = module("mr_gradient", *TRAIN, "2", "--out", "s3://data/digits/none", *THERE, *nodes,
                  "--hadoop-streaming-jar", "file:///none.jar", temporary=tmp_path)
    assert done.returncode == 2
    (step,) = aws.steps(aws.clusters()[0]["Id"])
    assert done.stderr.splitlines()[-1].startswith(
        f"mr-gradient: step {step['Id']}, on the master node: --hadoop-streaming-jar /none.jar: no ")
    assert aws.states() == ["TERMINATED"]
    assert files(aws) == []


def test_a_folder_that_is_no_training_s_costs_no_cluster(aws, tmp_path):
    aws.begin()
    done = module("mr_gradient", *TRAIN, "2", "--out", "s3://data/digits", *THERE, temporary=tmp_path)
    assert done.returncode == 2
    assert_one_line(done.stderr, ("--out s3://data/digits: must be empty, absent or a training",))
    assert aws.clusters() == []


@pytest.mark.long
def test_ctrl_c_ends_the_cluster(aws, hadoop, nodes, tmp_path):
    aws.begin()
    with subprocess.Popen(
            [sys.executable, "-m", "mr_gradient", *TRAIN, "300", "--out", "s3://data/digits/other",
             *THERE, *nodes], stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}) as driver:
        aws.wait(aws.running)
        driver.send_signal(signal.SIGINT)
        _, said = driver.communicate(timeout=SECONDS)
    assert driver.returncode == 130, said
    assert aws.states() == ["TERMINATED"]
    assert files(aws) == []
