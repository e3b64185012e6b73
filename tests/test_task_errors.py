"""Errors of tasks on clusters: the last attempt reports them, with the split and the node."""

from __future__ import annotations

import json

import pytest

from mr_gradient.errors import DataError, ModelError, TaskError, UsageError
from mr_gradient.jobs.protocol import RecordProtocol
from mr_gradient.jobs.task_errors import ERROR, rebuild, reported

pytestmark = pytest.mark.fast

ATTEMPT = "attempt_17_0004_m_000002_{}"


@pytest.fixture
def attempt(monkeypatch):
    """Makes this process an attempt of a map task that may have four."""
    def become(number: int) -> None:
        monkeypatch.setenv("mapreduce_task_attempt_id", ATTEMPT.format(number))
        monkeypatch.setenv("mapreduce_map_maxattempts", "4")
        monkeypatch.setenv("NM_HOST", "node-7")
    return become


def fails(error: Exception):
    yield 1, "before"
    raise error


def records(error: Exception) -> list[tuple]:
    return list(reported(fails(error), "map", lambda: "split 3"))


#: A second application master counts attempts from 1000.
@pytest.mark.parametrize("number", [0, 2, 1000, 1002])
def test_another_node_may_do_better(attempt, number):
    attempt(number)
    with pytest.raises(DataError, match="damaged"):
        records(DataError("damaged"))


@pytest.mark.parametrize(("number", "error", "message"), [
    (3, DataError("damaged"), "damaged (split 3, on node-7, {})"),
    (1003, DataError("damaged"), "damaged (split 3, on node-7, {})"),
    (0, UsageError("no cache"), "no cache (split 3, on node-7, {})"),
    (0, ModelError("no tensors"), "no tensors (split 3, on node-7, {})"),
    (3, ZeroDivisionError("by zero"), "a task failed (split 3, on node-7, {}): ZeroDivisionError: "
                                      "by zero (-v shows the traceback)")])
def test_the_last_attempt_reports(attempt, number, error, message):
    attempt(number)
    *before, (key, value) = records(error)
    assert before == [(1, "before")]
    assert key == ERROR
    line = RecordProtocol().write(key, value)
    assert RecordProtocol().read(line) == (key, json.loads(json.dumps(value)))
    found = rebuild([value])
    assert str(found) == message.format(ATTEMPT.format(number))
    assert type(found) is (TaskError if isinstance(error, ZeroDivisionError) else type(error))
    if isinstance(found, TaskError | ModelError):
        assert found.details.startswith("Traceback ")


def test_outside_of_hadoop_every_attempt_is_the_last(monkeypatch):
    monkeypatch.delenv("mapreduce_task_attempt_id", raising=False)
    monkeypatch.setenv("NM_HOST", "node-7")
    assert str(rebuild([records(DataError("damaged"))[-1][1]])) == "damaged (split 3, on node-7)"
