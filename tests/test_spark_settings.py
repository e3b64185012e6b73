"""What ``-r spark`` makes of options, and what it refuses; Spark itself is not started."""

from __future__ import annotations

import importlib.util
import sys

import pytest
from cli_tools import refused
from trainings import RECIPES, class_data, in_a_process, run

from mr_gradient import fingerprint, threads
from mr_gradient.errors import TaskError, UsageError
from mr_gradient.jobs.engines import spark_errors, spark_task
from mr_gradient.jobs.engines.spark import settings_of
from mr_gradient.jobs.engines.spark_runner import Settings
from mr_gradient.jobs.protocol import SUMMARY, RecordProtocol

pytestmark = pytest.mark.fast


def settings(*options: str) -> Settings:
    return settings_of(["-r", "spark", *options])


@pytest.mark.parametrize(("options", "master", "is_local"), [
    ([], "local[*]", True), (["--num-cores", "3"], "local[3]", True),
    (["--spark-master", "local[2]"], "local[2]", True),
    (["--spark-master", "spark://node:7077"], "spark://node:7077", False),
    (["--spark-master", "yarn"], "yarn", False)])
def test_masters(options, master, is_local):
    assert (settings(*options).master, settings(*options).is_local) == (master, is_local)


def test_settings_go_on_and_secrets_stay_off_the_command_line(monkeypatch):
    for name in fingerprint.KERNELS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    found = settings("-D", "spark.executor.memory=2g", "-D", "spark.hadoop.fs.s3a.secret.key=x",
                     "-D", "spark.executorEnv.A=1", "--cmdenv", "B=2",
                     "--spark-args=--queue night --driver-memory 3g", "--py-files", "more.zip")
    assert found.early == {"spark.executor.memory": "2g"}
    assert found.words == ["--queue", "night", "--driver-memory", "3g"]
    assert found.py_files == ["more.zip"]
    variables = {"A": "1", "B": "2", "MKL_CBWR": "COMPATIBLE", **dict.fromkeys(threads.VARIABLES, "1")}
    assert found.late == {"spark.hadoop.fs.s3a.secret.key": "x",
                          **{f"spark.executorEnv.{name}": each for name, each in variables.items()}}


def test_the_python_of_the_tasks(monkeypatch):
    monkeypatch.delenv("PYSPARK_PYTHON", raising=False)
    assert settings().python == sys.executable
    assert settings("--spark-master", "yarn").python == "python3"
    assert settings("--spark-master", "yarn", "--python-bin", "env/bin/python").python \
        == "env/bin/python"
    monkeypatch.setenv("PYSPARK_PYTHON", "python3.12")
    assert settings("--spark-master", "yarn").python == "python3.12"


@pytest.mark.parametrize(("options", "message"), [
    (["--spark-deploy-mode", "cluster"], "must be client"),
    (["--setup", "make"], "--setup: not with -r spark"),
    (["--archives", "env.tar.gz#env"], "--archives: not with .*--spark-args='--archives"),
    (["-D", "mapreduce.job.reduces=4"], "-D mapreduce.job.reduces: .*must begin with 'spark.'")])
def test_refused(options, message):
    with pytest.raises(UsageError, match=message):
        settings(*options)


def test_without_pyspark_one_line_says_how_to_install_it(tmp_path, capfd, monkeypatch):
    data = class_data(tmp_path / "data")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec",
                        lambda name, *rest: None if name == "pyspark" else find(name, *rest))
    refused(capfd, tmp_path, "train", "--data", data.folder, "--model", "softmax", "--out",
            tmp_path / "m", "-r", "spark", words=["pip install 'mr_gradient[spark]'"])


def test_other_runners_do_not_import_pyspark():
    """It takes half a second, and mrjob's runners would."""
    code = ("import sys; from mr_gradient.jobs.launch import job_arguments\n"
            "for runner in ('inline', 'local', 'hadoop'): job_arguments(runner, [], False)\n"
            "print('pyspark' in sys.modules)")
    assert in_a_process(code).stdout == "False\n"


def test_a_reducer_gets_all_records_of_a_block():
    write = RecordProtocol().write
    line = write(SUMMARY, {"split": 3})
    assert spark_task.reducer_of(line) == spark_task.reducer_of(write(SUMMARY, {"split": 4}))
    assert [spark_task.reducer_of(b"%08d\t%08d\tAA==" % (block, 7)) % 2 for block in range(4)] \
        == [0, 1, 0, 1]


PYTHON = """Job aborted due to stage failure: Task 0 in stage 0.0 failed 4 times, most recent failure: \
Lost task 0.3 in stage 0.0 (TID 3) (10.0.0.1 executor 1): org.apache.spark.api.python.PythonException: \
Traceback (most recent call last):
  File "worker.py", line 1
ModuleNotFoundError: No module named 'numpy'

	at org.apache.spark.api.python.BasePythonRunner"""
LOST = """Job aborted due to stage failure: Task 1 in stage 2.0 failed 4 times, most recent failure: \
Lost task 1.3 in stage 2.0 (TID 9) (10.0.0.1 executor 4): ExecutorLostFailure (executor 4 exited \
caused by one of the running tasks) Reason: Remote RPC client disassociated. Likely due to containers \
exceeding thresholds, or network issues. Check driver logs for WARN messages.
Driver stacktrace:"""
CRASHED = """Job aborted due to stage failure: Task 1 in stage 2.0 failed 1 times, most recent \
failure: Lost task 1.0 in stage 2.0 (TID 9) (localhost executor driver): \
org.apache.spark.SparkException: Python worker exited unexpectedly (crashed): 9
	at org.apache.spark"""
NO_PYTHON = 'java.io.IOException: Cannot run program "python3.12": error=2, No such file or directory'


@pytest.mark.parametrize(("text", "message"), [
    (PYTHON.replace("ModuleNotFoundError: ", "OSError: "),
     r"a task failed: OSError: No module named 'numpy' \(-v"),
    (LOST, "a task lost its executor in each of its attempts: Remote RPC client disassociated"),
    (CRASHED, r"a task failed: Python worker exited unexpectedly \(crashed\): 9$"),
    (NO_PYTHON, "the nodes have no python3.12; name their Python with --python-bin"),
    ("org.apache.spark.SparkException: Job 0 cancelled because killed via the Web UI",
     "the job failed on Spark: Job 0 cancelled because killed via the Web UI")])
def test_one_line_for_a_failed_job(text, message):
    error = spark_errors.of_job(RuntimeError(text), "what the JVM said")
    assert isinstance(error, TaskError)
    assert "\n" not in str(error)
    with pytest.raises(TaskError, match=message):
        raise error


VERSIONS = """Traceback (most recent call last):
pyspark.errors.exceptions.base.PySparkRuntimeError: [PYTHON_VERSION_MISMATCH] Python in worker has \
different version: 3.9 than that in driver: 3.11, PySpark cannot run with different minor versions.
Please check environment variables PYSPARK_PYTHON and PYSPARK_DRIVER_PYTHON are correctly set.
"""


@pytest.mark.parametrize(("text", "message"), [
    (PYTHON, "the executors' Python fails: No module named 'numpy'; install it on the nodes, or name "
     "another Python with --python-bin"),
    (VERSIONS, "Python in worker has different version: 3.9 than that in driver: 3.11; name one of the "
     "driver's release with --python-bin")])
def test_a_python_of_the_executors_that_does_not_do(text, message):
    error = spark_errors.of_job(RuntimeError(text), "what the JVM said")
    assert isinstance(error, UsageError)
    assert str(error) == message


@pytest.mark.parametrize(("said", "message"), [
    ("JAVA_HOME is not set\n", "needs Java 17"),
    ("spark-class: line 71: /x/bin/java: No such file or directory\n", "needs Java 17"),
    ("java.lang.UnsupportedClassVersionError: org/apache/spark", "needs a newer Java"),
    ("ERROR StandaloneSchedulerBackend: Application has been killed. Reason: All masters are "
     "unresponsive! Giving up.", "the master does not answer; see --spark-master")])
def test_one_line_for_a_spark_that_does_not_start(said, message):
    error = spark_errors.of_start(said, RuntimeError("[JAVA_GATEWAY_EXITED]"))
    assert message in str(error)
    assert "\n" not in str(error)


def test_a_context_that_does_not_start_says_why():
    error = spark_errors.of_start("WARN a warning", RuntimeError(
        "An error occurred while calling None.JavaSparkContext.\n: java.net.BindException: no port\n"))
    assert str(error) == "-r spark: Spark did not start: no port"


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_local_data_is_refused_on_another_machines_cluster(tmp_path, capfd, command):
    data = class_data(tmp_path / "data")
    run(data, tmp_path / "m", 1, **RECIPES["softmax"])
    more = ["--out", tmp_path / "new", "--model", "softmax"] if command == "train" \
        else ["--model", tmp_path / "m"]
    refused(capfd, tmp_path, command, "--data", data.folder, *more, "-r", "spark",
            "--spark-master", "spark://127.0.0.1:1", words=["--data", "file://"])


def test_prepare_is_refused_on_another_machines_cluster(tmp_path, capfd):
    (tmp_path / "in.csv").write_text("a,label\n1,2\n2,3\n")
    refused(capfd, tmp_path, "prepare", tmp_path / "in.csv", "--out", tmp_path / "new", "-r", "spark",
            "--spark-master", "spark://127.0.0.1:1", words=["in.csv: is on this machine", "file://"])
