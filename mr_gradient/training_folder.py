"""The folder of a training: whose it is, its checkpoints and its history.

Nothing is written, and with ``--restart`` nothing removed, before the first iteration has
succeeded: a training that fails at its start leaves the folder as it was. In a store only the lock is
there before, which also shows at once whether anything may be written.
"""

from __future__ import annotations

import contextlib

from mr_gradient import checkpoint
from mr_gradient.checkpoint import Checkpoint
from mr_gradient.config import differences
from mr_gradient.errors import DataError, MrGradientError, UsageError
from mr_gradient.folders import LEASES, open_folder
from mr_gradient.history import LocalHistory, StoredHistory, open_history
from mr_gradient.model_folder import CODE, DESCRIPTION, TENSORS

#: The configuration that the model in the folder has been trained with.
CONFIGURATION = "config.yaml"
_MARKER, _FORMAT = "training.json", "mr_gradient training"


class TrainingFolder:
    """Checks, and locks, the folder ``out``; close it at the end."""

    def __init__(self, out: str, restart: bool) -> None:
        """Raises ``UsageError`` when the folder is not empty and not a training's."""
        if not out:
            raise UsageError("--out: must name a folder, found nothing")
        self.files = open_folder(out)
        self.out, self._restart = self.files.given, restart
        self._history: LocalHistory | StoredHistory | None = None
        self._kept_bytes = 0
        try:
            self.files.check()
            self._ours = bool(self._found())
            if self._ours:
                self._check_marker()
            if self._ours or not self.files.is_local:
                self._history = open_history(self.files)
        except BaseException:
            self.close()
            raise

    def _found(self) -> list[str]:
        """What is in the folder, but for the marker that a kill left half-written, and leases."""
        return sorted(name for name in self.files.names()
                      if not name.startswith(_MARKER + ".tmp-") and name != LEASES)

    def _check_marker(self) -> None:
        if not self.files.exists(_MARKER):
            raise UsageError(f"--out {self.out}: must be empty, absent or a training of mr_gradient, "
                             f"but it holds something else ({self._found()[0]!r}); choose "
                             "another folder")
        try:
            ours = self.files.read_json(_MARKER, "a training").get("format") == _FORMAT
        except DataError:
            ours = False
        if not ours:
            raise UsageError(f"--out {self.out}: its {_MARKER} is damaged; choose another folder, "
                             "or remove this one")

    def iterations(self) -> list[int]:
        """Iterations that have a checkpoint, in order."""
        return checkpoint.iterations(self.files)

    def newest(self, identity: dict, asked: int) -> Checkpoint | None:
        """The checkpoint to go on from, None to start at the beginning.

        Raises ``UsageError`` when it is of another configuration, or beyond ``asked`` iterations.
        """
        done = self.iterations()
        if self._restart or not done:
            return None
        checkpoint.remove_leftovers(self.files)
        last = checkpoint.load(self.files, done[-1])
        if changed := differences(last.identity, identity):
            raise UsageError(f"--out {self.out}: holds a training with another configuration: "
                             f"{changed}; choose another folder, or start over with --restart")
        if last.iteration > asked:
            raise UsageError(f"--out {self.out}: already has {last.iteration} iterations, more than "
                             f"--iterations {asked}; choose another folder, or start over with "
                             "--restart")
        self._kept_bytes = last.history_bytes
        self._history.cut(self._kept_bytes, last.history_tail)
        return last

    def save(self, line: dict, state: Checkpoint) -> None:
        """Append to the history, then write the checkpoint."""
        if state.iteration == 1:
            self._begin(state.identity)
        state.history_bytes = self._history.append(line)
        state.history_tail = self._history.tail
        checkpoint.save(self.files, state)

    def _begin(self, identity: dict) -> None:
        """Make the folder ours, and remove the training that was there before."""
        self.files.make()
        if not self._ours:
            if self.files.exists(_MARKER):
                raise UsageError(f"--out {self.out}: another training has begun in this folder "
                                 "meanwhile; choose another folder")
            # Before the history, which alone would make the folder look like somebody else's.
            self.files.write_json(_MARKER, {"format": _FORMAT, "version": 1})
            self._ours = True
        if self._history is None:
            self._history = open_history(self.files)
        for old in self.iterations():
            self.drop(old)
        self.files.remove(DESCRIPTION, TENSORS, CODE, CONFIGURATION)
        checkpoint.remove_leftovers(self.files)
        self._history.cut(0)
        self.files.write_json(_MARKER, {"format": _FORMAT, "version": 1, "configuration": identity})

    def drop(self, iteration: int) -> None:
        """Remove the checkpoint of an iteration."""
        checkpoint.remove(self.files, iteration)

    def finish(self) -> None:
        """Before the model is written: all lines of the history are in its file."""
        self._history.flush()

    def close(self) -> None:
        """Give the lock back."""
        try:
            if self._history is not None:
                with contextlib.suppress(MrGradientError):  # the lines are in the checkpoint, too
                    if self._ours:
                        self._history.flush()
                self._history.close()
        finally:
            self.files.close()
