"""safetensors files: written, mapped without a copy, and refused when they are not what they say."""

import json
import mmap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from mr_gradient import tensors
from mr_gradient.errors import DataError

pytestmark = pytest.mark.fast

DTYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]
arrays = st.sampled_from(DTYPES).flatmap(lambda dtype: numpy_strategies.arrays(
    dtype, numpy_strategies.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)))
named_arrays = st.dictionaries(st.text(min_size=1, max_size=8), arrays, max_size=5)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["F32", "U8", "dtype", "shape", "data_offsets"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["dtype", "shape", "data_offsets", "a", "__metadata__"]), inner, max_size=3),
    max_leaves=10)


def write(path, named, metadata=None):
    return write_bytes(path, b"".join(tensors.to_chunks(named, metadata)))


def write_bytes(path, content):
    with open(path, "wb") as file:
        file.write(content)
    return path


def raw(header, data=b""):
    """A file with this header, which may be JSON or bytes, padded or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def mapping_of(array):
    """The object that owns an array's memory."""
    while isinstance(array, np.ndarray):
        array = array.base
    return array.obj if isinstance(array, memoryview) else array


@given(named=named_arrays, metadata=st.dictionaries(st.text(), st.text(), max_size=3))
def test_round_trip(scratch_file, named, metadata):
    found, found_metadata = tensors.read(write(scratch_file, named, metadata))
    assert found_metadata == metadata
    assert found.keys() == named.keys()
    for name, array in named.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()
        assert not found[name].flags.writeable


@given(named=named_arrays)
def test_arrays_are_aligned_views_of_the_mapped_file(scratch_file, named):
    content = b"".join(tensors.to_chunks(named))
    assert (8 + int.from_bytes(content[:8], "little")) % 64 == 0
    found, _ = tensors.read(write(scratch_file, named))
    for array in found.values():
        if array.size:
            assert isinstance(mapping_of(array), mmap.mmap)
            assert array.ctypes.data % array.itemsize == 0


def test_all_arrays_share_one_mapping(scratch_file):
    found, _ = tensors.read(write(scratch_file, {"a": np.ones(3), "b": np.ones(4, np.float32)}))
    assert mapping_of(found["a"]) is mapping_of(found["b"])


@given(named=named_arrays)
def test_the_widest_type_comes_first(scratch_file, named):
    specs = {name: (array.dtype, array.shape) for name, array in named.items()}
    head, offsets = tensors.header(specs)
    content = b"".join(tensors.to_chunks(named))
    assert content.startswith(head)
    assert len(content) == len(head) + sum(array.nbytes for array in named.values())
    ordered = sorted((name for name in named if named[name].size), key=offsets.get)
    widths = [named[name].itemsize for name in ordered]
    assert widths == sorted(widths, reverse=True)
    for name, array in named.items():
        assert content[offsets[name]:offsets[name] + array.nbytes] == array.tobytes()


@pytest.mark.parametrize("array", [
    np.arange(12.0).reshape(3, 4).T, np.arange(12.0)[::2], np.arange(12.0)[::-1],
    np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.broadcast_to(1.0, (2, 3))],
    ids=["transposed", "strided", "reversed", "fortran", "broadcast"])
def test_any_memory_order_is_written_in_rows(scratch_file, array):
    found, _ = tensors.read(write(scratch_file, {"a": array}))
    np.testing.assert_array_equal(found["a"], array)
    assert found["a"].flags.c_contiguous


VALID = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
LIES = {
    "unknown type": {"a": {**VALID, "dtype": "F31"}},
    "type of numpy": {"a": {**VALID, "dtype": "float32"}},
    "object type": {"a": {**VALID, "dtype": "O"}},
    "type is a list": {"a": {**VALID, "dtype": ["F32"]}},
    "shape too large": {"a": {**VALID, "shape": [3]}},
    "shape too small": {"a": {**VALID, "shape": [1]}},
    "shape huge": {"a": {**VALID, "shape": [2**62, 2**62]}},
    "shape that wraps to fit": {"a": {**VALID, "shape": [2**63 + 1, 2]}},
    "shape huge and empty": {"a": {**EMPTY, "shape": [0, 2**70]}},
    "shape negative": {"a": {**VALID, "shape": [-2]}},
    "shape doubly negative": {"a": {**VALID, "shape": [-1, -2]}},
    "shape of floats": {"a": {**VALID, "shape": [2.0]}},
    "shape of booleans": {"a": {**VALID, "shape": [2, True]}},
    "shape a number": {"a": {**VALID, "shape": 2}},
    "shape a string": {"a": {**VALID, "shape": "2"}},
    "shape an object": {"a": {"dtype": "F32", "shape": {}, "data_offsets": [0, 4]}},
    "shape of too many sides": {"a": {**VALID, "shape": [2] + [1] * 99}},
    "shape nested": {"a": {**VALID, "shape": [[2]]}},
    "shape missing": {"a": {"dtype": "F32", "data_offsets": [0, 8]}},
    "offsets overlap": {"a": VALID, "b": {**VALID, "data_offsets": [4, 12]}},
    "offsets equal": {"a": VALID, "b": VALID},
    "offsets leave a hole": {"a": {**VALID, "data_offsets": [4, 12]}},
    "offsets beyond the end": {"a": {**VALID, "data_offsets": [8, 16]}},
    "offsets reversed": {"a": {**VALID, "data_offsets": [8, 0]}},
    "offsets negative": {"a": {**VALID, "data_offsets": [-8, 0]}},
    "offsets of three": {"a": {**VALID, "data_offsets": [0, 8, 16]}},
    "offsets of floats": {"a": {**VALID, "data_offsets": [0.0, 8.0]}},
    "offsets of strings": {"a": {**VALID, "data_offsets": ["0", "8"]}},
    "offsets null": {"a": {**VALID, "data_offsets": None}},
    "offsets of mixed kinds": {"a": VALID, "b": {**VALID, "data_offsets": "08"}},
    "tensor null": {"a": None},
    "tensor a list": {"a": [VALID]},
    "tensor a string": {"a": "F32"},
    "metadata a list": {"__metadata__": [], "a": VALID},
    "metadata of numbers": {"__metadata__": {"scale": 1}, "a": VALID},
    "metadata null": {"__metadata__": None, "a": VALID},
    "a list": [VALID], "a string": "a", "a number": 3, "null": None,
    "no JSON": b"{", "two values": b"{}{}", "not UTF-8": b'{"\xff": 1}', "nested": b"[" * 100_000,
    "nested tensors": b'{"a":' * 100_000,
}


@pytest.mark.parametrize("header", LIES.values(), ids=LIES)
def test_headers_that_lie_are_refused(scratch_file, header):
    data = b"" if header == LIES["shape huge and empty"] else bytes(
        4 if header == LIES["shape an object"] else 8)
    with pytest.raises(DataError, match="not a safetensors file"):
        tensors.read(write_bytes(scratch_file, raw(header, data)))


def test_the_lies_are_told_of_a_file_that_is_read_when_it_is_true(scratch_file):
    found, _ = tensors.read(write_bytes(scratch_file, raw({"a": VALID}, bytes(8))))
    assert found["a"].tolist() == [0, 0]
    found, _ = tensors.read(write_bytes(scratch_file, raw({"a": EMPTY})))
    assert found["a"].shape == (0,)


@pytest.mark.parametrize("content", [
    b"", b"1234567", bytes(8), bytes(100), b"\xff" * 8, b"\xff" * 100,
    (9).to_bytes(8, "little") + b"{}",
    raw({"a": VALID}, bytes(7)), raw({"a": VALID}, bytes(9)), raw({}, b"1")])
def test_files_of_the_wrong_length_are_refused(scratch_file, content):
    with pytest.raises(DataError, match="not a safetensors file"):
        tensors.read(write_bytes(scratch_file, content))


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        tensors.read(str(tmp_path / "absent"))
    with pytest.raises(DataError, match="cannot be read"):
        tensors.read(str(tmp_path))


def read_or_refuse(path, content):
    """Whatever the file holds, reading gives whole arrays or a ``DataError``."""
    try:
        found, _ = tensors.read(write_bytes(path, content))
    except DataError:
        return
    assert sum(array.nbytes for array in found.values()) <= len(content)
    for array in found.values():
        array.tobytes()


@given(data=st.data())
def test_mutated_files_are_read_or_refused(scratch_file, data):
    content = bytearray(b"".join(tensors.to_chunks(
        {"weight": np.ones((2, 3), np.float32), "bias": np.zeros(2), "count": np.array(3)},
        {"format": "test"})))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    read_or_refuse(scratch_file, bytes(content[:data.draw(st.integers(8, len(content)))]))


@given(header=json_values, size=st.integers(0, 16))
def test_any_json_is_read_or_refused(scratch_file, header, size):
    read_or_refuse(scratch_file, raw(header, bytes(size)))
    read_or_refuse(scratch_file, raw({"a": header}, bytes(size)))
    for field in VALID:
        read_or_refuse(scratch_file, raw({"a": {**VALID, field: header}}, bytes(size)))
