"""Law 2: the sum over splits has the same bits, whoever adds which splits, in whatever order."""

import itertools
import math
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mr_gradient.errors import DataError
from mr_gradient.partial_gradient import Node, SiblingSum, ordered_sum, tree_sum

pytestmark = pytest.mark.fast

LENGTH = 6
MAX_SPLITS = 70
LEVELS = MAX_SPLITS.bit_length()


def recursive_sum(parts, start=0, level=LEVELS):
    """Independent rewrite of the tree: a node is the rounded sum of its halves, if they exist."""
    if level == 0:
        return parts.get(start)
    left = recursive_sum(parts, start, level - 1)
    right = recursive_sum(parts, start + 2 ** (level - 1), level - 1)
    if left is None or right is None:
        return left if right is None else right
    return left + right


def vectors(splits, seed):
    """A float32 vector a split, of magnitudes so different that every addition rounds."""
    generator = np.random.default_rng(seed)
    return {split: (generator.normal(size=LENGTH) * 10.0 ** generator.integers(-4, 5, LENGTH))
            .astype(np.float32) for split in sorted(splits)}


@st.composite
def assignments(draw):
    """Splits, some missing, dealt to mappers: neighbours together, or anyhow and in any order."""
    count = draw(st.integers(1, MAX_SPLITS))
    present = draw(st.sets(st.integers(0, count - 1), min_size=1))
    if draw(st.booleans()):
        ordered = sorted(present)
        cuts = sorted(draw(st.sets(st.integers(1, count), max_size=6)))
        edges = [0, *cuts, len(ordered)]
        return [ordered[a:b] for a, b in itertools.pairwise(edges) if a < b]
    order = draw(st.permutations(sorted(present)))
    mappers = draw(st.integers(1, 6))
    owners = draw(st.lists(st.integers(0, mappers - 1), min_size=len(order), max_size=len(order)))
    return [[split for split, owner in zip(order, owners) if owner == mapper]
            for mapper in range(mappers)]


def map_reduce(groups, make_node):
    """Every mapper adds siblings; one reducer adds what is left in the order of the splits."""
    nodes = []
    for splits in groups:
        sums = SiblingSum()
        for split in splits:
            sums.add(make_node(split))
        nodes += sums.nodes()
    return ordered_sum(sorted(nodes, key=lambda node: node.start))


def bits(array):
    return array.dtype.str, array.tobytes()


@given(assignments(), st.integers(0, 2**32))
def test_any_grouping_gives_the_bits_of_the_tree(groups, seed):
    parts = vectors({split for group in groups for split in group}, seed)
    found = map_reduce(groups, lambda split: Node(split, 0, parts[split].copy()))
    assert bits(found.values) == bits(recursive_sum(parts))
    assert found.splits == len(parts)
    # The node is the lowest of the tree that covers all its splits.
    assert found.level == (min(parts) ^ max(parts)).bit_length()
    assert found.start == min(parts) >> found.level << found.level


@given(assignments(), st.integers(0, 2**32))
def test_blocks_that_a_split_does_not_touch_change_no_bit(groups, seed):
    """Mappers add whole vectors, and emit of a node only the blocks that some split touched."""
    parts = vectors({split for group in groups for split in group}, seed)
    generator = np.random.default_rng(seed)
    touched = {split: generator.random(3) < 0.4 for split in parts}
    blocks = [slice(0, 2), slice(2, 4), slice(4, 6)]
    for split, part in parts.items():
        part *= np.repeat(touched[split], 2)
        part += 0.0  # as gradient_job: a negative zero would differ from a block left out
    emitted = [[], [], []]
    for group in groups:
        sums = SiblingSum()
        for split in group:
            sums.add(Node(split, 0, parts[split].copy(), touched[split].astype(np.int64)))
        for node in sums.nodes():
            for number in np.flatnonzero(node.splits):
                emitted[number].append(Node(node.start, node.level, node.values[blocks[number]],
                                            int(node.splits[number])))
    for number, nodes in enumerate(emitted):
        expected = {split: parts[split][blocks[number]] for split in parts if touched[split][number]}
        if not expected:
            assert not nodes
            continue
        found = ordered_sum(sorted(nodes, key=lambda node: node.start))
        assert found.splits == len(expected)
        assert bits(found.values) == bits(recursive_sum(expected))


@given(assignments(), st.data())
def test_a_split_that_comes_twice_is_refused(groups, data):
    present = sorted(split for group in groups for split in group)
    twice = data.draw(st.sampled_from(present))
    mapper = data.draw(st.integers(0, len(groups)))
    spoiled = [list(group) for group in (*groups, [])]
    spoiled[mapper].append(twice)
    with pytest.raises(DataError, match="twice"):
        map_reduce(spoiled, lambda split: Node(split, 0, np.ones(1, np.float32)))


@pytest.mark.parametrize("nodes", [[(3, 0), (2, 0)], [(0, 2), (3, 0)], [(0, 0), (0, 1)],
                                   [(0, 0), (1, 0), (1, 0)], [(0, 0), (5, 0), (6, 0), (4, 0)]])
def test_nodes_that_overlap_or_go_back_are_refused(nodes):
    with pytest.raises(DataError, match="twice or out of order"):
        ordered_sum(Node(start, level, np.ones(1)) for start, level in nodes)


def test_the_order_of_additions_matters_in_this_data():
    """Were the bits the same however one adds, the tests above could not fail."""
    parts = vectors(range(16), 0)
    left_to_right = sum(parts.values(), start=np.zeros(LENGTH, np.float32))
    assert bits(left_to_right) != bits(recursive_sum(parts))
    without_first = {split: part for split, part in parts.items() if split}
    renumbered = {split - 1: part for split, part in without_first.items()}
    assert bits(recursive_sum(without_first)) != bits(recursive_sum(renumbered))


@given(st.lists(st.floats(-1e12, 1e12), max_size=MAX_SPLITS))
def test_tree_sum_is_the_same_tree(values):
    expected = recursive_sum(dict(enumerate(values))) if values else 0.0
    assert tree_sum(values).hex() == float(expected).hex()


def test_siblings_climb_as_far_as_they_can():
    sums = SiblingSum()
    for split in (6, 1, 0, 3, 2, 9):
        sums.add(Node(split, 0, np.full(1, 2.0**split)))
    found = [(node.start, node.level, node.values[0], node.splits) for node in sums.nodes()]
    assert found == [(0, 2, 15.0, 4), (6, 0, 64.0, 1), (9, 0, 512.0, 1)]


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 1000])
def test_a_reducer_holds_few_buffers(count):
    alive, most = [], 0

    def records():
        nonlocal most
        for split in range(count):
            values = np.ones(1)
            alive.append(weakref.ref(values))
            yield Node(split, 0, values)
            del values
            alive[:] = [reference for reference in alive if reference() is not None]
            most = max(most, len(alive))

    total = ordered_sum(records())
    assert total.values.tolist() == [count]
    assert total.splits == count
    assert most <= math.ceil(math.log2(count)) + 2  # and one more that is being added
