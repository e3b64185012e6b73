"""Long tasks give signs of life: not at every chunk, and often enough for the job's own limit."""

from __future__ import annotations

import pytest

from mr_gradient.jobs import heartbeat
from mr_gradient.jobs.heartbeat import Heartbeat

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(("timeout", "seconds", "beats"), [
    ("", 1, [30, 60, 90]), ("600000", 1, [30, 60, 90]), ("0", 1, [30, 60, 90]),
    ("20000", 1, [5, 10, 15, 20]), ("600000", 45, [45, 90, 135])])
def test_status_every_30_seconds_or_four_times_a_timeout(monkeypatch, timeout, seconds, beats):
    monkeypatch.setenv("mapreduce_task_timeout", timeout)
    now, told = [0.0], []
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now[0])
    beat = Heartbeat(lambda text: told.append((text, now[0])))
    for item in beat.during(range(100), "split 3"):
        assert item == now[0] / seconds
        now[0] += seconds
    assert told[:len(beats)] == [("split 3", at) for at in beats]
