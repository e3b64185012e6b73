"""What the optimizers' options must be; messages name them as on the command line."""

from __future__ import annotations

import math

from mr_gradient.errors import UsageError


def option(name: str) -> str:
    """The option of a field: learning_rate is --learning-rate."""
    return "--" + name.replace("_", "-")


def check_positive(name: str, value: float, least: float = 0.0) -> None:
    """A finite number above 0, or, where ``least`` is given, of at least that."""
    if not (value > 0 and value >= least and math.isfinite(value)):
        must = f"at least {least:g}" if least else "above 0"
        raise UsageError(f"{option(name)} {value}: must be a finite number, {must}")


def check_not_negative(name: str, value: float) -> None:
    """A finite number, at least 0."""
    if not (value >= 0 and math.isfinite(value)):
        raise UsageError(f"{option(name)} {value}: must be a finite number, at least 0")


def check_decay(name: str, value: float) -> None:
    """The factor by which the past decays at each update."""
    if not 0 <= value < 1:
        raise UsageError(f"{option(name)} {value}: must be at least 0 and below 1")
