"""Tasks that are held where a test wants to hurt them, without a hook in what is tested.

    brakes = Brakes(folder)
    train(..., "--python-bin", brakes.python)
    brakes.put("map", r"iteration 2 attempt_\\w+_m_\\d+_0 .* output")
    [task] = wait_for(lambda: brakes.held("map"))
    os.kill(task.pid, signal.SIGKILL)
    brakes.release("map")

A brake is a file with a pattern. It is sought in ``JOB ATTEMPT NODE POINT``; the point is ``start``,
when Python starts, and ``output``, when half of the first record has been written. A brake whose name
begins with ``kill`` kills.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from cluster.processes import parents


@dataclass(frozen=True)
class Held:
    """A task that waits: its attempt, the process number of its Python, and the host of its node."""

    attempt: str
    pid: int
    node: str

    @property
    def java(self) -> int:
        """The process number of its JVM, which started the Python."""
        return parents()[self.pid]


class Brakes:
    """Brakes in a folder, which is made, and must be readable on all nodes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        shutil.copy(Path(__file__).with_name("held_task.py"), folder / "sitecustomize.py")
        self.python = folder / "python"
        self.python.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:"{shlex.quote(str(folder))} '
                               f'exec {shlex.quote(sys.executable)} "$@"\n')
        self.python.chmod(0o755)

    def put(self, name: str, pattern: str) -> None:
        """Before the tasks that it is for."""
        (self.folder / f"{name}.new").write_text(pattern)
        (self.folder / f"{name}.new").replace(self.folder / f"{name}.brake")

    def held(self, name: str) -> list[Held]:
        """Attempts that came to a brake so far and still live, by their names."""
        alive = parents()
        found = [Held(**json.loads(path.read_text())) for path in self.folder.glob(f"{name}-*.mark")]
        return sorted((each for each in found if each.pid in alive), key=lambda each: each.attempt)

    def came(self, name: str) -> list[str]:
        """All attempts that ever came to a brake."""
        return sorted(path.stem.removeprefix(f"{name}-") for path in self.folder.glob(f"{name}-*.mark"))

    def release(self, name: str = "*") -> None:
        """Let go whom a brake holds; by default all."""
        for path in self.folder.glob(f"{name}.brake"):
            path.unlink()
