"""Rows for the tests of the transforms, and JSON that was damaged."""

import copy
import json

import numpy as np
from hypothesis import strategies as st

from mr_gradient.dataset.columns import Numbers, Rows, Source, Words


def column(values):
    """A column of a list: numbers (None is missing) or words."""
    if any(isinstance(value, str) for value in values):
        words = list(dict.fromkeys(value for value in values if value is not None))
        return Words(np.array([-1 if value is None else words.index(value) for value in values],
                              np.int32), words)
    return Numbers(np.array([np.nan if value is None else value for value in values], np.float64))


def table(columns, features=None, count=None):
    """``Rows`` of lists; line 1 is a header."""
    columns = {name: column(values) if isinstance(values, list) else values
               for name, values in columns.items()}
    if count is None:
        first = next(iter(columns.values()), None)
        count = (len(features) if first is None else
                 len(first.values) if isinstance(first, Numbers) else len(first.codes))
    return Rows(columns, features, np.arange(count), np.arange(count) + 2)


def source_of(rows, width=0, dtype="float64"):
    return Source("csv", {name: "number" if isinstance(each, Numbers) else "word"
                          for name, each in rows.columns.items()}, width, dtype)


def through_text(value):
    """Through JSON as it is written: no NaN, no infinity."""
    return json.loads(json.dumps(value, allow_nan=False))


def _places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(
        value, list) else ()
    for key, each in items:
        yield from _places(each, (*path, key))


@st.composite
def damaged(draw, value):
    """``value`` with something in it removed or replaced."""
    value = copy.deepcopy(value)
    path = draw(st.sampled_from(list(_places(value))))
    replacement = draw(st.sampled_from(
        [None, True, -1, 10**30, 0.5, "", "nan", "inf", "x", [], [1], {}, {"a": 1}, 2, [[0]]]))
    if not path:
        return replacement
    inside = value
    for key in path[:-1]:
        inside = inside[key]
    if draw(st.booleans()):
        del inside[path[-1]]
    else:
        inside[path[-1]] = replacement
    return value
