"""The stand-in for AWS as the tests of ``-r emr`` see it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from cli_tools import DIGITS, ROOT, command

from mr_gradient.jobs.engines import emr_runner

SECRET = "kept-to-ourselves"
#: Longest wait for what the agent does.
SECONDS = 60


class Aws:
    """``clusters`` are those since the test began, ``files`` all but the data set's."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.emr, self.s3 = folder, boto3.client("emr"), boto3.client("s3")
        self._seen: set[str] = set()

    def begin(self) -> None:
        self._seen = {each["Id"] for each in self.emr.list_clusters()["Clusters"]}

    def clusters(self) -> list[dict]:
        return [self.emr.describe_cluster(ClusterId=each["Id"])["Cluster"]
                for each in self.emr.list_clusters()["Clusters"] if each["Id"] not in self._seen]

    def states(self) -> list[str]:
        """Of the clusters."""
        return [cluster["Status"]["State"] for cluster in self.clusters()]

    def steps(self, cluster: str) -> list[dict]:
        return self.emr.list_steps(ClusterId=cluster)["Steps"][::-1]

    def running(self) -> bool:
        """Whether a step is."""
        return any(step["Status"]["State"] == "RUNNING"
                   for cluster in self.clusters() for step in self.steps(cluster["Id"]))

    def files(self) -> list[str]:
        found = self.s3.list_objects_v2(Bucket="data").get("Contents", ())
        return [each["Key"] for each in found if not each["Key"].startswith("digits/")]

    def start_cluster(self, *packages: str) -> str:
        """One of the user's own, with Python and packages."""
        name = emr_runner.python()
        script = (f"#!/bin/sh -e\nsudo dnf install -y {name} {name}-pip\n"
                  f"sudo {name} -m pip install {' '.join(packages)}\n")
        self.s3.put_object(Bucket="data", Key="digits/own.sh", Body=script.encode())
        return self.emr.run_job_flow(
            Name="mine", ReleaseLabel="emr-7.13.0", Instances={
                "KeepJobFlowAliveWhenNoSteps": True, "InstanceGroups": [
                    {"InstanceRole": "MASTER", "InstanceType": "m6i.xlarge", "InstanceCount": 1}]},
            BootstrapActions=[{"Name": "python", "ScriptBootstrapAction": {
                "Path": "s3://data/digits/own.sh"}}])["JobFlowId"]

    def wait(self, what: Callable[[], bool]) -> None:
        until = time.monotonic() + SECONDS
        while not what():
            assert time.monotonic() < until
            time.sleep(0.05)


@contextlib.contextmanager
def account(environment: pytest.MonkeyPatch, folder: Path) -> Iterator[Aws]:
    """Runs while the block does, with the digits at ``s3://data/digits``; ``folder`` is the agent's."""
    environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with subprocess.Popen([sys.executable, ROOT / "tests/emr_agent.py", folder], text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as process:
        try:
            host, port = process.stdout.readline().split()
            environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
            found = Aws(folder)
            found.s3.create_bucket(Bucket="data")
            assert command("prepare", DIGITS, "--out", "s3://data/digits", "--test-fraction", "0.2",
                           "--shards", "2", "--json") == 0
            yield found
        finally:
            process.stdin.close()
