"""What the user asks for: a target, transforms per column, crosses; from YAML or a dict.

    target: label
    weight: importance
    group: patient
    columns:
      age: [{impute: median}, standardize]
      city: {one_hot: {cap: 100}}
      id: drop
      text: {ngrams: {n: 2, bits: 18}}
    crosses:
      - {columns: [city, age], bits: 20}
    matrix: standardize
    numbers: [{impute: 0}, standardize]
    words: {hash: {bits: 18}}

``numbers`` and ``words`` are for the columns that are not named; what they leave out gets a default,
see ``choose.py``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from mr_gradient.dataset.columns import Source
from mr_gradient.dataset.transforms import number_steps
from mr_gradient.dataset.transforms.counts import CAP, RANKED_CAP
from mr_gradient.dataset.transforms.labels import KINDS as TARGET_TYPES
from mr_gradient.dataset.transforms.matrix_steps import KINDS as MATRIX_KINDS
from mr_gradient.dataset.transforms.options import read_options, read_step
from mr_gradient.dataset.transforms.statistics import CLASSES, Measures, Series
from mr_gradient.errors import UsageError

Steps = tuple[tuple[str, dict], ...]
DROP: Steps = (("drop", {}),)

_KEYS = ("target", "target_type", "weight", "group", "columns", "crosses", "matrix", "numbers",
         "words")


@dataclass(frozen=True)
class Spec:
    """``columns``: name -> steps ``(name, options)``, options complete; ``DROP`` leaves it out.
    ``crosses``: options of each. ``matrix``: scale, standardize, min_max, pass, drop or None.
    ``numbers``, ``words``: steps of the columns of that kind that are not in ``columns``, or None."""

    target: str | None = None
    target_type: str = "auto"
    weight: str | None = None
    group: str | None = None
    columns: dict[str, Steps] = field(default_factory=dict)
    crosses: tuple[dict, ...] = ()
    matrix: str | None = None
    numbers: Steps | None = None
    words: Steps | None = None

    @classmethod
    def from_dict(cls, value: Any) -> Spec:
        """Raises ``UsageError`` that names what is wrong, and the nearest name for a misspelt one."""
        if not isinstance(value, dict):
            _refuse("transforms", "a mapping with " + ", ".join(_KEYS), value)
        known_only("transforms", value, _KEYS)
        names = {key: value.get(key) for key in ("target", "weight", "group")}
        for key, name in names.items():
            if name is not None and not isinstance(name, str):
                _refuse(key, "the name of a column", name)
        target_type = value.get("target_type", "auto")
        if target_type not in TARGET_TYPES:
            _refuse("target_type", "one of " + ", ".join(TARGET_TYPES), target_type)
        columns = value.get("columns") or {}
        if not isinstance(columns, dict):
            _refuse("columns", "a mapping from columns to transforms", columns)
        for column in columns:
            if not isinstance(column, str):
                _refuse("columns", "named by text (quote it in YAML)", column)
        crosses = value.get("crosses") or []
        if not isinstance(crosses, list):
            _refuse("crosses", "a list of {columns: [...], bits: ...}", crosses)
        matrix = value.get("matrix")
        if matrix is not None and matrix not in (*MATRIX_KINDS, "drop"):
            _refuse("matrix", "one of " + ", ".join((*MATRIX_KINDS, "drop")), matrix)
        return cls(**names, target_type=target_type, matrix=matrix,
                   numbers=_default("numbers", value, (*number_steps.STEPS, "drop")),
                   words=_default("words", value, ("one_hot", "hash", "ngrams", "drop")),
                   columns={name: _steps(f"columns: {name}", steps) for name, steps in columns.items()},
                   crosses=tuple(read_options("crosses", "cross", each) for each in crosses))

    @classmethod
    def from_yaml(cls, path: str) -> Spec:
        """Read a YAML file. Raises ``UsageError`` for a file that is not there or not YAML."""
        try:
            from mr_gradient.yaml_files import read_yaml  # for the driver only

            return cls.from_dict(read_yaml(path))
        except UsageError as error:
            name = "" if str(error).startswith(path) else f"{path}: "
            raise UsageError(f"{name}{error}") from None

    def check(self, source: Source) -> None:
        """Raises ``UsageError`` for columns that the input lacks, and steps of the wrong kind."""
        roles = {"target": self.target, "weight": self.weight, "group": self.group}
        for key, name in roles.items():
            if name is not None:
                known_only(key, [name], source.columns, "column")
        taken = [name for name in roles.values() if name is not None]
        if len(set(taken)) < len(taken):
            raise UsageError("target, weight and group must be different columns, found "
                             + ", ".join(taken))
        known_only("columns", self.columns, source.columns, "column")
        for name, steps in self.columns.items():
            if name in taken and steps != DROP:
                raise UsageError(f"columns: {name}: is the target, weight or group, and no feature; "
                                 "remove it there")
            step = steps[0][0] if steps else "pass"
            if source.columns[name] == "word" and step in number_steps.STEPS:
                raise UsageError(f"columns: {name}: {step} needs numbers, and the column holds words; "
                                 "use one_hot, hash, ngrams or drop, or read it as numbers with "
                                 f"--kind {name}=number")
        for cross in self.crosses:
            known_only("crosses", cross["columns"], source.columns, "column")
            leak = set(cross["columns"]) & set(taken)
            if leak:
                raise UsageError(f"crosses: {min(leak)}: is the target, weight or group, and no "
                                 "feature")
        if self.matrix and not source.width:
            raise UsageError(f"matrix: {self.matrix}: the input has named columns, and no matrix")
        if self.weight is not None and source.columns[self.weight] != "number":
            raise UsageError(f"weight: {self.weight}: must hold numbers, found words")

    def features(self, source: Source) -> list[str]:
        """The columns that can become features, in the input's order."""
        roles = (self.target, self.weight, self.group)
        return [name for name in source.columns if name not in roles]

    def steps(self, column: str, kind: str) -> Steps | None:
        """What was asked for a column of a kind, ``number`` or ``word``; None for nothing."""
        return self.columns.get(column, self.numbers if kind == "number" else self.words)

    def chain(self, column: str) -> number_steps.Chain:
        """The steps of a number column; its default is to standardize, or to pass: the same
        statistics serve both."""
        return number_steps.chain_of(column, self.steps(column, "number") or (("standardize", {}),))

    def measures(self, source: Source) -> Measures:
        """What a pass over the data must count so that a plan can be made. Checks the spec first."""
        self.check(source)
        series: set[Series] = {Series(name) for name, kind in source.columns.items()
                               if kind == "number"}
        medians: set[Series] = set()
        counted: dict[str, int] = {name: CAP for name, kind in source.columns.items() if kind == "word"}
        for name in self.features(source):
            steps = self.steps(name, source.columns[name])
            first = steps[0] if steps else ("", {})
            if first[0] == "one_hot":
                counted[name] = max(RANKED_CAP, first[1]["cap"])
            elif source.columns[name] == "number" and (steps is None
                                                       or first[0] in ("", *number_steps.STEPS)):
                asked, sketched = self.chain(name).series(name)
                series |= asked
                medians |= sketched
        if self.target is not None:
            counted[self.target] = CLASSES
        order = {name: i for i, name in enumerate(source.columns)}

        def ranked(each: Iterable[Series]) -> tuple[Series, ...]:
            return tuple(sorted(each, key=lambda one: (order[one.column], one.shape)))

        return Measures(ranked(series), ranked(medians),
                        tuple(sorted(counted.items(), key=lambda pair: order[pair[0]])), source.width)


def _steps(where: str, value: Any) -> Steps:
    """Steps of a column: ``drop``, one step, or a list of them."""
    if value == "drop":
        return DROP
    steps = tuple(read_step(where, each) for each in (value if isinstance(value, list) else [value]))
    if not steps:
        _refuse(where, "a transform, a list of them, or drop", value)
    others = [name for name, _ in steps if name not in number_steps.STEPS]
    if others and len(steps) > 1:
        raise UsageError(f"{where}: {others[0]} must be the only transform of its column")
    if not others:
        number_steps.chain_of(where.removeprefix("columns: "), steps)
    return steps


def _default(key: str, value: dict, known: tuple[str, ...]) -> Steps | None:
    """Steps of the columns of a kind that are not named."""
    if value.get(key) is None:
        return None
    steps = _steps(key, value[key])
    if steps[0][0] not in known:
        _refuse(key, "made of " + ", ".join(known), steps[0][0])
    return steps


def known_only(where: str, names: Iterable[Any], known: Iterable[str], what: str = "key") -> None:
    """Raises ``UsageError`` for a name that is not known, with the nearest that is."""
    known = list(known)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            listed = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
            hint = f"did you mean {near[0]!r}?" if near else f"known are {listed or 'none'}"
            raise UsageError(f"{where}: no such {what} {str(name)!r}; {hint}")


def _refuse(where: str, must: str, found: Any) -> NoReturn:
    raise UsageError(f"{where}: must be {must}; found {found!r:.60}")
