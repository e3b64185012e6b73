"""Hadoop streaming in small: runs a job from the arguments of its client, with data in S3.

As Hadoop 3 does it: files by ``-files`` with ``#name``, a task a line and its offset by
NLineInputFormat, keys of several fields, partitions by the first, sorted by all, settings as variables
of the tasks, attempts, an output folder that must not be there before.
"""

from __future__ import annotations

import re
import shlex
import shutil
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from botocore.exceptions import ClientError

#: Options of the client that take one value.
_OPTIONS = {"-files", "-archives", "-D", "-input", "-output", "-mapper", "-reducer", "-cmdenv",
            "-inputformat", "-partitioner"}
_N_LINE = "org.apache.hadoop.mapred.lib.NLineInputFormat"
_BY_FIELDS = "org.apache.hadoop.mapred.lib.KeyFieldBasedPartitioner"
_ATTEMPTS = "4"
#: Map tasks that run at the same time.
_SLOTS = 2


class StepError(Exception):
    """What makes the step fail."""


class _Job:
    """Options by name; the settings of ``-D``, variables of ``-cmdenv`` and files of ``-files``."""

    def __init__(self, words: list[str]) -> None:
        given: dict[str, list[str]] = {}
        for option, value in zip(words[::2], words[1::2], strict=True):
            if option not in _OPTIONS:
                raise StepError(f"Unrecognized option: {option}")
            given.setdefault(option, []).append(value)
        self.one = {option: values[-1] for option, values in given.items()}
        self.settings = dict(each.partition("=")[::2] for each in given.get("-D", ()))
        self.variables = dict(each.partition("=")[::2] for each in given.get("-cmdenv", ()))
        self.files = [each.partition("#")[::2] for each in self.one["-files"].split(",")]
        self.inputs = given["-input"]
        for name in ("-archives", "-combiner"):
            if name in self.one:
                raise StepError(f"{name} is not imitated")

    def number(self, name: str, usual: str) -> int:
        return int(self.settings.get(name, usual))


def run_streaming(words: list[str], s3, folder: Path, call: Callable, log: Path) -> None:
    """Run a job; ``call`` runs a task, ``log`` gets what they all say on stderr."""
    job = _Job(words)
    bucket, prefix = _split(job.one["-output"].rstrip("/"))
    if s3.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/").get("KeyCount"):
        raise StepError(f"Output directory {job.one['-output']} already exists")
    shipped = {}
    for number, (uri, name) in enumerate(job.files):
        shipped[name] = folder / f"file-{number}"
        shipped[name].write_bytes(_read(s3, uri))

    def task(kind: str, number: int, command: str, data: bytes) -> bytes:
        attempts = job.number(f"mapreduce.{kind}.maxattempts", _ATTEMPTS)
        for attempt in range(attempts):
            cwd = folder / f"{kind}-{number}-{attempt}"
            cwd.mkdir()
            for name, path in shipped.items():
                (cwd / name).symlink_to(path)
            settings = {f"mapreduce.{kind}.maxattempts": _ATTEMPTS, **job.settings,
                        "mapreduce.task.attempt.id":
                        f"attempt_1_0001_{kind[0]}_{number:06d}_{attempt}"}
            variables = {re.sub(r"\W", "_", name): value for name, value in settings.items()}
            status, output = call(shlex.split(command), cwd, {**variables, **job.variables}, data, log)
            shutil.rmtree(cwd)
            if status == 0:
                return output
        raise StepError(f"Task failed: {kind} {number}: subprocess failed with code {status}")

    with ThreadPoolExecutor(_SLOTS) as slots:
        outputs = slots.map(lambda pair: task("map", pair[0], job.one["-mapper"], pair[1]),
                            enumerate(_splits(job, s3)))
        records = [line for output in outputs for line in output.splitlines()]
    reducers = job.number("mapreduce.job.reduces", "1")
    keys = job.number("stream.num.map.output.key.fields", "1")
    for number in range(reducers):
        mine = sorted((line for line in records if _partition(job, line) % reducers == number),
                      key=lambda line: _fields(line, keys))
        data = b"".join(line + b"\n" for line in mine)
        s3.put_object(Bucket=bucket, Key=f"{prefix}/part-{number:05d}",
                      Body=task("reduce", number, job.one["-reducer"], data))
    s3.put_object(Bucket=bucket, Key=f"{prefix}/_SUCCESS", Body=b"")


def _splits(job: _Job, s3) -> list[bytes]:
    """What each map task reads."""
    data = b"".join(_read(s3, uri) for uri in job.inputs)
    if job.one.get("-inputformat") != _N_LINE:
        return [data]
    found, offset = [], 0
    for line in data.splitlines(keepends=True):
        found.append(b"%d\t%b" % (offset, line))
        offset += len(line)
    return found


def _fields(line: bytes, count: int) -> list[bytes]:
    return line.split(b"\t")[:count]


def _partition(job: _Job, line: bytes) -> int:
    by_field = job.one.get("-partitioner") == _BY_FIELDS
    if by_field and job.settings.get("mapreduce.partition.keypartitioner.options") != "-k1,1":
        raise StepError("only partitions by the first field are imitated")
    count = 1 if by_field else job.number("stream.num.map.output.key.fields", "1")
    return zlib.crc32(b"\t".join(_fields(line, count)))


def _split(uri: str) -> tuple[str, str]:
    if not uri.startswith("s3://"):
        raise StepError(f"File {uri} does not exist")
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def _read(s3, uri: str) -> bytes:
    bucket, key = _split(uri)
    try:
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        raise StepError(f"File {uri} does not exist: {error}") from None
