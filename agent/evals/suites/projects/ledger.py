"""Accounts in CSV files."""

from __future__ import annotations

from fastslow.agent.evals.suites.projects.project import Draw, Project, Slip, Words


def _words(draw: Draw) -> Words:
    income, rent, food = draw.randint(1500, 4000), draw.randint(400, 900), draw.randint(100, 390)
    return {
        "pkg": draw.choice(("ledger", "accounts", "budget", "purse")),
        "payee": draw.choice(("Stone, Moss and Co", "Lund, Ltd", "Reyes, Inc", "Hill, Dale")),
        "city": draw.choice(("Zürich", "Málaga", "Łódź", "Århus")),
        "income": income,
        "rent": rent,
        "food": food,
        "spent": rent + food,
        "balance": income - rent - food,
        "year": draw.randint(2019, 2027),
    }


LEDGER = Project(
    name="ledger",
    words=_words,
    files={
        "README.md": """
# $pkg

Reads a bank's CSV files (columns date, payee, amount; Excel writes them with a byte order mark) and sums them up.
""",
        "$pkg/__init__.py": "",
        "$pkg/reading.py": '''
import csv


def read(path):
    """The entries of a file: dictionaries with date, payee, and amount as a number."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{"date": row["date"], "payee": row["payee"], "amount": float(row["amount"])} for row in rows]
''',
        "$pkg/sums.py": '''
def income(entries):
    return sum(entry["amount"] for entry in entries if entry["amount"] > 0)


def spending(entries):
    """What was spent, as a positive number."""
    return -sum(entry["amount"] for entry in entries if entry["amount"] < 0)


def balance(entries):
    """What is left."""
    earned, spent = income(entries), spending(entries)
    return earned - spent
''',
        "$pkg/report.py": '''
from $pkg.sums import balance


def report(entries):
    """One line for each payee, in the order of the alphabet, and one with what is left."""
    totals = {}
    for entry in entries:
        totals[entry["payee"]] = totals.get(entry["payee"], 0) + entry["amount"]
    lines = [f"{payee}: {total:.2f}" for payee, total in sorted(totals.items())]
    return "\\n".join([*lines, f"balance: {balance(entries):.2f}"])
''',
        "tests/test_reading.py": """
from $pkg.reading import read

TEXT = 'date,payee,amount\\n$year-01-02,"$payee",-$rent\\n$year-01-03,$city,$income\\n'


def test_a_comma_in_a_name(tmp_path):
    path = tmp_path / "bank.csv"
    path.write_text(TEXT, encoding="utf-8")
    entries = read(path)
    assert [entry["payee"] for entry in entries] == ["$payee", "$city"]
    assert [entry["amount"] for entry in entries] == [-$rent, $income]


def test_a_file_of_excel(tmp_path):
    path = tmp_path / "excel.csv"
    path.write_text(TEXT.replace('"$payee"', "Shop"), encoding="utf-8-sig")
    assert read(path)[1] == {"date": "$year-01-03", "payee": "$city", "amount": $income}
""",
        "tests/test_report.py": """
from $pkg.report import report
from $pkg.sums import balance, income, spending

ENTRIES = [
    {"date": "$year-01-01", "payee": "Work", "amount": $income},
    {"date": "$year-01-02", "payee": "House", "amount": -$rent},
    {"date": "$year-01-03", "payee": "Food", "amount": -$food},
]


def test_sums():
    assert income(ENTRIES) == $income
    assert spending(ENTRIES) == $spent
    assert balance(ENTRIES) == $balance


def test_report():
    assert report(ENTRIES).splitlines() == [
        "Food: -$food.00",
        "House: -$rent.00",
        "Work: $income.00",
        "balance: $balance.00",
    ]
""",
    },
    slips=(
        Slip(
            "parsing",
            "Reading fails for payees with a comma in their name, such as $payee. They are in quotation marks in the "
            "file, as is usual for CSV.",
            "$pkg/reading.py",
            """        rows = list(csv.DictReader(file))
""",
            """        head, *lines = file.read().splitlines()
        rows = [dict(zip(head.split(","), line.split(","))) for line in lines]
""",
        ),
        Slip(
            "encoding",
            "Files that Excel has written cannot be read: KeyError: 'date'. tests/test_reading.py has an example.",
            "$pkg/reading.py",
            'encoding="utf-8-sig"',
            'encoding="utf-8"',
        ),
        Slip(
            "name across files",
            "report() dies of a KeyError, while reading and the sums work. Please fix it.",
            "$pkg/report.py",
            'totals.get(entry["payee"], 0) + entry["amount"]',
            'totals.get(entry["payee"], 0) + entry["total"]',
        ),
        Slip(
            "wrong variable",
            "The balance in the report is always zero. Make tests/test_report.py pass.",
            "$pkg/sums.py",
            "return earned - spent",
            "return earned - earned",
        ),
    ),
)
