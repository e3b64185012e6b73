"""A task of the inline runner: everything that a process needs to run it, as JSON-able fields."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True)
class Task:
    """One mapper or reducer. ``environment`` holds what differs from the driver's own."""

    module: str
    job: str
    arguments: list[str]
    stdin: str
    stdout: str
    stderr: str
    folder: str
    environment: dict[str, str]

    def __call__(self) -> None:
        """Run in this process, and put its streams, folder and environment back after."""
        job = getattr(sys.modules.get(self.module) or import_module(self.module), self.job)
        saved = sys.stdin, sys.stdout, sys.stderr, os.getcwd(), sys.path
        changed = {name: os.environ.get(name) for name in self.environment}
        layers: tuple = ()
        with open(self.stdin, "rb") as stdin, open(self.stdout, "wb") as stdout, \
                open(self.stderr, "wb", buffering=0) as stderr:
            try:
                os.environ.update(self.environment)
                os.chdir(self.folder)
                sys.path = [self.folder, *sys.path]
                # Text layers, since prints, warnings and logging write strings.
                sys.stdin = stdin
                sys.stdout = io.TextIOWrapper(stdout, "utf-8", write_through=True)
                sys.stderr = io.TextIOWrapper(stderr, "utf-8", "replace", write_through=True)
                layers = sys.stdout, sys.stderr
                job(self.arguments).execute()
            finally:
                sys.stdin, sys.stdout, sys.stderr, folder, sys.path = saved
                for layer in layers:
                    layer.flush()
                    layer.detach()
                os.chdir(folder)
                for name, value in changed.items():
                    if value is None:
                        os.environ.pop(name, None)
                    else:
                        os.environ[name] = value
