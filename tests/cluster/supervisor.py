"""The process that all daemons of a cluster descend from; when its starter goes, it ends them all.

    python -m cluster.supervisor

Makes a folder and prints its path. Requests are lines of JSON on stdin, each answered by a line on
stdout. At the end of stdin, which comes however the starter ends, every descendant is killed and the
folder removed. Orphans, such as the containers of a node manager that was killed, become children of
this process (a subreaper), so none is missed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import tempfile
import time
import traceback

from cluster.processes import descendants, kill_tree, send

PREFIX = "mr_gradient-hadoop-"
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None, use_errno=True)


class Supervisor:
    """Its public methods are the requests."""

    def __init__(self) -> None:
        self._pids: dict[str, int] = {}
        self._statuses: dict[int, int] = {}

    def start(self, name: str, argv: list[str], env: dict[str, str], folder: str, log: str) -> int:
        """Start a daemon in a session of its own; returns its process number."""
        pid = os.fork()
        if pid == 0:
            _become(argv, env, folder, log)
        self._pids[name] = pid
        self._statuses.pop(pid, None)
        return pid

    def kill(self, name: str) -> list[int]:
        """SIGKILL for a daemon and all that it started; returns their numbers once it is gone."""
        killed = kill_tree(self._pids[name])
        while self.poll()[name] is None:
            time.sleep(0.01)
        return killed

    def poll(self) -> dict[str, int | None]:
        """Exit status of each daemon, None while it runs."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                self._statuses[ended[0]] = os.waitstatus_to_exitcode(ended[1])
        return {name: self._statuses.get(pid) for name, pid in self._pids.items()}

    def stop(self) -> None:
        """End all. Closing stdin would not do where a forked process still holds it open."""
        raise SystemExit


def _become(argv: list[str], env: dict[str, str], folder: str, log: str) -> None:
    """The rest of a child's life, up to its program. It is killed if the supervisor is."""
    try:
        os.setsid()
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(folder)
        os.execve(argv[0], argv, env)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(127)


def _end_all() -> None:
    """Kill descendants until there are none; what they leave behind becomes ours and follows."""
    with contextlib.suppress(ChildProcessError):
        while True:
            for pid in descendants(os.getpid()):
                send(pid, signal.SIGKILL)
            os.wait()


def main() -> None:
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    supervisor = Supervisor()
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder:
        try:
            print(folder, flush=True)
            for line in sys.stdin:
                request = json.loads(line)
                answer = getattr(supervisor, request.pop("do"))(**request)
                print(json.dumps(answer), flush=True)
        finally:
            _end_all()


if __name__ == "__main__":
    main()
