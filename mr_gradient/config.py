"""The configuration of a training, and which of it must stay the same when a training goes on."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field

from mr_gradient.errors import UsageError
from mr_gradient.models.base import Model
from mr_gradient.optimizers.base import Optimizer


@dataclass(frozen=True)
class TrainConfig:
    """What ``mr-gradient train`` is asked for; see its ``--help`` for each field."""

    data: str
    out: str
    model: str
    optimizer: str = "gd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    iterations: int = 100
    l2: float = 0.0
    seed: int = 0
    precision: str = "float32"
    hidden: tuple[int, ...] = (64,)
    rows_per_split: int = 0
    runner: str = "inline"
    runner_options: list[str] = field(default_factory=list)
    restart: bool = False
    verbose: bool = False

    def check(self) -> None:
        """Raises ``UsageError`` for a value that is out of its range."""
        _positive("--learning-rate", self.learning_rate)
        for name, value in (("--iterations", self.iterations), *(("--hidden", n) for n in self.hidden)):
            if value < 1:
                raise UsageError(f"{name} {value}: must be at least 1")
        if not 0 <= self.momentum < 1:
            raise UsageError(f"--momentum {self.momentum}: must be at least 0 and below 1")
        if not (self.l2 >= 0 and math.isfinite(self.l2)):
            raise UsageError(f"--l2 {self.l2}: must be a finite number, at least 0")
        for name, value in (("--seed", self.seed), ("--rows-per-split", self.rows_per_split)):
            if value < 0:
                raise UsageError(f"{name} {value}: must be at least 0")
        if self.precision not in ("float32", "float64"):
            raise UsageError(f"--precision {self.precision}: must be float32 or float64")

    def identity(self, model: Model, optimizer: Optimizer, data_digest: str) -> dict:
        """What a resumed training must have in common with its checkpoint.

        Only what this model and this optimizer have: a momentum that is not used may differ.
        """
        same = {name: getattr(self, name)
                for name in ("model", "optimizer", "l2", "seed", "precision", "rows_per_split")}
        for part in (model, optimizer):
            same |= {name: getattr(self, name) for name in part.__dataclass_fields__
                     if name in self.__dataclass_fields__}
        return json.loads(json.dumps({**same, "data": data_digest}))


def _positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise UsageError(f"{name} {value}: must be a finite number above 0")


def differences(before: dict, now: dict) -> str:
    """What differs between two identities, in words."""
    def words(name: str) -> str:
        if name == "data":
            return "other data"
        return f"--{name.replace('_', '-')} was {before.get(name)} and is {now.get(name)}"

    return ", ".join(words(name) for name in sorted({*before, *now})
                     if before.get(name) != now.get(name))
