"""A store room: what is there, what runs out."""

from __future__ import annotations

from fastslow.agent.evals.suites.projects.project import UNITTEST, Draw, Project, Slip, Words


def _words(draw: Draw) -> Words:
    one, two, three = draw.sample(("bolts", "nails", "paint", "rope", "tape", "wire"), 3)
    count, used = draw.randint(20, 60), draw.randint(3, 6)
    return {
        "pkg": draw.choice(("stock", "depot", "storeroom", "pantry")),
        "one": one,
        "two": two,
        "three": three,
        "count": count,
        "used": used,
        "after": [count - used, count - 2 * used, count - 3 * used],
        "days": draw.randint(5, 30),
    }


STOCK = Project(
    name="stock",
    words=_words,
    files={
        "$pkg/__init__.py": """
from $pkg.goods import Fresh, Good
from $pkg.room import Room

__all__ = ["Fresh", "Good", "Room"]
""",
        "$pkg/goods.py": '''
class Good:
    """Something in the store room. least: how many should be there."""

    def __init__(self, name, count, least=0):
        self.name = name
        self.count = count
        self.least = least

    def is_short(self):
        return self.count < self.least


class Fresh(Good):
    """Goods that keep for so many days."""

    def __init__(self, name, count, days, least=0):
        super().__init__(name, count, least)
        self.days = days
''',
        "$pkg/room.py": '''
class Room:
    def __init__(self):
        self.goods = {}

    def put(self, good):
        """Add to what is there of it."""
        if good.name in self.goods:
            self.goods[good.name].count += good.count
        else:
            self.goods[good.name] = good

    def short(self):
        """Names of what runs out, in the order of the alphabet."""
        return sorted(name for name, good in self.goods.items() if good.is_short())
''',
        "$pkg/forecast.py": '''
def forecast(good, used, weeks):
    """How many are there at the end of each of the next weeks, if so many are used a week; never below zero."""
    return [max(0, good.count - used * week) for week in range(1, weeks + 1)]
''',
        "$pkg/report.py": '''
def report(room):
    """A line for each of the goods, in the order of the alphabet."""
    return [f"{good.name}: {good.count}" for _, good in sorted(room.goods.items())]
''',
        "tests/__init__.py": "",
        "tests/test_stock.py": """
import unittest

from $pkg import Fresh, Good, Room
from $pkg.forecast import forecast
from $pkg.report import report


class StockTest(unittest.TestCase):
    def test_what_is_put_adds_up(self):
        room = Room()
        room.put(Good("$one", $count))
        room.put(Good("$one", 2))
        self.assertEqual(room.goods["$one"].count, $count + 2)

    def test_rooms_have_their_own_goods(self):
        Room().put(Good("$two", 1))
        self.assertEqual(Room().goods, {})

    def test_fresh_goods_run_out_as_others_do(self):
        room = Room()
        room.put(Fresh("$three", 1, days=$days, least=2))
        room.put(Good("$one", $count, least=2))
        self.assertEqual(room.short(), ["$three"])
        self.assertEqual(room.goods["$three"].days, $days)

    def test_forecast_has_each_week(self):
        self.assertEqual(forecast(Good("$one", $count), $used, 3), $after)
        self.assertEqual(forecast(Good("$two", 1), $used, 2), [0, 0])

    def test_report(self):
        room = Room()
        room.put(Good("zinc", 1))
        room.put(Good("$two", $count))
        self.assertEqual(report(room), ["$two: $count", "zinc: 1"])
""",
    },
    slips=(
        Slip(
            "name across files",
            "The report raises an AttributeError, since somebody renamed a field. Please repair it.",
            "$pkg/report.py",
            "{good.count}",
            "{good.quantity}",
        ),
        Slip(
            "inheritance",
            "Fresh goods cannot be put into a room: AttributeError: 'Fresh' object has no attribute 'name'.",
            "$pkg/goods.py",
            "        super().__init__(name, count, least)\n",
            "",
        ),
        Slip(
            "off by one",
            "The forecast for three weeks should have three numbers, the first for the end of the first week. It does "
            "not.",
            "$pkg/forecast.py",
            "range(1, weeks + 1)",
            "range(weeks)",
        ),
        Slip(
            "shared state",
            "The tests fail: a new room is not empty. Run them, and fix the cause.",
            "$pkg/room.py",
            "    def __init__(self):\n        self.goods = {}\n",
            "    goods = {}\n",
        ),
    ),
    test=UNITTEST,
)
