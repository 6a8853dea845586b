"""Marks of a class: median, mean, share."""

from __future__ import annotations

from fastslow.agent.evals.suites.projects.project import UNITTEST, Draw, Project, Slip, Words


def _words(draw: Draw) -> Words:
    low, middle, high, top = sorted(draw.sample(range(40, 100), 4))
    return {
        "pkg": draw.choice(("grades", "marks", "exam", "scores")),
        "low": low,
        "middle": middle,
        "high": high,
        "top": top,
        "pair": (middle + high) / 2,
        "mean": (low + middle + high + top) / 4,
        "name": draw.choice(("Ada", "Ben", "Cleo", "Dov")),
        "right": (right := draw.randint(1, 19)),
        "percent": f"{5 * right}%",
    }


GRADES = Project(
    name="grades",
    words=_words,
    files={
        "README.md": """
# $pkg

Figures about the marks of a class. Tests: `python -m unittest discover -s tests -t .`
""",
        "$pkg/__init__.py": "",
        "$pkg/figures.py": '''
def mean(marks):
    """The mean, not rounded."""
    return sum(marks) / len(marks)


def median(marks):
    """The mark in the middle; the mean of the two in the middle where their number is even."""
    ordered, half = sorted(marks), len(marks) // 2
    if len(ordered) % 2:
        return ordered[half]
    return (ordered[half - 1] + ordered[half]) / 2


def share(right, of):
    """A share in whole percent, as text: 45%."""
    return f"{right / of:.0%}"
''',
        "$pkg/classes.py": '''
from $pkg.figures import mean


class Class:
    """Marks by name."""

    def __init__(self, marks):
        self.marks = dict(marks)

    def best(self):
        """Who has the highest mark; None for a class without marks."""
        if not self.marks:
            return None
        return max(self.marks, key=self.marks.get)

    def above(self, mark):
        """Names of those who have at least this mark, in the order of the alphabet."""
        return sorted(name for name, each in self.marks.items() if each >= mark)

    def summary(self):
        return f"{len(self.marks)} marks, mean {mean(self.marks.values()):.2f}"
''',
        "tests/__init__.py": "",
        "tests/test_figures.py": """
import unittest

from $pkg.figures import mean, median, share


class FiguresTest(unittest.TestCase):
    def test_mean(self):
        self.assertEqual(mean([$low, $middle, $high, $top]), $mean)
        self.assertEqual(mean([1, 2]), 1.5)

    def test_median_of_an_odd_number(self):
        self.assertEqual(median([$top, $low, $middle]), $middle)

    def test_median_of_an_even_number(self):
        self.assertEqual(median([$top, $low, $high, $middle]), $pair)

    def test_share(self):
        self.assertEqual(share($right, 20), "$percent")
        self.assertEqual(share(1, 3), "33%")
""",
        "tests/test_classes.py": """
import unittest

from $pkg.classes import Class


class ClassTest(unittest.TestCase):
    def test_best(self):
        self.assertEqual(Class({"$name": $top, "Zoe": $low}).best(), "$name")

    def test_nobody_is_best_of_none(self):
        self.assertIsNone(Class({}).best())

    def test_above(self):
        marks = {"Zoe": $high, "$name": $middle, "Yan": $low}
        self.assertEqual(Class(marks).above($middle), ["$name", "Zoe"])

    def test_summary(self):
        self.assertEqual(Class({"$name": 2, "Zoe": 3}).summary(), "2 marks, mean 2.50")
""",
    },
    slips=(
        Slip(
            "empty value",
            "Class.best() dies of a ValueError for a class in which nobody has a mark yet. It should be None then.",
            "$pkg/classes.py",
            "        if not self.marks:\n            return None\n",
            "",
        ),
        Slip(
            "off by one",
            "The median of an even number of marks is too high. Please fix $pkg/figures.py.",
            "$pkg/figures.py",
            "(ordered[half - 1] + ordered[half]) / 2",
            "(ordered[half] + ordered[half + 1]) / 2",
        ),
        Slip(
            "division",
            "The mean of marks is always a whole number. tests/test_figures.py says what it should be.",
            "$pkg/figures.py",
            "sum(marks) / len(marks)",
            "sum(marks) // len(marks)",
        ),
        Slip(
            "formatting",
            "share(1, 3) gives something like 0.3333333333333333% and should give 33%.",
            "$pkg/figures.py",
            'f"{right / of:.0%}"',
            'f"{right / of}%"',
        ),
    ),
    test=UNITTEST,
)
