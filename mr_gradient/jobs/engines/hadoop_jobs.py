"""Jobs of YARN from outside: which are left of a run, and how to end one."""

from __future__ import annotations

from mr_gradient.jobs.engines import hadoop_client

#: Some versions of Hadoop show no more of a job's name in their list.
_SHOWN = 20


def kill(hadoop: list[str], job: str) -> None:
    """End a job, such as ``job_1_0001``; no error if it has ended."""
    hadoop_client.run(hadoop, "job", "-kill", job)


def kill_all(hadoop: list[str], name: str) -> list[str]:
    """End the jobs whose name begins with a word, which a driver that was lost has left.

    Returns their numbers.
    """
    found = named(hadoop_client.run(hadoop, "job", "-list").stdout, name)
    for job in found:
        kill(hadoop, job)
    return found


def named(listed: str, name: str) -> list[str]:
    """Numbers of the jobs whose name begins with a word, in the output of ``hadoop job -list``."""
    found = []
    for words in map(str.split, listed.splitlines()):
        if words and words[0].startswith("job_") and (name in words or name[:_SHOWN] in words):
            found.append(words[0])
    return found
