"""Reducers get what mrjob's own simulation would give them: every record once, sorted, keys whole."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mr_gradient.jobs.reducer_input import deal

pytestmark = pytest.mark.fast

records = st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c", b"summary"]),
                             st.binary(max_size=9).map(lambda value: value.hex().encode())),
                   max_size=30).map(lambda pairs: [b"%s\t%s\n" % pair for pair in pairs])


def dealt(folder, outputs, tasks, small=0, sort_values=True):
    """Lines of each reducer."""
    paths = []
    for number, lines in enumerate(outputs):
        paths.append(os.path.join(folder, f"output-{number}"))
        with open(paths[-1], "wb") as file:
            file.writelines(lines)
    made = []

    def input_of(task):
        made.append(os.path.join(folder, str(task), "input"))
        return made[-1]

    count = deal(paths, input_of, tasks, small, sort_values)
    assert count == len(made)
    return [Path(path).read_bytes().splitlines(keepends=True) for path in made]


@given(st.lists(records, min_size=1, max_size=4), st.integers(1, 5))
def test_every_record_once_sorted_and_keys_whole(tmp_path_factory, outputs, tasks):
    inputs = dealt(str(tmp_path_factory.mktemp("deal")), outputs, tasks)
    together = [line for lines in inputs for line in lines]
    assert together == sorted(line for lines in outputs for line in lines)
    assert 1 <= len(inputs) <= tasks
    keys = [{line.partition(b"\t")[0] for line in lines} for lines in inputs]
    assert sum(map(len, keys)) == len(set().union(*keys))


def test_records_without_sorted_values_stay_in_the_order_of_the_mappers(tmp_path):
    outputs = [[b"b\t2\n", b"a\t9\n"], [b"b\t1\n", b"a\t3\n"]]
    assert dealt(tmp_path, outputs, 1, sort_values=False) == [
        [b"a\t9\n", b"a\t3\n", b"b\t2\n", b"b\t1\n"]]


def test_tasks_get_about_the_same_number_of_bytes(tmp_path):
    lines = [b"%02d\t%s\n" % (key, b"x" * 1000) for key in range(40)]
    assert [len(part) for part in dealt(tmp_path, [lines[::2], lines[1::2]], 4)] == [10, 10, 10, 10]


def test_little_goes_to_one_task(tmp_path):
    lines = [b"%02d\t%s\n" % (key, b"x" * 100) for key in range(40)]
    assert len(dealt(tmp_path, [lines], 4, small=10_000)) == 1


def test_long_lines(tmp_path):
    """Lines of megabytes, as blocks have, sorted by block and split."""
    outputs = [[b"00000001\t00000004\t" + b"A" * 3_000_000 + b"\n", b"00000000\t00000004\tAA\n"],
               [b"00000000\t00000000\tBB\n", b"00000001\t00000000\t" + b"B" * 3_000_000 + b"\n"]]
    first, second = dealt(tmp_path, outputs, 2)
    assert [line[:17] for line in first] == [b"00000000\t00000000", b"00000000\t00000004"]
    assert [line[:17] for line in second] == [b"00000001\t00000000", b"00000001\t00000004"]
