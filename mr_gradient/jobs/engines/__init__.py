"""Where the jobs of a driver run: an engine for each runner, which lives as long as the driver.

Adding one takes a module and a line in ``_ENGINES``. Engines that need something to be installed are
imported when they are asked for.
"""

from __future__ import annotations

from importlib import import_module

from mr_gradient.jobs.engines.base import Engine, Work

__all__ = ["RUNNERS", "Engine", "Work", "engine_of", "make_engine"]

_ENGINES = {
    "inline": "base:Engine",
    "local": "base:Engine",
    "hadoop": "hadoop:HadoopEngine",
    "spark": "spark:SparkEngine",
    "emr": "emr:EmrEngine",
}
RUNNERS = tuple(_ENGINES)


def engine_of(runner: str) -> type[Engine]:
    """Which engine a runner of ``RUNNERS`` has."""
    module, _, name = _ENGINES[runner].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), name)


def make_engine(runner: str, arguments: list[str], scratch: str, run: str) -> Engine:
    """The engine of a runner; close it at the end. See ``Engine`` for the rest."""
    return engine_of(runner)(arguments, scratch, run)
