"""Slugs, initials and tables of text."""

from __future__ import annotations

from fastslow.agent.evals.suites.projects.project import Draw, Project, Slip, Words


def _words(draw: Draw) -> Words:
    first, second, third = draw.sample(("Red", "Old", "Deep", "North", "Small", "Bright"), 3)
    given, family = draw.choice(("Ada", "Ben", "Cleo", "Dov")), draw.choice(("Lund", "Moss", "Reyes", "Stone"))
    amount = draw.randint(100, 999)
    return {
        "pkg": draw.choice(("textkit", "wording", "labels", "typeset")),
        "title": f"{first} & {second}: {third}!",
        "slug": f"{first}-{second}-{third}".lower(),
        "name": f"{given} {family}",
        "middle": f"{given} van {family}",
        "initials": f"{given[0]}.{family[0]}.",
        "three": f"{given[0]}.V.{family[0]}.",
        "amount": amount,
        "width": draw.randint(8, 12),
        "goods": draw.choice(("tea", "salt", "rice", "oil")),
    }


TEXT = Project(
    name="text",
    words=_words,
    files={
        "README.md": """
# $pkg

Small helpers for text: slugs, names, tables.
""",
        "$pkg/__init__.py": """
from $pkg.names import initials, shortened
from $pkg.slugs import slug
from $pkg.table import line

__all__ = ["initials", "line", "shortened", "slug"]
""",
        "$pkg/slugs.py": '''
import re


def slug(text):
    """A title as part of an address: lower case, and one hyphen for all that is neither letter nor digit."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
''',
        "$pkg/names.py": '''
def shortened(text, most):
    """The text, cut to at most so many characters, the dots at its end included."""
    return text if len(text) <= most else text[: most - 3] + "..."


def initials(name):
    """The first letter of each part, upper case, each with a full stop behind it: J.S. for Jo Smith."""
    return "".join(part[0].upper() + "." for part in name.split())
''',
        "$pkg/table.py": '''
WIDTH = $width


def line(label, amount):
    """A line of a bill: the label on the left, the amount with two decimals on the right, each in WIDTH columns."""
    return f"{label:<{WIDTH}}{amount:>{WIDTH}.2f}"
''',
        "tests/test_slugs.py": """
from $pkg.slugs import slug


def test_a_title():
    assert slug("$title") == "$slug"


def test_digits_stay():
    assert slug("Top 10") == "top-10"
""",
        "tests/test_names.py": """
import $pkg
from $pkg.names import initials, shortened


def test_initials():
    assert initials("$name") == "$initials"
    assert initials("$middle") == "$three"
    assert initials("") == ""


def test_short_texts_stay():
    assert shortened("$name", 40) == "$name"
    assert shortened("$name", 6) == "$name"[:3] + "..."


def test_the_package_offers_all_of_it():
    assert all(hasattr($pkg, name) for name in $pkg.__all__)
    assert $pkg.slug("A b") == "a-b"
""",
        "tests/test_table.py": """
from $pkg.table import WIDTH, line


def test_a_line_has_two_columns():
    text = line("$goods", $amount)
    assert len(text) == 2 * WIDTH
    assert text.startswith("$goods ")
    assert text.endswith(" $amount.00")


def test_cents_stand_below_each_other():
    assert line("$goods", 1.5)[-5:] == " 1.50"
""",
    },
    slips=(
        Slip(
            "regex",
            'slug() puts several hyphens in a row where a title has punctuation, as in "$title". There should be one.',
            "$pkg/slugs.py",
            '[^a-z0-9]+"',
            '[^a-z0-9]"',
        ),
        Slip(
            "missing function",
            "Add a function initials(name) to $pkg/names.py: the first letter of each part of a name, upper case, each "
            "with a full stop behind it ($initials for $name), and nothing for an empty name. The tests are there.",
            "$pkg/names.py",
            '''


def initials(name):
    """The first letter of each part, upper case, each with a full stop behind it: J.S. for Jo Smith."""
    return "".join(part[0].upper() + "." for part in name.split())
''',
            "\n",
        ),
        Slip(
            "missing import",
            "`from $pkg import slug` raises an ImportError since I tidied up. Make it work again.",
            "$pkg/__init__.py",
            "from $pkg.slugs import slug\n",
            "",
        ),
        Slip(
            "formatting",
            "On our bills the amounts are not below each other any more, and 1.5 is shown without its second decimal. "
            "See tests/test_table.py.",
            "$pkg/table.py",
            "{amount:>{WIDTH}.2f}",
            "{amount:<{WIDTH}}",
        ),
    ),
)
