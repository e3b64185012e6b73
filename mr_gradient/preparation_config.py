"""What ``mr-gradient prepare`` is asked for, and the transforms that follow from it."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from mr_gradient.dataset.checks import Checks
from mr_gradient.dataset.columns import Source
from mr_gradient.dataset.formats.base import PIECE_BYTES
from mr_gradient.dataset.presets import preset
from mr_gradient.dataset.sizing import Wishes
from mr_gradient.dataset.transforms.plan import Plan
from mr_gradient.dataset.transforms.spec import DROP, Spec
from mr_gradient.errors import UsageError
from mr_gradient.yaml_files import read_yaml

_USUAL_TARGETS = ("label", "target", "class", "y")
_MAX_SHARDS = 100_000
_SHOWN = 10
#: Options of the command that are keys of the transforms.
_OF_SPEC = ("target", "target_type", "weight", "group")


@dataclass(frozen=True)
class PreparationConfig(Wishes):
    """Options of ``mr-gradient prepare``; see its ``--help``.

    ``transforms``: a YAML file, ``spec``: the same as a dictionary, which is looked at first.
    ``format_options``: of the reader. ``numbers``: transform of the number columns, or of the matrix.
    ``arguments``: of the jobs, as ``job_arguments`` makes them.
    """

    inputs: list[str] = field(default_factory=list)
    out: str = ""
    format: str | None = None
    preset: str = ""
    format_options: dict = field(default_factory=dict)
    transforms: str = ""
    spec: dict = field(default_factory=dict)
    target: str | None = None
    target_type: str | None = None
    weight: str | None = None
    group: str | None = None
    numbers: str | None = None
    on_bad_row: str = "fail"
    max_bad_rows: int = 0
    on_missing: str = "impute"
    overwrite: bool = False
    like: str = ""
    arguments: list[str] = field(default_factory=list)
    piece_bytes: int = PIECE_BYTES

    def check(self) -> None:
        """Raises ``UsageError`` for a value that is out of its range, or that another forbids."""
        if not 0 <= self.test_fraction < 1:
            raise UsageError(f"--test-fraction {self.test_fraction}: must be at least 0 and below 1")
        for name, value in (("--shards", self.shards), ("--seed", self.seed),
                            ("--max-bad-rows", self.max_bad_rows)):
            if value < 0:
                raise UsageError(f"{name} {value}: must be at least 0")
        if self.shards > _MAX_SHARDS:
            raise UsageError(f"--shards {self.shards}: must be at most {_MAX_SHARDS}")
        if self.max_bad_rows and self.on_bad_row == "fail":
            raise UsageError(f"--max-bad-rows {self.max_bad_rows}: needs --on-bad-row skip")
        if self.stratify and not self.test_fraction:
            raise UsageError("--stratify: needs --test-fraction")
        if self.stratify and self._asked.get("group"):
            raise UsageError("--stratify: cannot be with --group, whose rows stay together")
        if self.like:
            for name in ("preset", "transforms", "spec", *_OF_SPEC, "numbers", "class_weight",
                         "stratify"):
                if getattr(self, name):
                    raise UsageError(f"--{name.replace('_', '-')}: comes from --like {self.like}; "
                                     "leave it out")

    @property
    def _asked(self) -> dict[str, Any]:
        """The transforms that were asked for: options over ``spec`` over the file over the preset."""
        value: dict[str, Any] = dict(preset(self.preset).spec) if self.preset else {}
        if self.transforms:
            read = read_yaml(self.transforms)
            if not isinstance(read, dict):
                raise UsageError(f"{self.transforms}: must be a mapping, found {read!r:.60}")
            value |= read
        return value | self.spec | {name: getattr(self, name) for name in _OF_SPEC
                                    if getattr(self, name) is not None}

    def reader(self) -> tuple[str | None, dict[str, Any]]:
        """Name of the format, None to find it out, and the reader's options."""
        if not self.preset:
            return self.format, dict(self.format_options)
        chosen = preset(self.preset)
        if self.format not in (None, chosen.format):
            raise UsageError(f"--format {self.format}: --preset {self.preset} is {chosen.format}")
        return chosen.format, chosen.options | self.format_options

    def transforms_for(self, source: Source) -> Spec:
        """The transforms for an input. Raises ``UsageError`` for what it cannot have."""
        asked = self._asked
        known = ", ".join(list(source.columns)[:_SHOWN]) + ", ..." * (len(source.columns) > _SHOWN)
        if source.options.get("header") is False and "header" not in self.reader()[1]:
            known += " (the files seem to have no header; if they have one, say --header yes)"
        if not asked.get("target"):
            asked["target"] = self.target_in(source.columns)
            if asked["target"] is None:
                raise UsageError(f"{self.inputs[0]}: has no column called {', '.join(_USUAL_TARGETS)}; "
                                 f"name the target with --target, one of: {known or 'none'}")
        for role in ("target", "weight", "group"):
            if asked.get(role) is not None and asked[role] not in source.columns:
                near = difflib.get_close_matches(str(asked[role]), source.columns, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"found {known or 'none'}"
                raise UsageError(f"--{role} {asked[role]}: {self.inputs[0]} has no such column; {hint}")
        if self.numbers is not None:
            asked["matrix" if source.width else "numbers"] = self.numbers
        try:
            spec = Spec.from_dict(asked)
            spec.check(source)
        except UsageError as error:
            where = f"{self.transforms}: " if self.transforms else ""
            raise UsageError(f"{where}{error}") from None
        # How wide libsvm is, is found out by counting.
        if not spec.features(source) and not source.width and source.format != "libsvm":
            raise UsageError(f"{self.inputs[0]}: must have a feature column beside the target "
                             f"{spec.target!r}")
        return spec

    def checks(self, source: Source, spec: Spec) -> Checks:
        """Which rows are bad: without a label, weight or group, and, if asked, without a feature."""
        roles = tuple(name for name in (spec.target, spec.weight, spec.group) if name is not None)
        if self.on_missing == "impute":
            return Checks(roles, False, spec.weight)
        kinds = source.columns
        needed = (name for name in spec.features(source)
                  if spec.steps(name, kinds[name]) != DROP
                  and not any(step == "impute" for step, _ in spec.columns.get(name, ())))
        return Checks((*roles, *needed), True, spec.weight)

    def checks_like(self, plan: Plan) -> Checks:
        """The same for input that is prepared as that of another data set was."""
        roles = (plan.labels.column, plan.weight_column, plan.group_column)
        columns = () if self.on_missing == "impute" else plan.columns
        return Checks((*(name for name in roles if name is not None), *columns),
                      self.on_missing != "impute", plan.weight_column)

    def target_in(self, columns: Collection[str]) -> str | None:
        """The target that was asked for, or the column that is called like one; None: not there."""
        asked = self._asked.get("target")
        return next((name for name in ([asked] if asked else _USUAL_TARGETS) if name in columns), None)

    def needs_numbers(self, source: Source) -> list[str]:
        """Columns that must hold numbers and seem to hold words."""
        asked = self._asked
        needed = [asked.get("weight"),
                  self.target_in(source.columns) if asked.get("target_type") == "value" else None]
        return [name for name in needed if source.columns.get(name) == "word"]
