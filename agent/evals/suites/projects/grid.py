"""Grids of cells, as in a game or a picture."""

from __future__ import annotations

from fastslow.agent.evals.suites.projects.project import Draw, Project, Slip, Words


def _words(draw: Draw) -> Words:
    rows, columns = draw.sample(range(2, 9), 2)
    cells = draw.sample(range(10, 99), 6)
    (a, b, c), (d, e, f) = cells[:3], cells[3:]
    return {
        "pkg": draw.choice(("grid", "board", "tiles", "mosaic")),
        "rows": rows,
        "columns": columns,
        "cells": [[a, b, c], [d, e, f]],
        "flipped": [[a, d], [b, e], [c, f]],
        "turned": [[d, a], [e, b], [f, c]],
        "corner": c,
        "empty": repr(draw.choice((".", "-", "_"))),
        "legs": (legs := draw.choice(((3, 4, 5), (6, 8, 10), (5, 12, 13))))[0],
        "other": legs[1],
        "long": legs[2],
    }


GRID = Project(
    name="grid",
    words=_words,
    files={
        "README.md": """
# $pkg

Grids as lists of rows. `Grid` holds one, `turns` makes new ones of it, `places` measures.
""",
        "$pkg/__init__.py": """
from $pkg.cells import EMPTY, Grid

__all__ = ["EMPTY", "Grid"]
""",
        "$pkg/cells.py": '''
EMPTY = $empty


class Grid:
    """Cells by row and column, from 0 on."""

    def __init__(self, rows, columns, fill=EMPTY):
        self.cells = [[fill] * columns for _ in range(rows)]

    @classmethod
    def of(cls, cells):
        """The grid with these cells, a list for each row."""
        grid = cls(len(cells), len(cells[0]))
        grid.cells = [list(row) for row in cells]
        return grid

    def get(self, row, column):
        return self.cells[row][column]

    def size(self):
        """Rows and columns."""
        return len(self.cells), len(self.cells[0])
''',
        "$pkg/turns.py": '''
from $pkg.cells import Grid


def flipped(grid):
    """A new grid whose rows are the columns of this one."""
    return Grid.of([list(column) for column in zip(*grid.cells)])


def turned(grid):
    """A new grid, turned to the right by a quarter."""
    return Grid.of([list(column)[::-1] for column in zip(*grid.cells)])
''',
        "$pkg/places.py": '''
import math


def distance(one, other):
    """The length of the straight line between two cells, each (row, column)."""
    return math.hypot(one[0] - other[0], one[1] - other[1])


def neighbours(grid, row, column):
    """Cells above, below, left and right that are in the grid, as (row, column)."""
    rows, columns = grid.size()
    near = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
    return [(r, c) for r, c in near if 0 <= r < rows and 0 <= c < columns]
''',
        "tests/test_grid.py": """
from $pkg import EMPTY, Grid


def test_a_new_grid_is_empty():
    grid = Grid($rows, $columns)
    assert grid.size() == ($rows, $columns)
    assert all(cell == EMPTY for row in grid.cells for cell in row)


def test_cells_are_found():
    assert Grid.of($cells).get(0, 2) == $corner
""",
        "tests/test_turns.py": """
from $pkg import Grid
from $pkg.turns import flipped, turned


def test_flipped():
    assert flipped(Grid.of($cells)).cells == $flipped


def test_turned():
    assert turned(Grid.of($cells)).cells == $turned
    grid = Grid.of($cells)
    for _ in range(4):
        grid = turned(grid)
    assert grid.cells == $cells
""",
        "tests/test_places.py": """
from $pkg import Grid
from $pkg.places import distance, neighbours


def test_distance():
    assert distance((1, 1), (1 + $legs, 1 + $other)) == $long


def test_neighbours():
    grid = Grid($rows, $columns)
    assert neighbours(grid, 0, 0) == [(1, 0), (0, 1)]
    last = ($rows - 1, $columns - 1)
    assert neighbours(grid, *last) == [(last[0] - 1, last[1]), (last[0], last[1] - 1)]
""",
    },
    slips=(
        Slip(
            "missing function",
            "$pkg/turns.py lacks a function turned(grid): a new grid, turned to the right by a quarter. "
            "tests/test_turns.py has examples. Please write it.",
            "$pkg/turns.py",
            '''


def turned(grid):
    """A new grid, turned to the right by a quarter."""
    return Grid.of([list(column)[::-1] for column in zip(*grid.cells)])
''',
            "\n",
        ),
        Slip(
            "missing import",
            "distance() raises a NameError. Please fix it.",
            "$pkg/places.py",
            "import math\n\n\n",
            "",
        ),
        Slip(
            "default",
            "A new grid should be filled with EMPTY unless something else is asked for. See the failing test.",
            "$pkg/cells.py",
            "fill=EMPTY",
            "fill=None",
        ),
        Slip(
            "wrong variable",
            "neighbours() gives cells outside of grids that are not square, or leaves some out.",
            "$pkg/places.py",
            "0 <= c < columns",
            "0 <= c < rows",
        ),
    ),
)
