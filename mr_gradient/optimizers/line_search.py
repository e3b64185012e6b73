"""A strong-Wolfe search that may try several steps at once, as pure functions over a bracket.

Algorithms 3.5 and 3.6 of Nocedal and Wright 2006: an interval that holds acceptable steps is found
and narrowed by cubic interpolation. Here each round tries one step or several; the lowest that is
acceptable wins, and where none is, all of them narrow the interval. A step whose objective is not
finite was too long, whatever its gradient says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

#: Sufficient decrease and curvature, Nocedal and Wright's c1 and c2 for quasi-Newton directions.
DECREASE, CURVATURE = 1e-4, 0.9
#: Where no upper end is known yet, the steps of a round grow by this factor, and so they shrink
#: towards the lower end from one that was far too long.
SPREAD = 4.0
#: Steps of a first round in units of a direction whose length is a guess, and of one whose length
#: the curvature gave: the most hopeful first.
FIRST = (1.0, 1 / 4, 4.0, 1 / 16, 16.0)
LATER = (1.0, 2.0, 0.5, 1.5, 0.75)


class Trial(NamedTuple):
    """A step along the direction, the objective there, and its derivative along the direction."""

    step: float
    objective: float
    slope: float

    @property
    def finite(self) -> bool:
        return math.isfinite(self.objective) and math.isfinite(self.slope)


class Bracket(NamedTuple):
    """What a search knows. All scalars.

    ``start_objective`` and ``start_slope`` at step 0; the best step with sufficient decrease
    (``low_...``), and the other end of the interval that holds acceptable steps (``high_...``),
    infinite while none is known. ``rounds`` that have been tried.
    """

    start_objective: float
    start_slope: float
    low_step: float
    low_objective: float
    low_slope: float
    high_step: float = math.inf
    high_objective: float = math.inf
    high_slope: float = math.nan
    rounds: int = 0

    @property
    def low(self) -> Trial:
        return Trial(self.low_step, self.low_objective, self.low_slope)

    @property
    def high(self) -> Trial:
        return Trial(self.high_step, self.high_objective, self.high_slope)


def begin(objective: float, slope: float) -> Bracket:
    """No step tried yet; ``slope`` is negative."""
    return Bracket(objective, slope, 0.0, objective, slope)


def decreases(bracket: Bracket, trial: Trial) -> bool:
    """Sufficient decrease, the first Wolfe condition (3.7a)."""
    return trial.finite and trial.objective <= (
        bracket.start_objective + DECREASE * trial.step * bracket.start_slope)


def acceptable(bracket: Bracket, trial: Trial, noise: float) -> bool:
    """The strong Wolfe conditions (3.7), or the approximate ones where decrease is below rounding.

    The latter judge by slopes: (2 c1 - 1) s(0) >= s(t) >= c2 s(0), for objectives up to ``noise``
    above the start's (Hager and Zhang 2005, "A new conjugate gradient method with guaranteed
    descent and an efficient line search", equation 4.1).
    """
    if not trial.finite:
        return False
    start = bracket.start_slope
    if decreases(bracket, trial) and abs(trial.slope) <= -CURVATURE * start:
        return True
    return (abs(trial.objective - bracket.start_objective) <= noise
            and (2 * DECREASE - 1) * start >= trial.slope >= CURVATURE * start)


def choose(bracket: Bracket, trials: Sequence[Trial], noise: float) -> int | None:
    """Index of the lowest acceptable trial, of those equal up to ``noise`` the flattest."""
    fit = [index for index, trial in enumerate(trials) if acceptable(bracket, trial, noise)]
    if not fit:
        return None
    limit = min(trials[index].objective for index in fit) + noise
    return min((index for index in fit if trials[index].objective <= limit),
               key=lambda index: abs(trials[index].slope))


def narrow(bracket: Bracket, trials: Sequence[Trial]) -> Bracket:
    """The interval after a round without an acceptable trial.

    Its low end is the lowest of all points with sufficient decrease, its high end that point's
    neighbour on the side to which the objective falls: the invariants of algorithm 3.6.
    """
    known = [bracket.low, *trials, *([bracket.high] if bracket.high_step < math.inf else [])]
    if bracket.low_step:
        known.append(Trial(0.0, bracket.start_objective, bracket.start_slope))
    low = min((one for one in known if one.step == 0 or decreases(bracket, one)),
              key=lambda one: one.objective)
    if low.slope < 0:
        high = min((one for one in known if one.step > low.step), key=lambda one: one.step,
                   default=Trial(math.inf, math.inf, math.nan))
    else:
        high = max((one for one in known if one.step < low.step), key=lambda one: one.step)
    return Bracket(bracket.start_objective, bracket.start_slope, *low, *high, bracket.rounds + 1)


def next_steps(bracket: Bracket, count: int) -> tuple[float, ...]:
    """``count`` steps to try in the round after one that was rejected, the most hopeful first."""
    low, high = bracket.low, bracket.high
    if math.isinf(high.step):
        guess = _by_slopes(bracket)
        return tuple(guess * SPREAD ** power for power in range(count))
    width = high.step - low.step
    part = (_cubic(low, high) - low.step) / width if high.finite else 1 / SPREAD
    part = min(max(part, 0.1), 0.9)
    parts = (part, part / SPREAD, (1 + part) / 2, *(part / SPREAD ** k for k in range(2, count)))
    return tuple(low.step + width * part for part in parts[:count])


def _by_slopes(bracket: Bracket) -> float:
    """Where the slope would vanish if it went on as from 0 to the low end; 2 to 100 times as far."""
    low, start = bracket.low, bracket.start_slope
    rise = low.slope - start
    guess = low.step * -start / rise if rise > 0 else math.inf
    return min(max(guess, 2 * low.step), 100 * low.step)


def _cubic(one: Trial, other: Trial) -> float:
    """Minimizer of the cubic through both objectives and slopes (3.59), or the middle."""
    middle = (one.step + other.step) / 2
    width = other.step - one.step
    d1 = one.slope + other.slope - 3 * (one.objective - other.objective) / (one.step - other.step)
    square = d1 * d1 - one.slope * other.slope
    if not (square >= 0 and math.isfinite(square)):
        return middle
    d2 = math.copysign(math.sqrt(square), width)
    bottom = other.slope - one.slope + 2 * d2
    step = other.step - width * (other.slope + d2 - d1) / bottom if bottom else middle
    return step if math.isfinite(step) else middle
