"""The folder of a training: whose it is, its checkpoints and its history.

Nothing is written, and with ``--restart`` nothing removed, before the first iteration has
succeeded: a training that fails at its start leaves the folder as it was.
"""

from __future__ import annotations

import os

from mr_gradient import checkpoint, storage
from mr_gradient.checkpoint import Checkpoint
from mr_gradient.config import differences
from mr_gradient.errors import DataError, UsageError
from mr_gradient.history import History
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
        self.out, self._restart = out, restart
        self._history: History | None = None
        self._kept_bytes = 0
        above = os.path.realpath(out)
        while not os.path.lexists(above):
            above = os.path.dirname(above)
        if not os.path.isdir(above):
            raise UsageError(f"--out {out}: must be a folder, but {above} is a file")
        if not os.access(above, os.W_OK | os.X_OK):
            raise UsageError(f"--out {out}: {above} is not writable; choose another folder")
        if self._found():
            self._check_marker()
            self._history = History(out)

    def _found(self) -> list[str]:
        """What is in the folder, but for the marker that a kill left half-written."""
        if not os.path.isdir(self.out):
            return []
        return sorted(name for name in os.listdir(self.out) if not name.startswith(_MARKER + ".tmp-"))

    def _check_marker(self) -> None:
        path = os.path.join(self.out, _MARKER)
        if not os.path.isfile(path):
            raise UsageError(f"--out {self.out}: must be empty, absent or a training of mr_gradient, "
                             f"but it holds something else ({self._found()[0]!r}); choose "
                             "another folder")
        try:
            ours = storage.read_json(path, "a training").get("format") == _FORMAT
        except DataError:
            ours = False
        if not ours:
            raise UsageError(f"--out {self.out}: its {_MARKER} is damaged; choose another folder, "
                             "or remove this one")

    def iterations(self) -> list[int]:
        """Iterations that have a checkpoint, in order."""
        return checkpoint.iterations(self.out)

    def newest(self, identity: dict, asked: int) -> Checkpoint | None:
        """The checkpoint to go on from, None to start at the beginning.

        Raises ``UsageError`` when it is of another configuration, or beyond ``asked`` iterations.
        """
        done = self.iterations()
        if self._restart or not done:
            return None
        checkpoint.remove_leftovers(self.out)
        last = checkpoint.load(self.out, done[-1])
        if changed := differences(last.identity, identity):
            raise UsageError(f"--out {self.out}: holds a training with another configuration: "
                             f"{changed}; choose another folder, or start over with --restart")
        if last.iteration > asked:
            raise UsageError(f"--out {self.out}: already has {last.iteration} iterations, more than "
                             f"--iterations {asked}; choose another folder, or start over with "
                             "--restart")
        self._kept_bytes = last.history_bytes
        self._history.cut(self._kept_bytes)
        return last

    def save(self, line: dict, state: Checkpoint) -> None:
        """Append to the history, then write the checkpoint."""
        if state.iteration == 1:
            self._begin(state.identity)
        state.history_bytes = self._history.append(line)
        checkpoint.save(self.out, state)

    def _begin(self, identity: dict) -> None:
        """Make the folder ours, and remove the training that was there before."""
        marker = os.path.join(self.out, _MARKER)
        storage.make_folder(self.out)
        if self._history is None:
            if os.path.exists(marker):
                raise UsageError(f"--out {self.out}: another training has begun in this folder "
                                 "meanwhile; choose another folder")
            # Before the history, which alone would make the folder look like somebody else's.
            storage.write_json(marker, {"format": _FORMAT, "version": 1})
            self._history = History(self.out)
        for old in self.iterations():
            self.drop(old)
        for name in (DESCRIPTION, TENSORS, CODE, CONFIGURATION):
            if os.path.exists(os.path.join(self.out, name)):
                os.unlink(os.path.join(self.out, name))
        checkpoint.remove_leftovers(self.out)
        self._history.cut(0)
        storage.write_json(marker, {"format": _FORMAT, "version": 1, "configuration": identity})

    def drop(self, iteration: int) -> None:
        """Remove the checkpoint of an iteration."""
        checkpoint.remove(self.out, iteration)

    def close(self) -> None:
        """Give the lock back."""
        if self._history is not None:
            self._history.close()
