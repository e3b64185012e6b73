"""Learning-rate schedules: the factor of the learning rate, as a pure function of the update.

``t`` counts from 0 for the first update of a training. It is kept in the optimizer's state, so that
a training that is resumed goes on with the rate at which it stopped.
"""

from __future__ import annotations

import math

from mr_gradient.errors import UsageError

SCHEDULES = ("constant", "step", "cosine", "inverse-sqrt")


def factor(schedule: str, t: int, warmup: int = 0, iterations: int = 0, drop: float = 0.1) -> float:
    """Between 0 and 1, in float64; see the functions below for what each schedule does.

    The first ``warmup`` updates climb linearly, (t + 1) / warmup, to the full rate (Goyal et al.
    2017, "Accurate, Large Minibatch SGD", section 2.2); the curve begins after them.
    """
    if t < warmup:
        return (t + 1) / warmup
    if schedule == "step":
        return step(t - warmup, iterations, drop)
    if schedule == "cosine":
        return cosine(t - warmup, iterations - warmup)
    if schedule == "inverse-sqrt":
        return inverse_sqrt(t, warmup)
    return 1.0


def step(t: int, iterations: int, drop: float) -> float:
    """``drop`` times less after every so many iterations: drop^floor(t / iterations)."""
    return drop ** (t // iterations)


def cosine(t: int, iterations: int) -> float:
    """(1 + cos(pi t / iterations)) / 2, then 0.

    Loshchilov and Hutter 2017, "SGDR", equation 5, for one period, from the learning rate to zero.
    """
    return (1 + math.cos(math.pi * min(t, iterations) / iterations)) / 2


def inverse_sqrt(t: int, warmup: int) -> float:
    """sqrt(warmup / (t + 1)): 1 where the warm-up ends; without one, 1 / sqrt(t + 1).

    Vaswani et al. 2017, "Attention Is All You Need", equation 3, but for its constant factor.
    """
    return math.sqrt(max(warmup, 1) / (t + 1))


def check(schedule: str, warmup: int, iterations: int, drop: float) -> None:
    """Raises ``UsageError`` for an unknown name, or numbers that do not fit it."""
    if schedule not in SCHEDULES:
        raise UsageError(f"--schedule {schedule}: must be one of {', '.join(SCHEDULES)}")
    for name, value in (("--warmup", warmup), ("--schedule-iterations", iterations)):
        if value < 0:
            raise UsageError(f"{name} {value}: must be at least 0")
    if schedule == "cosine" and iterations <= warmup:
        raise UsageError(f"--schedule-iterations {iterations}: must be above --warmup {warmup}, for "
                         "--schedule cosine reaches zero there")
    if schedule == "step" and iterations < 1:
        raise UsageError(f"--schedule-iterations {iterations}: must be at least 1, for --schedule "
                         "step drops after every so many iterations")
    if not 0 < drop <= 1:
        raise UsageError(f"--schedule-drop {drop}: must be above 0 and at most 1")
