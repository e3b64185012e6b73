"""The cluster of a run on EMR: the user's, or one that the run makes, shows before, and ends.

A driver that is lost cannot end its cluster: EMR's own AutoTerminationPolicy does, after some idle
minutes, and the next driver of the same training, before it makes another.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Callable
from typing import Any

from mr_gradient.errors import TaskError, UsageError
from mr_gradient.jobs.engines.emr_storage import aws_errors

_ACTIVE = ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"]
_UNFINISHED = ["PENDING", "RUNNING"]
#: The first look at a step; later ones come as ``check_seconds`` says.
_FIRST_SECONDS = 1.0


class EmrCluster:
    """``id``: of the cluster, which is the user's own unless it is empty; ``begin`` makes one then.

    ``client``: boto3's. ``name``: of the run; what bears it is ours to end. ``last``: id of the last
    step.
    """

    def __init__(self, client: Any, name: str, given: str | None, check_seconds: float) -> None:
        self.id, self.name = given or "", name
        self._client, self._check_seconds = client, check_seconds
        self._own = not given
        self._step, self._asked, self.last = "", False, ""

    def confirm(self, request: dict, region: str, yes: bool) -> None:
        """Show what will be started, and ask unless that is answered; or check the user's cluster.

        Raises ``UsageError``.
        """
        if self._own and yes:
            print(f"starting a cluster: {describe(request, region)}", file=sys.stderr, flush=True)
        elif self._own:
            ask(describe(request, region))
        else:
            self._check()

    def begin(self, request: dict) -> None:
        """End what a lost driver of this run has left; make the cluster, if there is none."""
        if not self._own:
            self._end_steps()
            return
        self._end_others()
        self._asked = True
        with aws_errors("no cluster can be started"):
            self.id = self._client.run_job_flow(**request)["JobFlowId"]

    def _check(self) -> None:
        with aws_errors(f"--cluster-id {self.id}"):
            cluster = self._client.describe_cluster(ClusterId=self.id)["Cluster"]
        if why := _why_ended(cluster):
            raise UsageError(f"--cluster-id {self.id}: must be a cluster that runs, but {why}")

    def _end_steps(self) -> None:
        """Steps on the user's cluster that a lost driver of this run has left."""
        with aws_errors(f"cluster {self.id}"):
            pages = self._client.get_paginator("list_steps").paginate(
                ClusterId=self.id, StepStates=_UNFINISHED)
            left = [step["Id"] for page in pages for step in page["Steps"]
                    if step["Name"].startswith(f"{self.name} ")]
            if left:
                self._cancel(left)

    def _end_others(self) -> None:
        """Clusters that a lost driver of this run has left."""
        with aws_errors("clusters cannot be listed"):
            pages = self._client.get_paginator("list_clusters").paginate(ClusterStates=_ACTIVE)
            left = [each["Id"] for page in pages for each in page["Clusters"]
                    if each["Name"] == self.name]
            if left:
                self._client.terminate_job_flows(JobFlowIds=left)

    def run(self, step: dict, watch: Callable[[str], None],
            look: Callable[[], None] = lambda: None) -> None:
        """Run one step to its end. ``look`` is called after each look at it.

        Raises ``TaskError`` if it fails.
        """
        self._step = self.last = self._add(step)
        pause = min(_FIRST_SECONDS, self._check_seconds)
        while True:
            time.sleep(pause)
            pause = min(pause * 1.5, self._check_seconds)
            with aws_errors(f"step {self._step}"):
                status = self._client.describe_step(
                    ClusterId=self.id, StepId=self._step)["Step"]["Status"]
            look()
            if status["State"] in _UNFINISHED:
                watch(self._words(status["State"]))
                continue
            done, self._step = self._step, ""
            if status["State"] != "COMPLETED":
                raise self._failure(done, status)
            return

    def _add(self, step: dict) -> str:
        try:
            with aws_errors(f"cluster {self.id} takes no step"):
                return self._client.add_job_flow_steps(JobFlowId=self.id, Steps=[step])["StepIds"][0]
        except (TaskError, UsageError):
            cluster = self._describe()
            if said := _why_ended(cluster):
                raise TaskError(f"the job failed on EMR: {said}; {_logs(cluster, 'node/')}") from None
            raise

    def _describe(self) -> dict:
        with aws_errors(f"cluster {self.id}"):
            return self._client.describe_cluster(ClusterId=self.id)["Cluster"]

    def _words(self, state: str) -> str:
        if state == "RUNNING":
            return f"step {self._step} runs"
        state = self._describe()["Status"]["State"].lower()
        return f"step {self._step} waits, cluster {self.id} is {state}"

    def _failure(self, step: str, status: dict) -> TaskError:
        """One line for a step that has not said itself what is wrong."""
        cluster, details = self._describe(), status.get("FailureDetails", {})
        said = [_why_ended(cluster), details.get("Message") or details.get("Reason"),
                status.get("StateChangeReason", {}).get("Message")]
        what = ": ".join(" ".join(each.split()).rstrip(".") for each in said if each)
        logs = (f"its log: {details['LogFile']}" if details.get("LogFile")
                else _logs(cluster, f"steps/{step}/"))
        state = status["State"].lower() + (f" ({what})" if what else "")
        return TaskError(f"the job failed on EMR: step {step} {state}; {logs}")

    def end(self) -> None:
        """End our cluster; on the user's, only the step that runs."""
        if self._own and self.id:
            with aws_errors(f"cluster {self.id} cannot be ended; end it with 'aws emr "
                            f"terminate-clusters --cluster-ids {self.id}'"):
                self._client.terminate_job_flows(JobFlowIds=[self.id])
            self.id = ""
        elif self._own and self._asked:  # interrupted before its answer came
            self._end_others()
        elif self._step:
            with contextlib.suppress(TaskError, UsageError), aws_errors(f"step {self._step}"):
                self._cancel([self._step])
            self._step = ""

    def _cancel(self, steps: list[str]) -> None:
        """End steps, and the jobs of YARN that they were waiting for, which would go on."""
        self._client.cancel_steps(ClusterId=self.id, StepIds=steps,
                                  StepCancellationOption="TERMINATE_PROCESS")
        kill = (f"yarn application -list -appTags {shlex.quote(self.name)} | "
                "awk '/^application_/ {print $1}' | xargs -r -n 1 yarn application -kill")
        self._client.add_job_flow_steps(JobFlowId=self.id, Steps=[
            command(f"{self.name} end", ["bash", "-c", kill])])


def _why_ended(cluster: dict) -> str:
    """Empty for a cluster that lives."""
    status = cluster["Status"]
    if status["State"] in _ACTIVE:
        return ""
    reason = status.get("StateChangeReason", {}).get("Message") or "no reason was given"
    return f"cluster {cluster['Id']} is {status['State'].lower()}: {reason}"


def _logs(cluster: dict, folder: str) -> str:
    """Where the logs of a cluster are, in words."""
    if at := cluster.get("LogUri"):
        at = at.replace("s3n://", "s3://", 1).rstrip("/")
        return f"its logs, minutes later: {at}/{cluster['Id']}/{folder}"
    at = f"/mnt/var/log/hadoop/{folder} on the master node" if folder.startswith("steps") else "lost"
    return f"its logs: {at}; --cloud-log-dir s3://BUCKET/FOLDER/ keeps them"


def command(name: str, words: list[str]) -> dict:
    """A step that runs a command on the master node."""
    return {"Name": name, "ActionOnFailure": "CONTINUE",
            "HadoopJarStep": {"Jar": "command-runner.jar", "Args": words}}


def describe(request: dict, region: str) -> str:
    """What a request for a cluster will start, for the user to see."""
    instances = request["Instances"]
    groups = [f"{each['InstanceCount']} {each['InstanceType']} as {each['InstanceRole'].lower()}"
              + (f" (spot, at most {each['BidPrice']} USD an hour)" if each.get("BidPrice") else "")
              for each in instances.get("InstanceGroups", ())]
    if "InstanceFleets" in instances:
        groups = [f"{len(instances['InstanceFleets'])} instance fleets of your configuration"]
    minutes = request["AutoTerminationPolicy"]["IdleTimeout"] / 60
    return (f"{request.get('ReleaseLabel', 'EMR')} in {region}, {', '.join(groups)}; it ends with "
            f"this run, or after {minutes:g} idle minutes; the price is AWS's, and not known here")


def ask(what: str) -> None:
    """Raises ``UsageError`` unless the user says yes."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"-r emr: would start a cluster: {what}; --yes starts it without a question, "
                         "--cluster-id j-... uses one that runs")
    print(f"-r emr starts a cluster: {what}.\nStart it? [y/N] ", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("-r emr: no cluster was started, as you said")
