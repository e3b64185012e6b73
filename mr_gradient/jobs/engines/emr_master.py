"""Runs a driver on the master node of a cluster of EMR, and tells S3 how it goes.

    python -m mr_gradient.jobs.engines.emr_master URI COMMAND [OPTION ...]

The step that starts this made the folder that we are in, which goes with us. Logs of a step reach S3
after minutes; so what the driver says is written to ``URI/status.json`` while it runs, by the program
``aws`` that every node has.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

STATUS = "status.json"
_SECONDS = 5.0
_LINES_KEPT = 100
#: While this file is touched, EMR does not take the cluster for idle, whatever YARN does.
_BUSY = Path("/emr/metricscollector/isbusy")


class _Lines:
    """What the driver has said: how many lines, and the last of them."""

    def __init__(self) -> None:
        self.count, self.kept = 0, []

    def follow(self, stream: IO[str]) -> None:
        for line in stream:
            self.kept = [*self.kept[1 - _LINES_KEPT:], line.rstrip("\n")]
            self.count += 1
            print(line, end="", file=sys.stderr, flush=True)  # for the step's own log


def main() -> int:
    """Exit status of the driver."""
    uri, *words = sys.argv[1:]
    folder, lines = os.getcwd(), _Lines()
    try:
        with open("result.json", "w+b") as result, subprocess.Popen(
                [sys.executable, "-m", "mr_gradient", *words], stdin=subprocess.DEVNULL, stdout=result,
                stderr=subprocess.PIPE, text=True, errors="replace") as driver:
            signal.signal(signal.SIGTERM, lambda *_: driver.terminate())
            reader = threading.Thread(target=lines.follow, args=(driver.stderr,))
            reader.start()
            _wait(driver, lines, uri)
            reader.join()
            result.seek(0)
            told = result.read()
        _tell(uri, lines, {"status": driver.returncode,
                           "result": json.loads(told) if driver.returncode == 0 else None})
        return driver.returncode
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(driver: subprocess.Popen, lines: _Lines, uri: str) -> None:
    told = 0
    while True:
        with contextlib.suppress(OSError):  # not on EMR
            _BUSY.touch()
        try:
            driver.wait(_SECONDS)
            return
        except subprocess.TimeoutExpired:
            if lines.count != told:
                told = lines.count
                _tell(uri, lines, {})


def _tell(uri: str, lines: _Lines, more: dict) -> None:
    said = {"count": lines.count, "lines": lines.kept, **more}
    subprocess.run(["aws", "s3", "cp", "--only-show-errors", "-", f"{uri}/{STATUS}"],
                   input=json.dumps(said).encode(), check=False)


if __name__ == "__main__":
    sys.exit(main())
