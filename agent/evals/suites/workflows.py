"""`workflows`: tasks of several steps over generated files and databases, whose answers can be computed.

All of a case follows from a seed and its number: another seed is a fresh set of the same kind.
"""

from __future__ import annotations

import random
import sqlite3
import statistics
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from fastslow.agent.evals.case import Case, Judge
from fastslow.agent.evals.suites.judges import all_of, draws, names, says, writes_fields, writes_rows, writes_text

INSTANCES = 4  # of each family
REGIONS = ("North", "South", "East", "West", "Centre")
CITIES = ("Oslo", "Lima", "Cairo", "Quito", "Seoul", "Porto")
PEOPLE = ("Ada", "Ben", "Cleo", "Dov", "Eva", "Finn", "Gia", "Hugo", "Ida", "Jon", "Kim", "Leo", "Mia", "Ned")
GOODS = ("lamp", "desk", "chair", "shelf", "clock", "mirror")

Draw: TypeAlias = random.Random


@dataclass(frozen=True, slots=True)
class Instance:
    """What a family makes: the task's words, its files, and who judges the result."""

    task: str
    files: Mapping[str, bytes]
    judge: Judge


def workflows(seed: int) -> tuple[Case, ...]:
    """All cases of a seed; the first of each family come first, so that the first n are a fair sample."""
    cases = []
    for number in range(INSTANCES):
        for family in FAMILIES:
            group, name = family.__doc__.split(":")[0] if family.__doc__ else "", family.__name__.strip("_")
            made = family(random.Random(f"{seed}/{name}/{number}"))  # noqa: S311 - not for secrets
            cases.append(Case("workflows", group, f"{name}-{seed}-{number}", made.task, made.judge, made.files))
    return tuple(cases)


# --- tables ------------------------------------------------------------------------------------------


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    lines = [",".join(header), *(",".join("" if cell is None else str(cell) for cell in row) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def _totals(rows: Iterable[tuple[str, float]]) -> dict[str, float]:
    totals: dict[str, float] = defaultdict(float)
    for key, value in rows:
        totals[key] += value
    return dict(totals)


def _best(totals: Mapping[str, float]) -> tuple[str, float]:
    name = max(totals, key=lambda key: totals[key])
    return name, totals[name]


def _price(draw: Draw, low: float = 5, high: float = 200) -> float:
    return round(draw.uniform(low, high), 2)


def _date(draw: Draw) -> str:
    return f"2025-{draw.randint(1, 6):02}-{draw.randint(1, 28):02}"


def _orders(draw: Draw) -> list[tuple[str, int, float]]:
    return [(draw.choice(REGIONS), draw.randint(1, 20), _price(draw)) for _ in range(draw.randint(30, 60))]


# --- families ----------------------------------------------------------------------------------------


def _top_region(draw: Draw) -> Instance:
    """aggregate: the group with the largest total of a product of two columns."""
    rows = _orders(draw)
    name, total = _best(_totals((region, units * price) for region, units, price in rows))
    files = {"orders.csv": _csv(("region", "units", "price"), rows)}
    task = "Revenue is units times price. Which region has the highest total revenue, and how much is it?"
    return Instance(task, files, all_of(names(name), says(total)))


def _mean_of_month(draw: Draw) -> Instance:
    """aggregate: the mean of a column in one month."""
    rows = [(_date(draw), _price(draw)) for _ in range(50)]
    month = int(draw.choice(rows)[0][5:7])
    mean = statistics.mean(amount for date, amount in rows if int(date[5:7]) == month)
    spoken = ("January", "February", "March", "April", "May", "June")[month - 1]
    files = {"payments.csv": _csv(("date", "amount"), rows)}
    return Instance(f"What is the mean amount of the payments in {spoken} 2025? Give two decimals.", files, says(mean))


def _median_of_group(draw: Draw) -> Instance:
    """aggregate: the median of one group."""
    rows = [(draw.choice(CITIES), draw.randint(18, 80)) for _ in range(60)]
    city = rows[0][0]
    median = statistics.median(age for town, age in rows if town == city)
    return Instance(
        f"What is the median age of the people in {city}?", {"people.csv": _csv(("city", "age"), rows)}, says(median, 1)
    )


def _customers(draw: Draw) -> tuple[list[tuple[int, str, str]], list[tuple[int, int, float]]]:
    people = [(100 + n, name, draw.choice(CITIES)) for n, name in enumerate(draw.sample(PEOPLE, 10))]
    buyers = draw.sample(people, 7)
    orders = [(n, draw.choice(buyers)[0], _price(draw)) for n in range(1, 41)]
    return people, orders


def _shop(people: Sequence[Sequence[Any]], orders: Sequence[Sequence[Any]]) -> dict[str, bytes]:
    return {
        "customers.csv": _csv(("customer_id", "name", "city"), people),
        "orders.csv": _csv(("order_id", "customer_id", "amount"), orders),
    }


def _sum_of_city(draw: Draw) -> Instance:
    """join: the total of one table's column for a value of the other's."""
    people, orders = _customers(draw)
    city_of = {number: city for number, _, city in people}
    totals = _totals((city_of[customer], amount) for _, customer, amount in orders)
    city = draw.choice(sorted(totals))
    task = f"What is the total amount of all orders of customers who live in {city}?"
    return Instance(task, _shop(people, orders), says(totals[city]))


def _best_customer(draw: Draw) -> Instance:
    """join: who has the largest total."""
    people, orders = _customers(draw)
    name_of = {number: name for number, name, _ in people}
    name, total = _best(_totals((name_of[customer], amount) for _, customer, amount in orders))
    task = "Which customer (by name) spent the most in total, and how much?"
    return Instance(task, _shop(people, orders), all_of(names(name), says(total)))


def _without_orders(draw: Draw) -> Instance:
    """join: how many rows have no partner."""
    people, orders = _customers(draw)
    missing = len({number for number, _, _ in people} - {customer for _, customer, _ in orders})
    return Instance("How many customers have no order at all?", _shop(people, orders), says(missing, 0))


def _duplicates(draw: Draw) -> Instance:
    """clean: what is left without repeated rows."""
    rows = [(n, draw.choice(GOODS), _price(draw)) for n in range(1, 31)]
    dirty = [*rows, *draw.sample(rows, draw.randint(4, 9))]
    draw.shuffle(dirty)
    task = "Remove the duplicate rows. How many rows are left, and what is the sum of their prices?"
    total = sum(price for *_, price in rows)
    return Instance(task, {"items.csv": _csv(("id", "item", "price"), dirty)}, all_of(says(len(rows), 0), says(total)))


def _fill_missing(draw: Draw) -> Instance:
    """clean: the mean after missing values took the median."""
    ages: list[int | None] = [draw.randint(18, 80) for _ in range(40)]
    for place in draw.sample(range(40), 7):
        ages[place] = None
    known = [age for age in ages if age is not None]
    mean = (sum(known) + statistics.median(known) * (len(ages) - len(known))) / len(ages)
    files = {"ages.csv": _csv(("id", "age"), enumerate(ages, 1))}
    return Instance(
        "Fill the missing ages with the median age. What is the mean age then? Give two decimals.", files, says(mean)
    )


def _money(draw: Draw) -> Instance:
    """clean: amounts written with signs and separators."""
    amounts = [_price(draw, 50, 9000) for _ in range(25)]
    lines = ["id;amount", *(f"{n};${amount:,.2f}" for n, amount in enumerate(amounts, 1))]
    task = "invoices.csv is separated by semicolons. What is the total amount of all invoices?"
    return Instance(task, {"invoices.csv": ("\n".join(lines) + "\n").encode()}, says(sum(amounts)))


def _units(draw: Draw) -> Instance:
    """clean: one column in two units."""
    rows = [
        (n, draw.randint(1, 40), "kg") if draw.random() < 0.5 else (n, draw.randint(100, 9000), "g") for n in range(30)
    ]
    total = sum(weight if unit == "kg" else weight / 1000 for _, weight, unit in rows)
    task = "Some parcels are weighed in kg and some in g. What is the total weight in kg?"
    return Instance(task, {"parcels.csv": _csv(("id", "weight", "unit"), rows)}, says(total))


def _bar_chart(draw: Draw) -> Instance:
    """plot: a picture of totals, and the largest."""
    rows = [(draw.choice(GOODS), draw.randint(1, 30)) for _ in range(50)]
    name, total = _best(_totals(rows))
    task = (
        "Save a bar chart of the total quantity by item as chart.png. Which item has the largest total, and how much?"
    )
    return Instance(
        task, {"sales.csv": _csv(("item", "quantity"), rows)}, all_of(draws("chart.png"), names(name), says(total, 0))
    )


def _line_chart(draw: Draw) -> Instance:
    """plot: a picture over time, and its peak."""
    rows = [(f"2025-{month:02}", draw.randint(100, 999)) for month in range(1, 13)]
    peak = max(visits for _, visits in rows)
    task = "Save a line chart of visits by month as trend.png. How many visits had the best month?"
    return Instance(task, {"visits.csv": _csv(("month", "visits"), rows)}, all_of(draws("trend.png"), says(peak, 0)))


def _database(*tables: tuple[str, str, Sequence[Sequence[Any]]]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "made.db")
        database = sqlite3.connect(path)
        for name, columns, rows in tables:
            database.execute(f"CREATE TABLE {name} ({columns})")
            marks = ",".join("?" * len(rows[0]))
            database.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)  # noqa: S608 - our own names
        database.commit()
        database.close()
        return path.read_bytes()


def _count_rows(draw: Draw) -> Instance:
    """sql: how many rows fit."""
    rows = [(n, draw.choice(CITIES), draw.randint(18, 80)) for n in range(1, 81)]
    city, age = rows[0][1], draw.randint(30, 50)
    count = sum(town == city and years > age for _, town, years in rows)
    files = {"people.db": _database(("people", "id INTEGER, city TEXT, age INTEGER", rows))}
    task = (
        "people.db is an SQLite database with a table people (id, city, age). "
        f"How many people in {city} are older than {age}?"
    )
    return Instance(task, files, says(count, 0))


def _join_tables(draw: Draw) -> Instance:
    """sql: a total over two tables."""
    goods = [(n, name, draw.randint(2, 90)) for n, name in enumerate(GOODS, 1)]
    sales = [(n, draw.randint(1, len(goods)), draw.randint(1, 9)) for n in range(1, 61)]
    price = {number: (name, cost) for number, name, cost in goods}
    name, total = _best(_totals((price[item][0], price[item][1] * count) for _, item, count in sales))
    files = {
        "shop.db": _database(
            ("products", "id INTEGER, name TEXT, price INTEGER", goods),
            ("sales", "id INTEGER, product_id INTEGER, quantity INTEGER", sales),
        )
    }
    task = (
        "shop.db is an SQLite database with the tables products (id, name, price) and sales (id, product_id, "
        "quantity). Which product has the highest total of price times quantity, and how much is it?"
    )
    return Instance(task, files, all_of(names(name), says(total, 0)))


def _write_table(draw: Draw) -> Instance:
    """files: a table of the three largest totals."""
    rows = [(draw.choice(PEOPLE[:8]), _price(draw)) for _ in range(50)]
    top = sorted(_totals(rows).items(), key=lambda item: -item[1])[:3]
    task = (
        "Write the three sellers with the largest total amounts to top.csv, with the columns seller and total, largest "
        "first, totals with two decimals. Then say who is first."
    )
    judge = all_of(writes_rows("top.csv", "seller", "total", top), names(top[0][0]))
    return Instance(task, {"deals.csv": _csv(("seller", "amount"), rows)}, judge)


def _write_fields(draw: Draw) -> Instance:
    """files: a few figures as JSON."""
    values = [_price(draw) for _ in range(40)]
    fields = {"count": len(values), "mean": round(statistics.mean(values), 2), "max": max(values)}
    task = (
        "Write count, mean (two decimals) and max of the column value to summary.json, as one object with the keys "
        "count, mean and max. Then say the mean."
    )
    judge = all_of(writes_fields("summary.json", fields), says(fields["mean"]))
    return Instance(task, {"values.csv": _csv(("id", "value"), enumerate(values, 1))}, judge)


BUGS = (
    ("mean", "return sum(values) / (len(values) + 1)", lambda v: sum(v) / len(v)),
    ("spread", "return max(values) + min(values)", lambda v: max(v) - min(v)),
    ("total", "return sum(values[1:])", sum),
    ("largest", "return sorted(values)[0]", max),
)


def _fix_bug(draw: Draw) -> Instance:
    """edit: a wrong function, and tests that show it."""
    name, line, right = draw.choice(BUGS)
    code = f"def {name}(values):\n    {line}\n"
    shown, asked = ([draw.randint(1, 60) for _ in range(5)] for _ in range(2))
    tests = (
        f"from stats import {name}\n\nassert abs({name}({shown}) - {right(shown)}) < 1e-9\nprint('all tests pass')\n"
    )
    task = (
        f"The function {name} in stats.py is wrong, as test_stats.py shows. Fix stats.py so that the test passes, then "
        f"say what {name}({asked}) returns."
    )
    judge = all_of(writes_text("stats.py", code), says(right(asked), 2))
    return Instance(task, {"stats.py": code.encode(), "test_stats.py": tests.encode()}, judge)


def _three_figures(draw: Draw) -> Instance:
    """several: three questions about one table."""
    rows = [(draw.choice(CITIES), draw.randint(-5, 35)) for _ in range(60)]
    degrees = [value for _, value in rows]
    cities = len({city for city, _ in rows})
    task = "How many different cities are there, what is the mean temperature (two decimals), and what is the highest?"
    judge = all_of(says(cities, 0), says(statistics.mean(degrees)), says(max(degrees), 0))
    return Instance(task, {"weather.csv": _csv(("city", "temperature"), rows)}, judge)


def _log_lines(draw: Draw) -> Instance:
    """several: a text file that is no table."""
    parts = ("auth", "store", "mail", "web")
    lines = [(draw.choice(("INFO", "WARN", "ERROR")), draw.choice(parts)) for _ in range(90)]
    errors = Counter(part for level, part in lines if level == "ERROR")
    most = max(parts, key=lambda part: errors[part])
    errors[most] += 1  # no two are first
    lines.append(("ERROR", most))
    text = "".join(f"12:{n % 60:02} {level} {part}: request {n} done\n" for n, (level, part) in enumerate(lines))
    task = "How many lines of app.log have the level ERROR, and which module has the most of them?"
    return Instance(task, {"app.log": text.encode()}, all_of(says(sum(errors.values()), 0), names(most)))


def _share(draw: Draw) -> Instance:
    """several: a share in percent."""
    rows = [(draw.choice(("web", "shop", "phone")), _price(draw)) for _ in range(50)]
    total = sum(amount for _, amount in rows)
    part = 100 * sum(amount for way, amount in rows if way == "web") / total
    task = "What share of the total amount came over the channel web, in percent with one decimal?"
    return Instance(task, {"income.csv": _csv(("channel", "amount"), rows)}, says(part, 1))


FAMILIES: tuple[Callable[[Draw], Instance], ...] = (
    _top_region,
    _sum_of_city,
    _duplicates,
    _bar_chart,
    _count_rows,
    _fix_bug,
    _write_table,
    _three_figures,
    _mean_of_month,
    _best_customer,
    _fill_missing,
    _line_chart,
    _join_tables,
    _write_fields,
    _log_lines,
    _median_of_group,
    _without_orders,
    _money,
    _share,
    _units,
)
