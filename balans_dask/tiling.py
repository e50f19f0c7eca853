"""How rows are cut: tiles are the unit of arithmetic, partitions the unit of scheduling.

No result may depend on the chunks of the store, on the size of a partition or on the number of
workers. Two rules achieve that. Every matrix product is taken over one tile, zero-padded to
``TILE_ROWS`` rows, so it always has the same shape; and every floating-point sum follows one binary
tree over tile numbers, in which a partition of ``2^q`` aligned tiles is exactly one node.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = [
    "TILE_ROWS",
    "PairwiseSum",
    "Partition",
    "Tiling",
    "largest_power_of_two",
    "tile_slices",
    "tree_sum",
]

TILE_ROWS = 4096

Value = TypeVar("Value")


@dataclass(frozen=True)
class Partition:
    """A run of rows that one task handles."""

    number: int
    start: int
    stop: int

    @property
    def n_rows(self) -> int:
        """Rows in this partition; only the last one may hold fewer than the others."""
        return self.stop - self.start


@dataclass(frozen=True)
class Tiling:
    """The cut of ``n_rows`` rows into partitions of ``tiles_per_partition`` tiles.

    Parameters
    ----------
    n_rows : int
        Rows of the whole data set.
    tiles_per_partition : int
        A power of two, so that partitions are nodes of the summation tree.
    """

    n_rows: int
    tiles_per_partition: int

    def __post_init__(self) -> None:
        if self.tiles_per_partition != largest_power_of_two(self.tiles_per_partition):
            message = f"tiles_per_partition must be a power of two, got {self.tiles_per_partition}"
            raise ValueError(message)

    @property
    def n_tiles(self) -> int:
        """Tiles of the whole data set, the last one possibly short."""
        return -(-self.n_rows // TILE_ROWS)

    @property
    def rows_per_partition(self) -> int:
        """Rows of every partition but the last."""
        return self.tiles_per_partition * TILE_ROWS

    @property
    def n_partitions(self) -> int:
        """Number of partitions."""
        return -(-self.n_rows // self.rows_per_partition)

    def partitions(self) -> list[Partition]:
        """All partitions in row order."""
        size = self.rows_per_partition
        return [
            Partition(number, number * size, min((number + 1) * size, self.n_rows))
            for number in range(self.n_partitions)
        ]


def largest_power_of_two(at_most: int) -> int:
    """Return the largest power of two that is not above ``at_most`` (which is >= 1)."""
    return 1 << (int(at_most).bit_length() - 1)


def tile_slices(n_rows: int) -> list[slice]:
    """Rows of every tile of a partition of ``n_rows`` rows."""
    return [slice(first, min(first + TILE_ROWS, n_rows)) for first in range(0, n_rows, TILE_ROWS)]


def tree_sum(values: Sequence[Value], add: Callable[[Value, Value], Value]) -> Value:
    """Sum neighbours in pairs, then the pairs, and so on: one fixed binary tree.

    Applied to consecutive nodes of one level, starting at a multiple of a power of two that is not
    below their number, it yields their common ancestor in the tree over all tiles.
    """
    level = list(values)
    while len(level) > 1:
        paired = [add(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + level[2 * len(paired) :]
    return level[0]


class PairwiseSum(Generic[Value]):
    """``tree_sum`` of values that arrive one after another, holding log2 of them at a time.

    Parameters
    ----------
    add : callable
        Returns the sum of two values; may reuse the memory of the first.
    """

    def __init__(self, add: Callable[[Value, Value], Value]) -> None:
        self._add = add
        self._levels: list[Value | None] = []

    def push(self, value: Value) -> None:
        """Take the next value in order."""
        for level, waiting in enumerate(self._levels):
            if waiting is None:
                self._levels[level] = value
                return
            value = self._add(waiting, value)
            self._levels[level] = None
        self._levels.append(value)

    def total(self) -> Value:
        """Sum what was pushed; an unpaired node is carried up unchanged, as in ``tree_sum``."""
        carried: Value | None = None
        for waiting in self._levels:
            if waiting is not None:
                carried = waiting if carried is None else self._add(waiting, carried)
        if carried is None:
            raise ValueError("nothing was pushed")
        return carried
