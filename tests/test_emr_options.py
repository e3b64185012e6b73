"""Options of ``-r emr``: the example configuration, defaults, what is refused before AWS is asked."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from cli_tools import ROOT, command, environment, refused, small

from mr_gradient.errors import UsageError
from mr_gradient.jobs.engines import emr_runner
from mr_gradient.jobs.gradient_job import GradientJob
from mr_gradient.jobs.launch import job_arguments, launcher
from mr_gradient.yaml_files import parse_yaml

CONF = ROOT / "examples/emr/mrjob.conf"
TEMPORARY = ("--cloud-tmp-dir", "s3://bucket/tmp")

pytestmark = pytest.mark.usefixtures("s3_environment")


def options(*arguments: str) -> dict:
    with GradientJob(["-r", "emr", *arguments]).make_runner() as runner:
        return runner._opts


def whole_example(folder: Path) -> Path:
    """The example with all that is commented out."""
    lines = [re.sub(r"^    # (  ?- |\w+:( |$)|  )", lambda found: "    " + found[0][6:], line)
             for line in CONF.read_text().splitlines()]
    path = folder / "mrjob.conf"
    path.write_text("\n".join(lines))
    return path


def complaints(path: Path, caplog, monkeypatch) -> list[str]:
    """What mrjob says of a configuration file."""
    job_arguments("emr", ["-c", str(path)], False)
    monkeypatch.setattr(logging.getLogger("mrjob"), "propagate", True)
    logging.getLogger("mrjob").setLevel(logging.WARNING)
    options("-c", str(path))
    return [record.message for record in caplog.records]


@pytest.mark.parametrize("whole", [False, True])
def test_mrjob_takes_every_option_of_the_example(tmp_path, caplog, monkeypatch, whole):
    path = whole_example(tmp_path) if whole else CONF
    given = parse_yaml(path.read_text())["runners"]["emr"]
    assert len(given) == (21 if whole else 4)
    assert complaints(path, caplog, monkeypatch) == []
    found = options("-c", str(path))
    for name, value in given.items():
        assert found[name] == ([value] if name == "python_bin" else value), name


def test_an_option_that_mrjob_does_not_know_is_seen(tmp_path, caplog, monkeypatch):
    path = tmp_path / "mrjob.conf"
    path.write_text(CONF.read_text() + "    core_instances: 2\n")
    (said,) = complaints(path, caplog, monkeypatch)
    assert "core_instances" in said


def test_what_the_example_comments_out_is_the_default(tmp_path):
    given = parse_yaml(whole_example(tmp_path).read_text())["runners"]["emr"]
    plain = options(*TEMPORARY)
    same = ("release_label", "master_instance_type", "core_instance_type", "num_core_instances",
            "max_mins_idle", "check_cluster_every", "iam_instance_profile", "iam_service_role")
    assert {name: plain[name] for name in same} == {name: given[name] for name in same}


def test_the_region_is_that_of_the_environment(monkeypatch):
    assert options(*TEMPORARY)["region"] == "us-east-1"
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert options(*TEMPORARY)["region"] == "eu-west-1"
    assert options(*TEMPORARY, "--region", "eu-north-1")["region"] == "eu-north-1"


def test_the_nodes_get_the_driver_s_numpy(monkeypatch):
    import numpy

    assert f"numpy=={numpy.__version__}" in emr_runner.packages()
    assert emr_runner.python() in {f"python3.{minor}" for minor in (11, 12, 13, 14)}
    with GradientJob(["-r", "emr", *TEMPORARY]).make_runner() as runner:
        request, files = runner.cluster("name", "s3://bucket/tmp/name")
        (script,) = files
        assert f"{emr_runner.python()} -m pip install" in Path(script).read_text()
    assert request["BootstrapActions"][0]["ScriptBootstrapAction"]["Path"] == files[script]
    with GradientJob(["-r", "emr", *TEMPORARY, "--no-bootstrap-python"]).make_runner() as runner:
        assert runner.cluster("name", "s3://bucket/tmp/name") == (
            {**request, "BootstrapActions": []}, {})


@pytest.mark.parametrize(("given", "words"), [
    ((), "-r emr: needs a folder in S3 for the files of the run; name one with --cloud-tmp-dir"),
    (("--cloud-tmp-dir", "/tmp"), "--cloud-tmp-dir /tmp: must be s3://BUCKET/FOLDER/"),
    ((*TEMPORARY, "--cloud-log-dir", "logs"), "--cloud-log-dir logs: must be s3://BUCKET/FOLDER/"),
    ((*TEMPORARY, "--max-mins-idle", "0.5"), "--max-mins-idle 0.5: must be 1 to 10080"),
    ((*TEMPORARY, "--pool-clusters"), "--pool-clusters: a run has one cluster")])
def test_what_is_refused(given, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        job_arguments("emr", list(given), False)


def test_other_runners_are_refused(tmp_path, capfd):
    data = small(tmp_path, "two")
    train = ("train", "--data", data, "--model", "logistic", "--out", tmp_path / "m")
    refused(capfd, tmp_path, *train, "-r", "dataproc", words=(
        "-r dataproc: Google's Dataproc is not supported; run this on its master node with -r hadoop",))
    refused(capfd, tmp_path, *train, "-r", "slurm", words=("-r slurm: must be one of inline, ",))
    refused(capfd, tmp_path, *train, "--driver-on-cluster", words=(
        "--driver-on-cluster: needs -r emr, found -r inline",))
    refused(capfd, tmp_path, *train, "-r", "emr", "--driver-on-cluster", words=(
        f"--data {data}: must be a URI such as s3://BUCKET/FOLDER with --driver-on-cluster",))


def test_before_a_cluster_is_started(tmp_path, capfd, monkeypatch):
    data = small(tmp_path, "two")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it remembers those of other tests
    capfd.readouterr()
    train = ("train", "--model", "logistic", "--out", tmp_path / "m", "-r", "emr", *TEMPORARY, "--yes")
    assert command(*train, "--data", data) == 2
    assert f"--data {data}: tasks of -r emr run on other machines" in capfd.readouterr().err
    arguments = job_arguments("emr", [*TEMPORARY, "--yes"], False)
    with launcher(arguments) as jobs, pytest.raises(UsageError) as error:
        jobs.engine.begin()
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(": Unable to locate credentials; set AWS_ACCESS_KEY_ID and "
                                     "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")


def test_without_boto3(tmp_path):
    (tmp_path / "boto3.py").write_text("raise ImportError('No module named boto3')")
    done = subprocess.run(
        [sys.executable, "-m", "mr_gradient", "train", "--data", "d", "--model", "softmax", "--out",
         "m", "-r", "emr"], capture_output=True, text=True, check=False,
        env=environment(PYTHONPATH=f"{tmp_path}:{ROOT}"))
    assert done.returncode == 2
    assert done.stderr == ("mr-gradient: -r emr: No module named boto3; install what it needs with: "
                           "pip install 'mr_gradient[emr]'\n")
