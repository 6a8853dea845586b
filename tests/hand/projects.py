"""The projects that the hand-written replies of `test_coding.py` work on: by path, what a file holds."""

from __future__ import annotations

PARCELS = {
    "README.md": "# parcels\n\nWhat sending parcels costs. `python3 -m parcels orders.csv` prints a report.\n",
    "orders.csv": "id,kg,length,width,height,country\n1,2.0,30,20,10,FR\n2,0.4,50,40,30,CH\n3,5.0,20,20,20,DE\n",
    "parcels/__init__.py": '"""What sending parcels costs."""\n',
    "parcels/__main__.py": """import sys

from parcels.orders import read_orders
from parcels.report import report

if __name__ == "__main__":
    print(report(read_orders(sys.argv[1])))
""",
    "parcels/parcel.py": '''from dataclasses import dataclass


@dataclass(frozen=True)
class Parcel:
    """Sides in centimetres."""

    kg: float
    length: float
    width: float
    height: float
''',
    "parcels/weight.py": '''"""What a parcel weighs for the tariff."""

CM3_PER_KG = 5000


def volumetric(parcel):
    """Kilograms that its room counts for."""
    return parcel.length * parcel.width * parcel.height // CM3_PER_KG


def billable(parcel):
    """The greater of its weight and its volumetric weight."""
    return max(parcel.kg, volumetric(parcel))
''',
    "parcels/zones.py": '''"""Countries and the zones that they lie in."""

ZONES = {"DE": 1, "FR": 2, "AT": 2, "CH": 3, "NO": 3}


def zone(country):
    try:
        return ZONES[country.upper()]
    except KeyError:
        raise ValueError(f"no zone for country {country!r}") from None
''',
    "parcels/tariff.py": '''"""Prices in cents: by steps of weight, and a factor for each zone."""

STEPS = [(1, 490), (2, 690), (5, 990), (10, 1490), (30, 2990)]  # up to and including so many kilograms
FACTORS = {1: 1.0, 2: 1.5, 3: 2.2}


def price(kg, zone):
    for limit, cents in STEPS:
        if kg < limit:
            return round(cents * FACTORS[zone])
    raise ValueError(f"{kg} kg is more than the tariff knows")
''',
    "parcels/orders.py": '''"""Orders out of a CSV file."""

import csv
from collections import namedtuple

from parcels.parcel import Parcel

Order = namedtuple("Order", "id parcel country")


def read_orders(path):
    with open(path, newline="") as file:
        return [order(row) for row in csv.DictReader(file)]


def order(row):
    sides = (float(row[name]) for name in ("length", "width", "height"))
    return Order(row["id"], Parcel(float(row["kg"]), *sides), row["country"])
''',
    "parcels/quote.py": '''"""What one order costs."""

from parcels.tariff import price
from parcels.weight import billable
from parcels.zones import zone


def quote(order):
    """In cents."""
    return price(billable(order.parcel), zone(order.country))
''',
    "parcels/report.py": '''"""A line for each order, and the sum."""

from parcels.quote import quote


def report(orders):
    lines = [f"{order.id:>4} {order.country} {quote(order) / 100:8.2f}" for order in orders]
    total = sum(quote(order) for order in orders)
    return "\\n".join([*lines, f"   total {total / 100:8.2f}"])
''',
    "tests/test_quote.py": """from parcels.orders import Order
from parcels.parcel import Parcel
from parcels.quote import quote


def test_light():
    assert quote(Order("1", Parcel(0.5, 10, 10, 10), "DE")) == 490


def test_a_step_counts_up_to_and_with_its_limit():
    assert quote(Order("1", Parcel(2.0, 30, 20, 10), "FR")) == 1035


def test_big_and_light():
    assert quote(Order("1", Parcel(0.4, 29, 20, 10), "DE")) == 690  # 1.16 kg by its room
""",
}

SHELF = {
    "AGENTS.md": """# Working here

- Each function has a docstring of one line.
- Tests go into tests/test_<module>.py.
- What a user can do wrong ends with `SystemExit("shelf: what is wrong")`.
""",
    "shelf/__init__.py": "",
    "shelf/book.py": '''from dataclasses import dataclass


@dataclass
class Book:
    """One book of the shelf."""

    title: str
    author: str
    year: int
''',
    "shelf/store.py": '''import json
from dataclasses import asdict
from pathlib import Path

from shelf.book import Book


def load(path):
    """The books of a file; none where there is no file yet."""
    path = Path(path)
    if not path.exists():
        return []
    return [Book(**row) for row in json.loads(path.read_text())]


def save(path, books):
    """Write all books into a file."""
    Path(path).write_text(json.dumps([asdict(book) for book in books], indent=1))


def find(books, title):
    """The book of a title."""
    for book in books:
        if book.title.lower() == title.lower():
            return book
    raise SystemExit(f"shelf: no book {title!r}")
''',
    "shelf/cli.py": '''import argparse

from shelf.book import Book
from shelf.store import load, save


def line(book):
    """A book as `list` shows it."""
    return f"{book.title}, {book.author} ({book.year})"


def main(arguments=None):
    """The command `shelf`."""
    parser = argparse.ArgumentParser(prog="shelf")
    parser.add_argument("--file", default="shelf.json")
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add")
    add.add_argument("title")
    add.add_argument("author")
    add.add_argument("year", type=int)
    commands.add_parser("list")
    given = parser.parse_args(arguments)
    books = load(given.file)
    if given.command == "add":
        books.append(Book(given.title, given.author, given.year))
        save(given.file, books)
    else:
        for book in books:
            print(line(book))
''',
    "tests/test_store.py": """import pytest

from shelf.book import Book
from shelf.store import find, load, save


def test_what_is_saved_is_loaded(tmp_path):
    save(tmp_path / "s.json", [Book("Dune", "Herbert", 1965)])
    assert load(tmp_path / "s.json") == [Book("Dune", "Herbert", 1965)]


def test_a_title_that_is_not_there():
    with pytest.raises(SystemExit, match="no book"):
        find([], "Dune")
""",
    "tests/test_cli.py": """from shelf.cli import main


def test_a_book_that_was_added_is_listed(tmp_path, capsys):
    file = ["--file", str(tmp_path / "s.json")]
    main([*file, "add", "Dune", "Herbert", "1965"])
    main([*file, "list"])
    assert capsys.readouterr().out == "Dune, Herbert (1965)\\n"
""",
}

# With a copy of the Pygments that is installed: the tests that it comes without, in its own manner.
PYGMENTS = {
    "tests/test_mapping.py": """import importlib

import pytest

from pygments.lexer import Lexer
from pygments.lexers import LEXERS, find_lexer_class_for_filename, get_lexer_by_name

MODULES = sorted({entry[0] for entry in LEXERS.values()})


@pytest.mark.parametrize("name", MODULES)
def test_each_lexer_of_a_module_is_in_the_mapping(name):
    module = importlib.import_module(name)
    public = [getattr(module, each) for each in module.__all__]
    for lexer in public:
        if isinstance(lexer, type) and issubclass(lexer, Lexer) and lexer.name:
            known = LEXERS[lexer.__name__]
            assert known == (name, lexer.name, tuple(lexer.aliases), tuple(lexer.filenames), tuple(lexer.mimetypes))


def test_a_lexer_by_its_alias():
    assert get_lexer_by_name("ini").name == "INI"


def test_a_lexer_by_the_name_of_a_file():
    assert find_lexer_class_for_filename("setup.cfg").name == "INI"
""",
    "tests/test_properties.py": """from pygments.lexers import PropertiesLexer
from pygments.token import Token


def test_a_key_and_its_value():
    tokens = list(PropertiesLexer().get_tokens("key=value"))
    assert tokens[0] == (Token.Name.Attribute, "key")
    assert (Token.Operator, "=") in tokens
""",
}
