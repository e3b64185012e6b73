"""Where the jobs of a driver run: an engine for each runner, which lives as long as the driver.

Adding one takes a module and a line in ``_ENGINES``. Engines that need something to be installed are
imported when they are asked for.
"""

from __future__ import annotations

from importlib import import_module

from mr_gradient.jobs.engines.base import Engine, Work

__all__ = ["RUNNERS", "Engine", "Work", "make_engine"]

_ENGINES = {
    "inline": "base:Engine",
    "local": "base:Engine",
    "hadoop": "hadoop:HadoopEngine",
}
RUNNERS = tuple(_ENGINES)


def make_engine(runner: str, arguments: list[str], scratch: str, run: str) -> Engine:
    """The engine of a runner of ``RUNNERS``; close it at the end. See ``Engine`` for the rest."""
    module, _, name = _ENGINES[runner].partition(":")
    kind = getattr(import_module(f"{__name__}.{module}"), name)
    return kind(arguments, scratch, run)
