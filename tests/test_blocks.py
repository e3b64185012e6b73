"""The flat parameter vector, its tensors and its blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mr_gradient.blocks import BLOCK_BYTES, Block, Layout
from mr_gradient.errors import DataError

pytestmark = pytest.mark.fast

EXAMPLE = Layout.of({"weight": (2, 3), "bias": (2,), "scale": ()})
names = st.text("abcdefgh.", min_size=1, max_size=6)
layouts = st.builds(Layout.of, st.dictionaries(
    names, st.lists(st.integers(0, 6), max_size=3).map(tuple), max_size=6))


def test_tensors_lie_one_after_the_other():
    assert EXAMPLE.ranges == {"weight": (0, 6), "bias": (6, 8), "scale": (8, 9)}
    assert EXAMPLE.size == 9


def test_views_write_through():
    flat = np.zeros(9, np.float32)
    views = EXAMPLE.views(flat)
    views["weight"][1, 2] = 1
    views["bias"] += 2
    views["scale"][...] = 3
    assert flat.tolist() == [0, 0, 0, 0, 0, 1, 2, 2, 3]


@given(layouts)
def test_flatten_is_the_inverse_of_views(layout):
    flat = np.arange(layout.size, dtype=np.float64)
    views = layout.views(flat)
    assert {name: view.shape for name, view in views.items()} == dict(layout.shapes)
    again = layout.flatten(dict(reversed(views.items())), np.dtype(np.float32))
    assert again.dtype == np.float32
    np.testing.assert_array_equal(again, flat)
    assert not np.shares_memory(again, flat)


@pytest.mark.parametrize(("change", "message"), [
    ({"bias": None}, "'bias' is missing; found weight, scale"),
    ({"bias": np.zeros(3)}, r"'bias' must have shape \(2,\), found \(3,\)"),
    ({"weight": np.zeros((3, 2))}, r"'weight' must have shape \(2, 3\), found \(3, 2\)"),
    ({"scale": np.zeros(1)}, r"'scale' must have shape \(\), found \(1,\)")])
def test_flatten_names_what_does_not_fit(change, message):
    tensors = {**EXAMPLE.views(np.zeros(9)), **change}
    with pytest.raises(DataError, match=message):
        EXAMPLE.flatten({name: array for name, array in tensors.items() if array is not None},
                        np.dtype(np.float64))


def test_flatten_of_nothing_says_so():
    with pytest.raises(DataError, match="found none"):
        EXAMPLE.flatten({}, np.dtype(np.float64))


@given(layouts, st.integers(1, 64), st.sampled_from([4, 8]))
def test_blocks_cover_every_parameter_once_and_never_cross_a_tensor(layout, block_bytes, itemsize):
    blocks = layout.blocks(block_bytes, itemsize)
    covered = [position for block in blocks for position in range(block.start, block.stop)]
    assert covered == list(range(layout.size))
    step = max(1, block_bytes // itemsize)
    for block in blocks:
        start, stop = layout.ranges[block.tensor]
        assert start <= block.start < block.stop <= stop
        assert block.stop - block.start == min(step, stop - block.start)
        assert (block.start - start) % step == 0


def test_blocks_of_a_tensor_are_cut_from_its_own_beginning():
    layout = Layout.of({"weight": (5,), "bias": (3,)})
    assert layout.blocks(8, 4) == [
        Block("weight", 0, 2), Block("weight", 2, 4), Block("weight", 4, 5),
        Block("bias", 5, 7), Block("bias", 7, 8)]


def test_blocks_have_the_size_that_the_design_names():
    assert 256 * 1024 <= BLOCK_BYTES <= 1024 * 1024
    large = Layout.of({"weight": (1000, 1000)})
    assert len(large.blocks(BLOCK_BYTES, 4)) == -(-4_000_000 // BLOCK_BYTES)
