"""What users read of a job's client: progress, numbers, and one line for a failure."""

from __future__ import annotations

import pytest

from mr_gradient.jobs.engines import hadoop_jobs
from mr_gradient.jobs.engines.hadoop_log import ClientLog

pytestmark = pytest.mark.fast

APPLICATION = "application_1795194494156_0004"
STARTED = """\
2026-11-20 17:10:55,004 INFO client.DefaultNoHARMFailoverProxyProvider: Connecting to ResourceManager
2026-11-20 17:10:55,974 INFO mapreduce.JobResourceUploader: Disabling Erasure Coding for path: \
/tmp/hadoop-yarn/staging/hadoop/.staging/job_1795194494156_0004
2026-11-20 17:10:58,218 INFO impl.YarnClientImpl: Submitted application application_1795194494156_0004
2026-11-20 17:10:58,346 INFO mapreduce.Job: The url to track the job: http://localhost:43869/proxy/a/
2026-11-20 17:11:09,990 INFO mapreduce.Job:  map 0% reduce 0%
2026-11-20 17:11:34,004 INFO mapreduce.Job:  map 25% reduce 100%
"""
ATTEMPT = """\
2026-11-20 17:11:20,004 INFO mapreduce.Job: Task Id : attempt_1795194494156_0004_{step}_000002_0, \
Status : FAILED
"""
FAILED = """\
2026-11-20 17:11:34,836 INFO mapreduce.Job: Job job_1795194494156_0004 failed with state FAILED \
due to: Task failed task_1795194494156_0004_m_000002
Job failed as tasks failed. failedMaps:1 failedReduces:0 killedMaps:0 killedReduces: 0

2026-11-20 17:11:35,027 ERROR streaming.StreamJob: Job not successful!
Streaming Command Failed!
"""
MEMORY = """\
[2026-11-20 17:11:20.000]Container [pid=1,containerID=container_1_0004_01_000003] is running 50000B \
beyond the 'PHYSICAL' memory limit. Current usage: 180.3 MB of 128 MB physical memory used; 2.8 GB of \
268.8 MB virtual memory used. Killing container.
"""
CODE = ("Error: java.lang.RuntimeException: PipeMapRed.waitOutputThreads(): subprocess failed with "
        "code {code}\n\tat org.apache.hadoop.streaming.PipeMapRed.waitOutputThreads(PipeMapRed.java)\n")


def said(*parts: str) -> ClientLog:
    log = ClientLog()
    for line in "".join(parts).splitlines(keepends=True):
        log.hear(line)
    return log


def test_a_job_that_runs():
    words, pages = [], []
    log = ClientLog(words.append, pages.append)
    for line in STARTED.splitlines(keepends=True):
        log.hear(line)
    assert words == ["waiting for the job to start", "map 0% reduce 0%", "map 25% reduce 100%"]
    assert pages == ["http://localhost:43869/proxy/a/"] == [log.url]
    assert (log.application, log.job, log.ended) == (APPLICATION, "job_1795194494156_0004", False)
    assert log.staging == "/tmp/hadoop-yarn/staging/hadoop/.staging/job_1795194494156_0004"


@pytest.mark.parametrize(("step", "text", "words"), [
    ("m", MEMORY, ("map task 2 was killed", "more memory", "(180.3 MB of 128 MB)",
                   "-D mapreduce.map.memory.mb=N", "--rows-per-split")),
    ("r", MEMORY, ("reduce task 2 ", "-D mapreduce.reduce.memory.mb=N", "mapreduce.job.reduces")),
    ("m", "Error: Java heap space\n", ("map task 2 ", "-D mapreduce.map.java.opts=")),
    ("m", "AttemptID:attempt_1795194494156_0004_m_000002_0 Timed out after 600 secs\n",
     ("map task 2 ", "said nothing for 600 s", "-D mapreduce.task.timeout=")),
    ("m", 'Caused by: java.io.IOException: Cannot run program "/no/python": error=2, No such file\n',
     ("cannot run '/no/python'", "--python-bin")),
    ("m", CODE.format(code=127), ("found no Python", "--python-bin")),
    ("m", CODE.format(code=137), ("map task 2 was killed by signal 9",)),
    ("m", CODE.format(code=1), ("map task 2 ended with status 1", "numpy")),
    ("m", "Error: java.io.IOException: No space left on device\n", ("No space left on device",)),
    ("m", "", ("Task failed task_1795194494156_0004_m_000002",))])
def test_a_failure_is_one_line(step, text, words):
    log = said(STARTED, ATTEMPT.format(step=step), text, FAILED)
    assert log.ended
    error = log.failure()
    assert str(error).startswith("the job failed on Hadoop: ")
    assert str(error).endswith(f"; its logs: yarn logs -applicationId {APPLICATION}")
    assert "\n" not in str(error)
    for word in words:
        assert word in str(error), error
    assert STARTED in error.details


@pytest.mark.parametrize(("text", "words"), [
    ("2026-11-20 17:11:34,836 ERROR streaming.StreamJob: Error Launching job : Call From a/1 to b:8032 "
     "failed on connection exception: java.net.ConnectException: Connection refused; For more details "
     "see:  http://wiki\nStreaming Command Failed!\n",
     "Call From a/1 to b:8032 failed on connection exception: java.net.ConnectException: Connection "
     "refused"),
    ('Exception in thread "main" java.io.IOException: No FileSystem for scheme "x"\n\tat a.b(c)\n',
     'No FileSystem for scheme "x"'),
    ("JAR does not exist or is not a normal file: /x.jar\n",
     "JAR does not exist or is not a normal file: /x.jar"),
    ("", "it said nothing")])
def test_a_client_that_fails(text, words):
    assert str(said(text).failure()) == f"the job failed on Hadoop: {words}"


@pytest.mark.parametrize("shown", ["mr_gradient-6ddeafcbb019 iteration 7", "mr_gradient-6ddeafcb"])
def test_jobs_are_found_by_their_name(shown):
    """Whole, or cut as some versions of Hadoop cut it."""
    listed = ("Total jobs:2\n                  JobId\t    JobName\t     State\n"
              f" job_1_0001\t    {shown}\t   RUNNING\t 1795194505135\thadoop\n"
              " job_1_0002\t    mr_gradient-ffff00000000 iteration 1\t   RUNNING\t 1\thadoop\n")
    assert hadoop_jobs.named(listed, "mr_gradient-6ddeafcbb019") == ["job_1_0001"]
