"""Where on the ground is what: boxes found by a point, in time that does not grow with how many there are or how far they reach.

A box is kept in a grid whose cells are at least as large as it is, one of each power of two, so it lies in four cells at the most.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

What = TypeVar("What")


class Box(NamedTuple):
    """A box along the axes, in metres, its edges included."""

    x_low: float
    y_low: float
    x_high: float
    y_high: float


class Grid(Generic[What]):
    """Things in boxes."""

    def __init__(self) -> None:
        self._cells: defaultdict[tuple[float, int, int], list[tuple[Box, What]]] = defaultdict(list)
        self._sizes: Counter[float] = Counter()

    def put(self, box: Box, what: What) -> None:
        """Puts a thing into a box. One thing may be in several."""
        size, cells = _cells(box)
        self._sizes[size] += 1
        for cell in cells:
            self._cells[cell].append((box, what))

    def drop(self, box: Box, what: What) -> None:
        """Takes a thing out of a box that it was put into."""
        size, cells = _cells(box)
        self._sizes[size] -= 1
        if not self._sizes[size]:
            del self._sizes[size]
        for cell in cells:
            self._cells[cell].remove((box, what))
            if not self._cells[cell]:
                del self._cells[cell]

    def at(self, x: float, y: float) -> Iterator[What]:
        """Things in boxes that hold the point, one of several such boxes once for each."""
        for size in self._sizes:
            for box, what in self._cells.get((size, math.floor(x / size), math.floor(y / size)), ()):
                if box[0] <= x <= box[2] and box[1] <= y <= box[3]:
                    yield what


def _cells(box: Box) -> tuple[float, list[tuple[float, int, int]]]:
    size = 2.0 ** math.ceil(math.log2(max(box.x_high - box.x_low, box.y_high - box.y_low, 1.0)))
    columns, rows = (
        range(math.floor(low / size), math.floor(high / size) + 1) for low, high in ((box[0], box[2]), (box[1], box[3]))
    )
    return size, [(size, column, row) for column in columns for row in rows]
