"""The configuration of a training: its fields, where they come from, and what a resume must share."""

from __future__ import annotations

import difflib
import json
import math
import os
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from mr_gradient import models
from mr_gradient.dataset.uris import is_uri, without_file_scheme
from mr_gradient.errors import UsageError
from mr_gradient.models.base import Model
from mr_gradient.optimizers.base import Optimizer, Search
from mr_gradient.yaml_files import read_yaml

STRATEGIES = ("synchronous", "local-sgd")
PRECONDITIONS = ("auto", "none", "center", "scale", "both")
_SHOWN = 80
#: Where and how a training runs: it may change from one resume to the next.
_OF_THE_RUN = ("data", "out", "iterations", "runner", "runner_options", "restart", "verbose",
               "skip_model_check")


@dataclass(frozen=True)
class TrainConfig:
    """What ``mr-gradient train`` is asked for; see its ``--help`` for each field.

    None: the optimizer's own default. ``layers``: a layer list as plain data, or a file's name.
    """

    data: str = ""
    out: str = ""
    model: str = ""
    model_options: dict[str, Any] = field(default_factory=dict)
    skip_model_check: bool = False
    strategy: str = "synchronous"
    optimizer: str = "auto"
    learning_rate: float | None = None
    momentum: float | None = None
    beta1: float | None = None
    beta2: float | None = None
    decay: float | None = None
    epsilon: float | None = None
    weight_decay: float | None = None
    schedule: str | None = None
    warmup: int | None = None
    schedule_iterations: int | None = None
    schedule_drop: float | None = None
    clip_norm: float | None = None
    memory: int | None = None
    tolerance: float | None = None
    precondition: str = "auto"
    batch_size: int = 0
    local_epochs: int = 1
    local_steps: int = 0
    iterations: int = 100
    patience: int = 0
    l1: float = 0.0
    l2: float = 0.0
    class_weight: str = ""
    seed: int = 0
    precision: str = "float32"
    hidden: tuple[int, ...] = (64,)
    layers: Any = None
    input_shape: tuple[int, ...] = ()
    huber_delta: float = 1.0
    rows_per_split: int = 0
    warm_start: str = ""
    runner: str = "inline"
    runner_options: list[str] = field(default_factory=list)
    restart: bool = False
    verbose: bool = False

    def check(self) -> None:
        """Raises ``UsageError`` for a value that is out of its range."""
        missing = [f"--{name}" for name in ("data", "model", "out") if not getattr(self, name)]
        if missing:
            raise UsageError(f"{', '.join(missing)}: needed, and not given; see "
                             "'mr-gradient train --help'")
        _one_of("--strategy", self.strategy, STRATEGIES)
        _one_of("--precondition", self.precondition, PRECONDITIONS)
        _one_of("--precision", self.precision, ("float32", "float64"))
        _one_of("--class-weight", self.class_weight or "balanced", ("balanced",))
        for name, value in (("--iterations", self.iterations), ("--local-epochs", self.local_epochs),
                            *(("--hidden", n) for n in self.hidden)):
            if value < 1:
                raise UsageError(f"{name} {value}: must be at least 1")
        for name, value in (("--l1", self.l1), ("--l2", self.l2)):
            if not (value >= 0 and math.isfinite(value)):
                raise UsageError(f"{name} {value}: must be a finite number, at least 0")
        for name in ("seed", "rows_per_split", "batch_size", "local_steps", "patience"):
            value = getattr(self, name)
            if value < 0:
                raise UsageError(f"--{name.replace('_', '-')} {value}: must be at least 0")
        for name, usual in (("local_epochs", 1), ("local_steps", 0)):
            if self.strategy != "local-sgd" and getattr(self, name) != usual:
                raise UsageError(f"--{name.replace('_', '-')} {getattr(self, name)}: needs --strategy "
                                 f"local-sgd, found {self.strategy}")
        if self.local_steps and self.local_epochs != 1:
            raise UsageError(f"--local-epochs {self.local_epochs}: cannot be with --local-steps "
                             f"{self.local_steps}; leave one out")
        if self.warm_start and _place(self.warm_start) == _place(self.out):
            raise UsageError(f"--warm-start {self.warm_start}: must be another folder than --out, "
                             "where the new model will replace what is there")

    def effective(self) -> dict[str, Any]:
        """All that makes the model what it is: as YAML it is a ``--config`` that reproduces it.

        What is not given is left out; folders are absolute, so that it may be used from anywhere.
        """
        kept = {key: each for key, each in asdict(self).items()
                if key not in _OF_THE_RUN and each not in (None, "", (), {})}
        folders = {key: each if is_uri(each) else os.path.abspath(each)
                   for key in ("data", "warm_start") if (each := getattr(self, key))}
        return json.loads(json.dumps({**folders, **kept, **folders, "iterations": self.iterations}))

    def identity(self, model: Model, optimizer: Optimizer | Search, data_digest: str,
                 start_digest: str) -> dict:
        """What a resumed training must have in common with its checkpoint.

        Only what this model, this optimizer and this strategy have: a momentum that is not used may
        differ. ``start_digest``: of the parameters that a warm start took over, or empty.
        """
        same = {name: getattr(self, name) for name in (
            "model", "strategy", "optimizer", "l1", "l2", "class_weight", "seed", "precision",
            "rows_per_split", "batch_size", "precondition", "patience")}
        if self.strategy == "local-sgd":
            same |= {name: getattr(self, name) for name in ("local_epochs", "local_steps")}
        same |= json.loads(models.to_json(model))
        same |= {name: getattr(optimizer, name) for name in optimizer.__dataclass_fields__}
        return json.loads(json.dumps({**same, "data": data_digest, "warm_start": start_digest}))


def _place(folder: str) -> str:
    """A folder by the one name that it has."""
    folder = without_file_scheme(folder)
    return folder.rstrip("/") if is_uri(folder) else os.path.realpath(folder)


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        near = difflib.get_close_matches(value, known, 1)
        raise UsageError(f"{option} {value}: must be one of {', '.join(known)}"
                         + (f"; did you mean {near[0]}?" if near else ""))


def from_yaml(path: str, given: dict[str, Any]) -> TrainConfig:
    """The configuration of a YAML file with what was ``given`` over it.

    Keys are the options of ``mr-gradient train``. Raises ``UsageError`` for an unknown one, with the
    nearest known name, and for a value of the wrong kind.
    """
    value = read_yaml(path) if path else {}
    if not isinstance(value, dict):
        raise UsageError(f"{path}: must be a mapping from options to values, found {value!r:.60}")
    known = {each.name: each.type for each in fields(TrainConfig)}
    read = {}
    for key, each in value.items():
        name = str(key).replace("-", "_")
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise UsageError(f"{path}: no such option {str(key)!r}; "
                             + (f"did you mean {near[0].replace('_', '-')!r}?" if near
                                else "see 'mr-gradient train --help'"))
        read[name] = _typed(f"{path}: {key}", each, known[name])
    return replace(TrainConfig(), **read | given)


def _typed(where: str, value: Any, kind: str) -> Any:
    """A value of YAML as a field of a type; YAML reads 1e-3 as text."""
    try:
        if value is None and "None" in kind:
            return None
        if kind.startswith("float"):
            if isinstance(value, bool):
                raise ValueError
            return float(value)
        if kind.startswith("tuple"):
            numbers = value if isinstance(value, list) else str(value).split(",")
            if any(type(each) not in (int, str) for each in numbers):
                raise ValueError
            return tuple(int(each) for each in numbers)
        right = {"int": int, "str": str, "bool": bool, "list[str]": list,
                 "dict[str, Any]": dict}.get(kind.partition(" |")[0])
        if right is not None and type(value) is not right:
            raise ValueError
        if right is list and any(type(each) is not str for each in value):
            raise ValueError
        return value
    except (TypeError, ValueError):
        what = kind.partition(" |")[0].replace("tuple[int, ...]", "list of whole numbers")
        what = what.replace("list[str]", "list of words")
        raise UsageError(f"{where}: must be of type {what}, found {value!r:.60}") from None


def differences(before: dict, now: dict) -> str:
    """What differs between two identities, in words."""
    def words(name: str) -> str:
        if name == "data":
            return "other data"
        if name == "warm_start":
            return "another --warm-start"
        if name == "sha256":
            return "the file of the model has changed"
        was, now_is = (str(each.get(name))[:_SHOWN] for each in (before, now))
        return f"--{name.replace('_', '-')} was {was} and is {now_is}"

    return ", ".join(words(name) for name in sorted({*before, *now})
                     if before.get(name) != now.get(name))
