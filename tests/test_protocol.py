"""Records between tasks: what is written is read again, and damage is never more than an error."""

import base64
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from mr_gradient.errors import DataError
from mr_gradient.jobs.protocol import SUMMARY, RecordProtocol, decode_array, encode_array
from mr_gradient.partial_gradient import Node

pytestmark = pytest.mark.fast

PROTOCOL = RecordProtocol()
numbers = st.integers(0, 10**8 - 1)
values = st.sampled_from([np.float32, np.float64]).flatmap(
    lambda dtype: numpy_strategies.arrays(
        dtype, st.integers(0, 40), fill=st.just(0.0),
        elements=st.floats(width=8 * np.dtype(dtype).itemsize)))
nodes = st.builds(Node, numbers, st.integers(0, 62), values, st.integers(0, 2**32 - 1))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8)


def bits(array):
    """Type and bytes, taking a negative zero for a zero: jobs add 0.0 before they emit."""
    return array.dtype.str, np.where(array == 0, array.dtype.type(0), array).tobytes()


def sparse_node(dtype=np.float32, size=100, used=5):
    array = np.zeros(size, dtype)
    array[::size // used] = 1.5
    return Node(3, 1, array, 2)


@given(numbers, nodes)
def test_round_trip(block, node):
    key, found = PROTOCOL.read(PROTOCOL.write(block, node))
    assert key == block
    assert (found.start, found.level, found.splits) == (node.start, node.level, node.splits)
    assert bits(found.values) == bits(node.values)
    found.values += 1  # the reducer adds in place: the node must own its numbers


@given(values.filter(lambda array: array.size))
def test_dense_records_keep_every_bit(array):
    array[array == 0] = 1
    found = decode_array(0, encode_array(Node(0, 0, array)))
    assert found.values.tobytes() == array.tobytes()


@given(numbers, st.dictionaries(st.text(), json_values))
def test_summaries_round_trip(split, summary):
    summary["split"] = split
    assert PROTOCOL.read(PROTOCOL.write(SUMMARY, summary)) == (SUMMARY, summary)


@given(numbers, nodes, st.text())
def test_a_record_is_one_line_of_three_fields(block, node, text):
    for line in (PROTOCOL.write(block, node),
                 PROTOCOL.write(SUMMARY, {"split": node.start, "host": text})):
        assert line.count(b"\t") == 2
        assert line.isascii()
        assert not any(separator in line for separator in (b"\n", b"\r", b" "))


def test_a_line_may_end_as_files_end_it():
    line = PROTOCOL.write(7, sparse_node())
    for ending in (b"", b"\n", b"\r\n"):
        assert PROTOCOL.read(line + ending)[0] == 7


@given(st.lists(st.tuples(numbers, numbers), unique=True, max_size=20), st.lists(numbers, max_size=5))
def test_text_order_is_numeric_order_and_summaries_come_last(pairs, summaries):
    lines = [PROTOCOL.write(block, Node(split, 0, np.ones(1, np.float32))) for block, split in pairs]
    lines += [PROTOCOL.write(SUMMARY, {"split": split}) for split in summaries]
    read = [PROTOCOL.read(line) for line in sorted(lines)]
    records = [(block, node.start) for block, node in read[:len(pairs)]]
    assert records == sorted(pairs)
    assert [(key, value["split"]) for key, value in read[len(pairs):]] == [
        (SUMMARY, split) for split in sorted(summaries)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(used=st.integers(0, 30), size=st.integers(30, 60))
def test_the_smaller_of_sparse_and_dense_is_written(dtype, used, size):
    array = np.zeros(size, dtype)
    array[:used] = 1
    sparse, dense = used * (4 + array.itemsize), size * array.itemsize
    length = len(encode_array(Node(0, 0, array)))
    assert min(sparse, dense) < length <= min(sparse, dense) + 32
    other = np.ones(size, dtype)
    assert length <= len(encode_array(Node(0, 0, other)))


def record(data, block=b"00000001", split=b"00000002"):
    """A line from the bytes of its last field."""
    return b"\t".join((block, split, base64.b64encode(data)))


GOOD = encode_array(Node(0, 0, np.ones(1)))


def read_damaged(line):
    """Whatever comes, it is read or it is a ``DataError``; True when it was refused."""
    try:
        PROTOCOL.read(line)
    except DataError:
        return True
    return False


@pytest.mark.parametrize("node", [
    sparse_node(), sparse_node(np.float64), Node(0, 0, np.arange(20, dtype=np.float32)),
    Node(0, 0, np.arange(20, dtype=np.float64))], ids=["sparse4", "sparse8", "dense4", "dense8"])
def test_every_truncation_is_noticed(node):
    line, data = PROTOCOL.write(12, node), encode_array(node)
    pieces = [line[:length] for length in range(len(line))]
    pieces += [record(data[:length]) for length in range(len(data))]
    assert [piece for piece in pieces if not read_damaged(piece)] == []


@given(nodes, st.data())
def test_flipped_bytes_are_read_or_refused(node, data):
    line = bytearray(PROTOCOL.write(12, node))
    for _ in range(data.draw(st.integers(1, 4))):
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))
    read_damaged(bytes(line))


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_random_bytes_are_read_or_refused(line, body):
    read_damaged(line)
    read_damaged(record(body))
    assert read_damaged(record(b"\xff" + body, SUMMARY.encode()))


@pytest.mark.parametrize("line", [
    b"", b"\t\t", b"1\t2", b"1\t2\t3\t4", b"one\t2\tAAAA", b"1\ttwo\tAAAA", b"1\t2\t!!!", b"1\t2\tA",
    record(GOOD, block=b"-0000001"), record(GOOD, split=b"-0000001"), record(GOOD, block=b"9" * 5000),
    *(record(data, b"summary")
      for data in (b"[]", b"no JSON", b'{"split": 3}', b"{}", b"[" * 100_000))],
    ids=lambda line: line[:30].decode())
def test_lines_that_are_no_records_are_refused(line):
    with pytest.raises(DataError, match=r"^record"):
        PROTOCOL.read(line)


@pytest.mark.parametrize(("position", "value"), [(0, 0), (0, 2), (1, 2), (2, 2), (3, 63)],
                         ids=["version 0", "version 2", "type", "kind", "level"])
def test_unknown_headers_are_refused(position, value):
    data = bytearray(encode_array(sparse_node()))
    data[position] = value
    with pytest.raises(DataError, match="unknown version"):
        decode_array(0, bytes(data))


def test_positions_beyond_the_block_are_refused():
    data = bytearray(encode_array(sparse_node(size=100)))
    at = data.index(struct.pack("<I", 80))
    data[at:at + 4] = struct.pack("<I", 100)
    with pytest.raises(DataError, match="beyond 100 elements"):
        decode_array(0, bytes(data))


@pytest.mark.parametrize("claimed", [2**24, 2**31, 2**31 + 1, 2**63, 2**64 - 1])
def test_a_short_record_cannot_reserve_much_memory(claimed):
    """Blocks are at most about 1 MiB; a flipped bit in the size must not ask for gigabytes."""
    data = bytearray(encode_array(Node(0, 0, np.zeros(77, np.float64))))
    at = data.index(struct.pack("<Q", 77))
    data[at:at + 8] = struct.pack("<Q", claimed)
    tracemalloc.start()
    try:
        read_damaged(record(data))
        assert tracemalloc.get_traced_memory()[1] <= 2**30
    finally:
        tracemalloc.stop()
