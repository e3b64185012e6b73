"""Reads whole tables through a format, piece by piece, for the tests of the tabular formats."""

import math

from mr_gradient.dataset.columns import Numbers
from mr_gradient.dataset.formats.base import BadRows

WHOLE = 1 << 40


def plain(column):
    """The values of a column, None where missing; a number is a float, a word a str."""
    if isinstance(column, Numbers):
        assert column.values.dtype == "float64"
        return [None if math.isnan(value) else value for value in column.values.tolist()]
    assert column.codes.dtype == "int32"
    assert len(set(column.words)) == len(column.words)
    assert set(column.codes.tolist()) - {-1} == set(range(len(column.words)))  # no word without a row
    return [None if code < 0 else column.words[code] for code in column.codes.tolist()]


def read_piece(form, piece, source, bad=None):
    """Columns of a piece, and ``number`` and ``line`` of its rows, as lists."""
    columns = {name: [] for name in source.columns}
    numbers, lines = [], []
    for rows in form.read(piece, source, bad or BadRows()):
        assert list(rows.columns) == list(source.columns)
        assert rows.features is None
        for name, column in rows.columns.items():
            found = plain(column)
            assert len(found) == len(rows.number)
            columns[name] += found
        numbers += [int(number) for number in rows.number]
        lines += [int(line) for line in rows.line[:]]
    assert len(lines) == len(numbers)
    return columns, numbers, lines


def read_table(form, paths, options=None, size=WHOLE, bad=None):
    """Source, columns and lines of all rows; where no row is bad, the numbers must count them."""
    paths = [str(path) for path in ([paths] if not isinstance(paths, list) else paths)]
    source = form.inspect(paths, options or {})
    pieces = form.pieces(paths, source, size)
    assert [piece.piece for piece in pieces] == list(range(len(pieces)))
    columns = {name: [] for name in source.columns}
    all_lines = []
    for piece in pieces:
        found, numbers, lines = read_piece(form, piece, source, bad)
        assert bad is not None or numbers == list(range(len(numbers)))
        for name in columns:
            columns[name] += found[name]
        all_lines += lines
    return source, columns, all_lines


def written(path, content):
    """Write text or bytes to a file, and return its path as a text."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)
