"""Stays in rooms: nights, overlaps, lists."""

from __future__ import annotations

from datetime import date, timedelta

from fastslow.agent.evals.suites.projects.project import Draw, Project, Slip, Words


def _words(draw: Draw) -> Words:
    arrives = date(draw.randint(2023, 2027), draw.randint(1, 11), 27) + timedelta(draw.randint(0, 2))
    nights = draw.randint(4, 9)
    leaves = arrives + timedelta(nights)
    first, second = draw.sample(("Zoe", "Yara", "Xaver", "Walt"), 2)
    return {
        "pkg": draw.choice(("hostel", "lodge", "cabins", "inn")),
        "arrives": arrives,
        "leaves": leaves,
        "later": leaves + timedelta(3),
        "inside": arrives + timedelta(1),
        "nights": nights,
        "first": first,
        "second": second,
        "other": draw.choice(("Ada", "Ben", "Cleo")),
        "rate": draw.randint(40, 95),
        "cleaning": draw.choice((15, 20, 25, 30)),
        "room": draw.randint(2, 40),
    }


BOOKINGS = Project(
    name="bookings",
    words=_words,
    files={
        "$pkg/__init__.py": """
from $pkg.stay import Stay

__all__ = ["Stay"]
""",
        "$pkg/stay.py": '''
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Stay:
    """leaves: the day on which the guest goes; the room is free in the night that follows."""

    guest: str
    room: int
    arrives: date
    leaves: date

    @property
    def nights(self):
        return (self.leaves - self.arrives).days

    def overlaps(self, other):
        """Whether both would be in the same room in some night."""
        return self.room == other.room and self.arrives < other.leaves and other.arrives < self.leaves
''',
        "$pkg/book.py": '''
class Taken(Exception):
    """The room is not free."""


class Book:
    """All stays of the house."""

    def __init__(self):
        self._stays = []

    def add(self, stay):
        """Raises Taken where the room is not free in all nights."""
        if any(stay.overlaps(each) for each in self._stays):
            raise Taken(f"room {stay.room} is taken")
        self._stays.append(stay)

    def arrivals(self):
        """All stays, those who arrive first before the others; by name on the same day."""
        return sorted(self._stays, key=lambda stay: (stay.arrives, stay.guest))
''',
        "$pkg/price.py": '''
CLEANING = $cleaning


def price(stay, rate, cleaning=CLEANING):
    """What a stay costs: so much a night, and the cleaning once."""
    return stay.nights * rate + cleaning
''',
        "tests/test_stay.py": """
from datetime import date

from $pkg import Stay
from $pkg.price import price

ARRIVES, LEAVES = date.fromisoformat("$arrives"), date.fromisoformat("$leaves")
STAY = Stay("$first", $room, ARRIVES, LEAVES)


def test_nights():
    assert STAY.nights == $nights


def test_a_stay_costs_its_nights_and_the_cleaning():
    assert price(STAY, $rate) == $nights * $rate + $cleaning
    assert price(STAY, $rate, cleaning=0) == $nights * $rate
""",
        "tests/test_book.py": """
from datetime import date

import pytest

from $pkg import Stay
from $pkg.book import Book, Taken

ARRIVES, LEAVES = date.fromisoformat("$arrives"), date.fromisoformat("$leaves")
INSIDE, LATER = date.fromisoformat("$inside"), date.fromisoformat("$later")


def booked():
    book = Book()
    book.add(Stay("$second", $room, ARRIVES, LEAVES))
    return book


def test_a_room_is_taken_once():
    book = booked()
    with pytest.raises(Taken):
        book.add(Stay("$first", $room, INSIDE, LATER))
    book.add(Stay("$first", $room + 1, INSIDE, LATER))


def test_one_may_arrive_on_the_day_on_which_another_leaves():
    book = booked()
    book.add(Stay("$first", $room, LEAVES, LATER))
    assert [stay.guest for stay in book.arrivals()] == ["$second", "$first"]


def test_arrivals_are_in_order():
    book = booked()
    book.add(Stay("$other", 1, LEAVES, LATER))
    book.add(Stay("$first", 1, ARRIVES, INSIDE))
    guests = [stay.guest for stay in book.arrivals()]
    assert guests == [*sorted(["$first", "$second"]), "$other"]
""",
    },
    slips=(
        Slip(
            "date",
            "Nights are counted wrongly for stays that run into the next month, see tests/test_stay.py. Please fix it.",
            "$pkg/stay.py",
            "(self.leaves - self.arrives).days",
            "self.leaves.day - self.arrives.day",
        ),
        Slip(
            "operator",
            "A guest cannot book a room from the day on which the guest before leaves, although that should work.",
            "$pkg/stay.py",
            "self.arrives < other.leaves and other.arrives < self.leaves",
            "self.arrives <= other.leaves and other.arrives <= self.leaves",
        ),
        Slip(
            "sort key",
            "The list of arrivals should begin with those who come first, but it seems to be in no useful order.",
            "$pkg/book.py",
            "(stay.arrives, stay.guest)",
            "(stay.guest, stay.arrives)",
        ),
        Slip(
            "default",
            "Bills lack the cleaning unless it is passed by hand. It should be charged if nothing else is said.",
            "$pkg/price.py",
            "cleaning=CLEANING",
            "cleaning=0",
        ),
    ),
)
