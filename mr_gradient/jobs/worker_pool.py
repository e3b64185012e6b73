"""Forked children that run the inline runner's tasks side by side, kept alive between jobs.

A child that is forked for each job would map the shards anew and pay for every page again; kept
alive it has them mapped, and its model's buffers at hand. Children talk to the driver in lines of
JSON over pipes (law 6), know nothing that a task's arguments do not say (law 3), and end when the
driver's end of the pipe closes, so a killed driver leaves no process behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from mr_gradient.errors import TaskError, from_task
from mr_gradient.jobs.task import Task


def why_fork_is_unsafe() -> str:
    """Why one process must serve here, or an empty string."""
    if not hasattr(os, "fork"):
        return "this system has no fork"
    if sys.platform == "darwin":
        return "macOS's Accelerate does not survive a fork"
    if threading.active_count() > 1:
        return "other threads are running, and a fork would copy their locks"
    if getattr(sys.modules.get("jax._src.xla_bridge"), "_backends", None):
        return "JAX has computed here, and a fork would copy its threads' locks"
    return ""


@dataclass
class _Child:
    pid: int
    to_child: int
    from_child: object  # buffered reader of the child's answers
    reaped: bool = False

    def close(self, kill: bool) -> None:
        if kill and not self.reaped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        os.close(self.to_child)
        self.from_child.close()
        if not self.reaped:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)


class WorkerPool:
    """At most ``size`` children, forked when first needed. Close it, or use it in a ``with``."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._children: list[_Child] = []
        self._owner = os.getpid()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.close(kill=kind is not None)

    def close(self, kill: bool = False) -> None:
        """End the children, and wait until they have ended."""
        if os.getpid() == self._owner:
            while self._children:
                self._children.pop().close(kill)

    def run(self, tasks: Sequence[Task]) -> None:
        """Run the tasks, each on the next free child. The first error ends the children."""
        waiting = list(reversed(tasks))
        while len(self._children) < min(self.size, len(tasks)):
            self._children.append(self._fork())
        try:
            with selectors.DefaultSelector() as busy:  # select takes no descriptor above 1,023
                for child in self._children:
                    if waiting:
                        self._send(child, waiting.pop())
                        busy.register(child.from_child, selectors.EVENT_READ, child)
                while busy.get_map():
                    for ready, _ in busy.select():
                        self._receive(ready.data)
                        if waiting:
                            self._send(ready.data, waiting.pop())
                        else:
                            busy.unregister(ready.fileobj)
        except BaseException:
            self.close(kill=True)
            raise

    @staticmethod
    def _send(child: _Child, task: Task) -> None:
        data = json.dumps(vars(task)).encode() + b"\n"
        try:
            while data:
                data = data[os.write(child.to_child, data):]
        except BrokenPipeError:
            raise _death(child) from None

    @staticmethod
    def _receive(child: _Child) -> None:
        line = child.from_child.readline()
        if not line.endswith(b"\n"):
            raise _death(child)
        answer = json.loads(line)
        if answer:
            raise from_task(answer["kind"], answer["message"], answer["details"])

    def _fork(self) -> _Child:
        task_read, task_write = os.pipe()
        answer_read, answer_write = os.pipe()
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
        # A Ctrl-C before the child ignores it would end the child, and look like a crash of it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            with warnings.catch_warnings():
                # Python counts BLAS's idle threads, which BLAS itself stops at a fork.
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
            if pid == 0:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if pid == 0:
            status = 1
            try:
                os.close(task_write)
                os.close(answer_read)
                for other in self._children:
                    os.close(other.to_child)
                    other.from_child.close()
                _serve(task_read, answer_write)
                status = 0
            finally:
                os._exit(status)  # no atexit handlers of the driver's
        os.close(task_read)
        os.close(answer_write)
        return _Child(pid, task_write, os.fdopen(answer_read, "rb"))


def _death(child: _Child) -> TaskError:
    """The error for a child that ended by itself."""
    _, status = os.waitpid(child.pid, 0)
    child.reaped = True
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        how = f"killed by signal {number} ({signal.Signals(number).name})"
        if number == signal.SIGKILL:
            how += "; out of memory? use smaller splits (--rows-per-split) or fewer --num-cores"
    else:
        how = f"ended with status {os.WEXITSTATUS(status)}"
    return TaskError(f"a task's process was {how}; run the same command again to go on")


def _serve(tasks: int, answers: int) -> None:
    """The child's loop: a line in, the task run, a line out."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with os.fdopen(tasks, "rb") as lines:
        for line in lines:
            answer = {}
            try:
                Task(**json.loads(line))()
            except BaseException as error:
                answer = {"kind": type(error).__name__, "message": str(error),
                          "details": traceback.format_exc()}
            try:
                os.write(answers, json.dumps(answer).encode() + b"\n")
            except BrokenPipeError:  # the driver is gone
                return
