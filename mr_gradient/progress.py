"""What a training shows while it runs: a bar on a terminal, a plain line an iteration elsewhere.

The bar is redrawn by calls, never by a thread, since no thread of the driver may run across a fork.
"""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol


class Progress(Protocol):
    """``iteration`` is called after each iteration, ``job`` with a few words about the running job of
    a cluster, ``note`` for anything else worth a line."""

    def iteration(self, line: dict) -> None: ...

    def job(self, text: str) -> None: ...

    def note(self, text: str) -> None: ...

    def close(self) -> None: ...


def describe(metrics: dict[str, float]) -> str:
    """``loss 0.1234  accuracy 0.9876`` from a dictionary of means."""
    return "  ".join(f"{name} {metrics[name]:.6g}" for name in ("loss", "accuracy", "rmse")
                     if name in metrics)


def describe_job(facts: dict[str, Any]) -> str:
    """The facts of a job on a cluster in a few words."""
    words = []
    if "map_tasks" in facts:
        words.append(f"{facts['map_tasks']}+{facts['reduce_tasks']} tasks")
        if failed := facts["failed_map_tasks"] + facts["failed_reduce_tasks"]:
            words.append(f"{failed} failed")
        words.append(f"{facts['shuffled_bytes'] / 1e6:.3g} MB shuffled")
    if "cache_hits" in facts:
        words.append(f"cache {facts['cache_hits']} hits {facts['cache_misses']} misses")
    if slowest := facts.get("slowest"):
        words.append(f"slowest split {slowest['split']} on {slowest['node']} "
                     f"{slowest['seconds']:.2f} s")
        if facts["stragglers"]:
            words.append(f"straggling {', '.join(facts['stragglers'])}")
    return "  ".join(words)


class Lines:
    """A line an iteration on stderr."""

    def __init__(self, total: int) -> None:
        self._total = total

    def job(self, text: str) -> None:
        """Nothing: a line an iteration is enough."""

    def iteration(self, line: dict) -> None:
        held_out = describe(line.get("held_out", {}))
        self.note(f"iteration {line['iteration']}/{self._total}  {describe(line['train'])}"
                  + (f"  held-out {held_out}" if held_out else "")
                  + f"  {line['seconds']:.3f} s"
                  + (f"  {describe_job(line['job'])}" if "job" in line else ""))

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


class Bar:
    """rich's progress bar, drawn at most ten times a second."""

    def __init__(self, total: int, done: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress
        from rich.table import Column

        whole = Column(no_wrap=True)  # these keep their width, the text gives way
        self._bar = RichProgress(
            TextColumn("iteration", table_column=whole), MofNCompleteColumn(table_column=whole),
            BarColumn(10, table_column=whole), TimeRemainingColumn(table_column=whole),
            TextColumn("{task.fields[text]}", table_column=Column(no_wrap=True, ratio=1)),
            console=Console(stderr=True), auto_refresh=False, expand=True)
        self._task = self._bar.add_task("train", total=total, completed=done, text="")
        self._bar.start()
        self._drawn, self._text = 0.0, ""

    def iteration(self, line: dict) -> None:
        self._text = describe(line["train"])
        if "held_out" in line:
            self._text += f"  held-out {describe(line['held_out'])}"
        self._bar.update(self._task, completed=line["iteration"], text=self._text)
        self._draw()

    def job(self, text: str) -> None:
        self._bar.update(self._task, text=f"{text}  {self._text}".rstrip())
        self._draw()

    def _draw(self) -> None:
        if time.monotonic() - self._drawn > 0.1:
            self._bar.refresh()
            self._drawn = time.monotonic()

    def note(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._bar.refresh()
        self._bar.stop()


class Words(Lines):
    """For what has no iterations: on a terminal the words about the running job, each in place of the
    last."""

    def __init__(self) -> None:
        super().__init__(0)

    def job(self, text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        self.close()
        super().note(text)

    def close(self) -> None:
        self.job("")


class Silent:
    """Nothing at all: for library use."""

    def iteration(self, line: dict) -> None:
        pass

    job = note = close = lambda self, *_: None


KINDS = ("auto", "bar", "lines", "none")


def on_stderr(kind: str, total: int, done: int) -> Progress:
    """The progress of a kind of ``KINDS``; ``auto`` is a bar on a terminal and lines elsewhere."""
    if kind == "none":
        return Silent()
    if kind == "bar" or (kind == "auto" and sys.stderr.isatty()):
        return Bar(total, done)
    return Lines(total)
