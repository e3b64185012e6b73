"""Temporary folders of owners that were killed are removed, those of the living are not."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from trainings import ROOT

from mr_gradient.ownership import owned_folder

pytestmark = pytest.mark.fast

HOLD = """
import sys, time
from mr_gradient.ownership import owned_folder
with owned_folder("work-", sys.argv[1]) as folder:
    print(folder, flush=True)
    time.sleep(60)
"""


def test_a_folder_goes_with_its_block(tmp_path):
    with owned_folder("work-", str(tmp_path)) as folder:
        assert os.listdir(tmp_path) == [os.path.basename(folder)]
        with owned_folder("work-", str(tmp_path)) as other:
            assert sorted(os.listdir(tmp_path)) == sorted(map(os.path.basename, (folder, other)))
    assert os.listdir(tmp_path) == []


def test_the_next_owner_removes_what_a_killed_one_left(tmp_path):
    owner = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE,
                             text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    with owner:
        held = os.path.basename(owner.stdout.readline().strip())
        with owned_folder("work-", str(tmp_path)):
            assert held in os.listdir(tmp_path)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        with owned_folder("work-", str(tmp_path)):
            assert held not in os.listdir(tmp_path)


def test_an_old_folder_without_a_lock_is_removed(tmp_path):
    """A kill came between the making of the folder and of its lock; a young one may still be made."""
    for name, age in (("work-old", 3600), ("work-young", 0), ("other-old", 3600)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    with owned_folder("work-", str(tmp_path)):
        pass
    assert sorted(os.listdir(tmp_path)) == ["other-old", "work-young"]


def test_a_folder_that_another_removed_before_it_was_locked_is_made_anew(tmp_path, monkeypatch):
    """Of two that begin at the same moment, one may take the other's folder for abandoned."""
    removed, real = [], fcntl.lockf

    def late(file, *arguments):
        if not removed:
            removed.append(os.path.dirname(file.name))
            shutil.rmtree(removed[0])
        real(file, *arguments)

    monkeypatch.setattr(fcntl, "lockf", late)
    with owned_folder("work-", str(tmp_path)) as folder:
        assert os.path.isdir(folder)
        assert folder != removed[0]
    assert os.listdir(tmp_path) == []
