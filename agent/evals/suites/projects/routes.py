"""Places, roads between them, and the shortest way."""

from __future__ import annotations

from fastslow.agent.evals.suites.projects.project import Draw, Project, Slip, Words


def _words(draw: Draw) -> Words:
    a, b, c, d, far = draw.sample(("Oslo", "Lima", "Cairo", "Quito", "Seoul", "Porto", "Turin", "Basel"), 5)
    first, second, third = draw.randint(5, 20), draw.randint(5, 20), draw.randint(5, 20)
    return {
        "pkg": draw.choice(("routes", "roads", "travel", "ways")),
        "a": a,
        "b": b,
        "c": c,
        "d": d,
        "far": far,
        "first": first,
        "second": second,
        "third": third,
        "two": first + second,
        "direct": first + second + draw.randint(10, 30),
        "all": first + second + third,
    }


ROUTES = Project(
    name="routes",
    words=_words,
    files={
        "$pkg/__init__.py": """
from $pkg.map import Map, UnknownPlace
from $pkg.shortest import distance
from $pkg.reading import read

__all__ = ["Map", "UnknownPlace", "distance", "read"]
""",
        "$pkg/map.py": '''
class UnknownPlace(ValueError):
    """A place that no road leads to."""


class Map:
    """Roads in both directions, with their lengths."""

    def __init__(self):
        self._roads = {}

    def add(self, start, end, length):
        self._roads.setdefault(start, {})[end] = length
        self._roads.setdefault(end, {})[start] = length

    def roads(self, place):
        """Lengths of the roads from a place, by where they lead. Raises UnknownPlace."""
        try:
            return self._roads[place]
        except KeyError:
            raise UnknownPlace(f"no road leads to {place}") from None
''',
        "$pkg/shortest.py": '''
import heapq


def distance(map, start, end):
    """The length of the shortest way; None where there is none. Raises UnknownPlace."""
    map.roads(end)
    best, todo = {start: 0}, [(0, start)]
    while todo:
        so_far, here = heapq.heappop(todo)
        if here == end:
            return so_far
        for place, length in map.roads(here).items():
            total = so_far + length
            if place not in best or total < best[place]:
                best[place] = total
                heapq.heappush(todo, (total, place))
    return None


def reachable(map, start, seen=None):
    """All places that one can get to from a place, itself included."""
    seen = set() if seen is None else seen
    seen.add(start)
    for place in map.roads(start):
        if place not in seen:
            reachable(map, place, seen)
    return seen
''',
        "$pkg/reading.py": '''
from $pkg.map import Map


def read(text):
    """A map from lines such as `Oslo - Lima: 12`."""
    map = Map()
    for line in text.strip().splitlines():
        places, _, length = line.partition(":")
        start, _, end = places.partition(" - ")
        map.add(start.strip(), end.strip(), int(length))
    return map
''',
        "tests/test_routes.py": """
import pytest

from $pkg import Map, UnknownPlace, distance, read
from $pkg.shortest import reachable

TEXT = '''
$a - $b: $first
$b - $c: $second
$a - $c: $direct
$c - $d: $third
'''


def test_a_detour_may_be_shorter():
    assert distance(read(TEXT), "$a", "$c") == $two
    assert distance(read(TEXT), "$d", "$a") == $all


def test_roads_have_two_directions():
    map = Map()
    map.add("$a", "$b", $first)
    assert map.roads("$b") == {"$a": $first}


def test_unknown_places_are_told():
    for ends in (("$a", "$far"), ("$far", "$a")):
        with pytest.raises(UnknownPlace):
            distance(read(TEXT), *ends)


def test_there_may_be_no_way():
    map = read(TEXT)
    map.add("$far", "Nowhere", 1)
    assert distance(map, "$a", "$far") is None


def test_reachable():
    one, other = read("$a - $b: 1"), read("$c - $d: 1")
    assert reachable(one, "$a") == {"$a", "$b"}
    assert reachable(other, "$c") == {"$c", "$d"}
""",
    },
    slips=(
        Slip(
            "mutable default",
            "reachable() also returns places of an earlier call, on another map. Fix that.",
            "$pkg/shortest.py",
            "seen=None):",
            "seen=set()):",
        ),
        Slip(
            "argument order",
            "Maps that are read from text do not work, those that are built with Map.add do. Make the tests pass.",
            "$pkg/reading.py",
            "map.add(start.strip(), end.strip(), int(length))",
            "map.add(start.strip(), int(length), end.strip())",
        ),
        Slip(
            "exception",
            "Asking for a place that is not on the map should raise UnknownPlace, as the docstrings say, and not a "
            "KeyError.",
            "$pkg/map.py",
            """        try:
            return self._roads[place]
        except KeyError:
            raise UnknownPlace(f"no road leads to {place}") from None
""",
            """        return self._roads[place]
""",
        ),
        Slip(
            "wrong variable",
            "distance() is too short for ways with several roads: only the last road seems to count.",
            "$pkg/shortest.py",
            "heapq.heappush(todo, (total, place))",
            "heapq.heappush(todo, (length, place))",
        ),
    ),
)
