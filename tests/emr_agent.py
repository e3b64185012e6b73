"""A stand-in for Amazon EMR: moto's server, and an agent that runs what the API was asked for.

    python tests/emr_agent.py FOLDER

moto keeps clusters and steps and runs none. The agent runs the bootstrap actions of a cluster and then
its steps, one after another, from the arguments in the API and from S3 alone: in folders of its own,
with an environment of its own, by a Python that has nothing but what the bootstrap asked pip for. This
project can come to a task from S3 only. Prints its address, and ends when its input closes.

Nodes, roles, networks, time and money are not imitated, and Hadoop is as far as ``emr_streaming`` goes.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import boto3
from emr_streaming import StepError, run_streaming
from moto.core.responses import ActionResult, EmptyResult
from moto.core.utils import utcnow
from moto.emr.exceptions import ValidationException
from moto.emr.models import emr_backends
from moto.emr.responses import ElasticMapReduceResponse
from moto.server import ThreadedMotoServer

ACCOUNT = "123456789012"
HERE = Path(__file__).resolve().parent
UNFINISHED = ("PENDING", "RUNNING")
ENDED = ("TERMINATED", "TERMINATED_WITH_ERRORS")
POLICIES: dict[str, dict] = {}
_run_job_flow = ElasticMapReduceResponse.run_job_flow
_add_job_flow_steps = ElasticMapReduceResponse.add_job_flow_steps


def run_job_flow(self: ElasticMapReduceResponse) -> ActionResult:
    """As moto's, which forgets when an idle cluster is to end."""
    result = _run_job_flow(self)
    POLICIES[result._result["JobFlowId"]] = self._get_param("AutoTerminationPolicy", {})
    return result


def get_auto_termination_policy(self: ElasticMapReduceResponse) -> ActionResult:
    return ActionResult({"AutoTerminationPolicy": POLICIES[self._get_param("ClusterId")]})


def cancel_steps(self: ElasticMapReduceResponse) -> ActionResult:
    wanted = self._get_param("StepIds")
    for step in self.backend.clusters[self._get_param("ClusterId")].steps:
        if step.id in wanted and step.state in UNFINISHED:
            step.state = "CANCELLED"
    return EmptyResult()


def add_job_flow_steps(self: ElasticMapReduceResponse) -> ActionResult:
    """As moto's, which would give steps to a cluster that is no more."""
    if self.backend.clusters[self._get_param("JobFlowId")].state in ENDED:
        raise ValidationException("A job flow that is shutting down, terminated, or finished may not "
                                  "be modified.")
    return _add_job_flow_steps(self)


class Node:
    """What all nodes of one cluster share here. ``environment``: what a process there starts with."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.folder, self.bin = folder, folder / "bin"
        (folder / "site").mkdir(parents=True)
        (folder / "home").mkdir()
        self.bin.mkdir()
        tools = f"exec {sys.executable} {HERE / 'emr_tools.py'} {folder}"
        for name, text in (("sudo", 'exec "$@"'), ("dnf", f'{tools} dnf "$@"'),
                           ("yarn", f'{tools} yarn "$@"'), ("aws", f'{tools} aws "$@"')):
            (self.bin / name).write_text(f"#!/bin/sh\n{text}\n")
            (self.bin / name).chmod(0o755)
        path = [str(self.bin), *filter(None, [os.environ.get("EMR_AGENT_PATH")]), "/usr/bin", "/bin"]
        of_hadoop = {name: value for name, value in os.environ.items() if name.startswith("HADOOP_")}
        # The keys stand for the role that an instance has.
        self.environment = {
            "PATH": ":".join(path), "HOME": str(folder / "home"), "TMPDIR": str(folder),
            "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "testing", "NO_PROXY": "127.0.0.1",
            "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1", **of_hadoop}


class Agent:
    """Runs the steps of all clusters, those of a cluster one after another."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self._folder, self._endpoint = folder, endpoint
        self._s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        self._known: dict[str, threading.Thread] = {}
        self._over = threading.Event()

    def serve(self) -> None:
        while not self._over.wait(0.05):
            for backend in list(emr_backends[ACCOUNT].values()):
                for cluster in list(backend.clusters.values()):
                    # moto lists clusters that it is still making.
                    if cluster.id in POLICIES and cluster.id not in self._known:
                        thread = threading.Thread(target=self._live, args=(cluster,))
                        self._known[cluster.id] = thread
                        thread.start()

    def close(self) -> None:
        self._over.set()
        for thread in self._known.values():
            thread.join()

    def _live(self, cluster) -> None:
        """The life of a cluster."""
        node = Node(self._folder / cluster.id, self._endpoint)
        try:
            cluster.state = "BOOTSTRAPPING"
            for action in cluster.bootstrap_actions:
                if not self._bootstrap(cluster, node, action):
                    break
            while not self._over.wait(0.05) and cluster.state not in ENDED:
                for step in list(cluster.steps):
                    if step.state in UNFINISHED:
                        self._run(cluster, node, step)
                if cluster.state not in ENDED and not any(
                        step.state in UNFINISHED for step in cluster.steps):
                    cluster.state = "WAITING"
        finally:
            for step in cluster.steps:
                if step.state in UNFINISHED:
                    step.state = "CANCELLED"
            kept = [name for name in ("pip", "yarn") if (node.folder / name).exists()]
            for name in kept:
                shutil.copy(node.folder / name, self._folder / f"{cluster.id}.{name}")
            shutil.rmtree(node.folder)

    def _bootstrap(self, cluster, node: Node, action) -> bool:
        script = node.folder / "bootstrap.sh"
        script.write_bytes(self.read(action.script_path))
        script.chmod(0o755)
        done = subprocess.run([str(script), *action.args], env=node.environment, cwd=node.folder,
                              stdin=subprocess.DEVNULL, capture_output=True, check=False)
        (self._folder / f"{cluster.id}.bootstrap").write_bytes(done.stderr)
        if done.returncode:
            cluster.terminate()
            cluster.state = "TERMINATED_WITH_ERRORS"
            cluster.last_state_change_reason = (
                f"On the master instance (i-0), bootstrap action 1 returned a non-zero return code "
                f"{done.returncode}")
        return done.returncode == 0

    def read(self, uri: str) -> bytes:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()

    def _run(self, cluster, node: Node, step) -> None:
        step.state, cluster.state = "RUNNING", "RUNNING"
        step.start()
        folder = Path(tempfile.mkdtemp(dir=node.folder))

        def stopped() -> bool:
            return step.state != "RUNNING" or cluster.state in ENDED or self._over.is_set()

        def call(words: list[str], cwd: Path, environment: dict, data: bytes = b"",
                 log: Path | None = None) -> tuple[int, bytes]:
            """Exit status and stdout of a process, which ends with the step."""
            output = cwd / ".stdout"
            (cwd / ".stdin").write_bytes(data)
            with open(cwd / ".stdin", "rb") as given, open(output, "wb") as out, \
                    open(log or cwd / ".stderr", "ab") as err:
                try:
                    process = subprocess.Popen(
                        words, cwd=cwd, env={**node.environment, **environment}, stdin=given,
                        stdout=out, stderr=err, start_new_session=True)
                except FileNotFoundError:
                    return 127, b""
                while process.poll() is None:
                    if stopped():
                        os.killpg(process.pid, signal.SIGKILL)
                    time.sleep(0.01)
            return process.returncode, output.read_bytes()

        try:
            words = list(step.args)
            if step.jar != "command-runner.jar" or not words:
                raise StepError(f"no such jar: {step.jar}")
            if words[0] == "hadoop-streaming":
                run_streaming(words[1:], self._s3, folder, call, self._folder / f"{step.id}.log")
            elif call(words, folder, {}, log=self._folder / f"{step.id}.log")[0]:
                raise StepError("Exception in thread \"main\" java.lang.RuntimeException")
            ending, reason = "COMPLETED", None
        except StepError as error:
            ending, reason = "FAILED", str(error)
        except Exception as error:
            ending, reason = "FAILED", f"the agent failed: {error!r}"
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if not stopped():
            step.last_state_change_reason, step.end_date_time = reason, utcnow()
            step.state = ending


def main() -> None:
    for name, function in (("run_job_flow", run_job_flow), ("cancel_steps", cancel_steps),
                           ("add_job_flow_steps", add_job_flow_steps),
                           ("get_auto_termination_policy", get_auto_termination_policy)):
        setattr(ElasticMapReduceResponse, name, function)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    agent = Agent(Path(sys.argv[1]), f"http://{host}:{port}")
    thread = threading.Thread(target=agent.serve)
    thread.start()
    print(host, port, flush=True)
    sys.stdin.read()
    agent.close()
    thread.join()
    server.stop()


if __name__ == "__main__":
    main()
