"""Starts of ``hadoop`` and the signals of a driver: no cluster is needed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from mr_gradient.jobs.engines import hadoop_client

pytestmark = pytest.mark.fast


def interrupted(*steps) -> None:
    """A block with two Ctrl-C before its steps."""
    with hadoop_client.undisturbed():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        for step in steps:
            step()


def test_a_ctrl_c_waits_for_the_end_of_the_block():
    done = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(lambda: done.append("all"))
    assert done == ["all"]
    with pytest.raises(KeyboardInterrupt):  # handlers are as before
        signal.raise_signal(signal.SIGINT)


def test_an_error_of_the_block_comes_first():
    with pytest.raises(IndexError):
        interrupted([].pop)


@pytest.mark.parametrize(("code", "status"), [
    ("import time; print(flush=True); time.sleep(60)", -signal.SIGTERM),
    ("import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)",
     -signal.SIGKILL)])
def test_a_client_is_ended(code, status):
    """Gently if it can be, so that it removes its temporary files."""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE,
                          start_new_session=True) as client:
        client.stdout.readline()
        started = time.monotonic()
        hadoop_client.end(client, patience=0.5)
        assert client.returncode == status
        assert time.monotonic() - started < 30
        hadoop_client.end(client)  # harmless


def test_what_a_command_said_last():
    assert hadoop_client.last_line("WARN\nrm: refused; For more details see:  http://w\n\n") == (
        "rm: refused")
    assert hadoop_client.last_line("\n") == "it said nothing"
