"""Partial gradients: sums over splits, added along a fixed binary tree (law 2).

Node ``(level, start)`` covers the splits ``start`` to ``start + 2**level - 1`` and is the sum of
its two halves, rounded to the type of the records. A half that nobody emitted adds nothing. Since
the tree depends on split numbers alone, the sum has the same bits whoever adds the nodes: a mapper
that holds both siblings, or the reducer that reads what is left in the order of the splits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mr_gradient.errors import DataError


@dataclass
class TreeNode:
    """Where a sum stands in the tree; subclasses hold it, and add the right half in place."""

    start: int
    level: int

    def climb(self, right: TreeNode) -> None:
        """Become the lowest node that covers both."""
        self.level = _common_level(self, right)
        self.start = self.start >> self.level << self.level


@dataclass
class Node(TreeNode):
    """Gradient sum of a node of the tree.

    ``values``: sum over the node's splits, a block or a whole flat vector.
    ``splits``: how many splits gave a part; for a whole vector one count a block (int array).
    """

    values: np.ndarray
    splits: int | np.ndarray = 1

    def add_right(self, right: Node) -> None:
        """Add the right half in place; self grows to the lowest node that covers both."""
        with np.errstate(all="ignore"):  # the driver reports what is not finite
            np.add(self.values, right.values, out=self.values)
        self.splits = self.splits + right.splits
        self.climb(right)


def _common_level(left: TreeNode, right: TreeNode) -> int:
    """Level of the lowest node of the tree that covers both; left lies before right."""
    return max((left.start ^ right.start).bit_length(), left.level, right.level)


class SiblingSum:
    """Adds the nodes whose both halves are at hand, in any order of arrival: for mappers."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[int, int], Node] = {}

    def add(self, node: Node) -> None:
        """Take ownership of ``node`` and climb as long as its sibling is here."""
        while True:
            sibling_start = node.start ^ (1 << node.level)
            sibling = self._nodes.pop((node.level, sibling_start), None)
            if sibling is None:
                break
            left, right = sorted((node, sibling), key=lambda each: each.start)
            left.add_right(right)
            node = left
        if (node.level, node.start) in self._nodes:
            raise DataError(f"records: split {node.start} came twice")
        self._nodes[node.level, node.start] = node

    def nodes(self) -> list[Node]:
        """What remains, in the order of the splits."""
        return sorted(self._nodes.values(), key=lambda each: each.start)


def ordered_sum(nodes: Iterable[Node]) -> Node:
    """Sum of disjoint nodes that come in the order of their splits: for reducers.

    Two neighbours are added as soon as no later node can lie between them in the tree, so at most
    log2(splits) + 1 buffers are alive.
    """
    stack: list[Node] = []
    for node in nodes:
        if stack and node.start < stack[-1].start + (1 << stack[-1].level):
            raise DataError(f"records: split {node.start} came twice or out of order")
        while len(stack) > 1 and _common_level(stack[-2], stack[-1]) < _common_level(stack[-1], node):
            right = stack.pop()
            stack[-1].add_right(right)
        stack.append(node)
    while len(stack) > 1:
        right = stack.pop()
        stack[-1].add_right(right)
    return stack[0]


def tree_sum(values: list[float]) -> float:
    """The same tree over one float64 a split: for the loss, the weights and the metrics."""
    if not values:
        return 0.0
    nodes = (Node(split, 0, np.array([value])) for split, value in enumerate(values))
    return float(ordered_sum(nodes).values[0])
