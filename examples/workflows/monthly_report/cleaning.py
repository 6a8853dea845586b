"""The three files of a month, as people have them, made into rows that can be added up."""

import csv
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

DATES = ("%Y-%m-%d", "%d.%m.%Y", "%d %b %Y", "%Y/%m/%d")


@dataclass(frozen=True)
class Order:
    """price: of one piece, in euros; None where nobody knows it."""

    id: str
    day: date
    region: str
    product: str
    quantity: int
    price: Decimal | None

    @property
    def amount(self) -> Decimal:
        return self.quantity * (self.price or Decimal(0))


@dataclass(frozen=True)
class Return:
    order: Order
    note: str


@dataclass(frozen=True)
class Month:
    """orders, returns: of the month. lines: of the file of orders; twice: those that were there before. aside: ids of
    orders without a quantity or a price. others: orders of other months."""

    orders: tuple[Order, ...]
    returns: tuple[Return, ...]
    lines: int
    twice: int
    aside: tuple[str, ...]
    others: int


def clean(month: str, orders: Path, customers: Path, returns: Path) -> Month:
    """month: such as 2026-10. ValueError for a day or an amount that cannot be read."""
    regions = {row["customer"]: row["region"].strip().title() for row in rows(customers)}
    raw, back = rows(orders), unique(rows(returns))
    kept = unique(raw)
    known = with_prices(order(row, regions) for row in kept)
    sound = {one.id: one for one in known if one.quantity and one.price}
    chosen = tuple(one for one in sound.values() if f"{one.day:%Y-%m}" == month)
    came = [row for row in back if f"{day(row['date']):%Y-%m}" == month and row["order"] in sound]
    return Month(
        orders=chosen,
        returns=tuple(Return(sound[row["order"]], row["note"]) for row in came),
        lines=len(raw),
        twice=len(raw) - len(kept),
        aside=tuple(one.id for one in known if one.id not in sound),
        others=len(sound) - len(chosen),
    )


def rows(path: Path) -> list[dict[str, str]]:
    """Of a file with commas or semicolons."""
    text = path.read_text("utf-8-sig")
    delimiter = ";" if ";" in text.partition("\n")[0] else ","
    return list(csv.DictReader(text.splitlines(), delimiter=delimiter))


def unique(found: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Rows without those that say the same as an earlier one."""
    return [dict(row) for row in dict.fromkeys(tuple(row.items()) for row in found)]


def order(row: dict[str, str], regions: dict[str, str]) -> Order:
    region = regions.get(row["customer"], "Unknown")
    price = amount(row["price"]) if row["price"] else None
    return Order(row["order"], day(row["date"]), region, row["product"], int(row["quantity"] or 0), price)


def with_prices(orders: Iterable[Order]) -> list[Order]:
    """A price that is missing is the one that the product mostly has."""
    listed = list(orders)
    seen: dict[str, Counter[Decimal]] = {}
    for one in listed:
        if one.price:
            seen.setdefault(one.product, Counter())[one.price] += 1
    usual = {product: prices.most_common(1)[0][0] for product, prices in seen.items()}
    return [one if one.price else replace(one, price=usual.get(one.product)) for one in listed]


def day(text: str) -> date:
    for form in DATES:
        try:
            return datetime.strptime(text.strip(), form).date()
        except ValueError:
            continue
    raise ValueError(f"expected a day such as 2026-10-31, 31.10.2026, 31 Oct 2026 or 2026/10/31, got {text!r}")


def amount(text: str) -> Decimal:
    """1190.00, 1190,00, 1.190,00 and 1,190.00 are the same: the last sign before two digits parts the cents.

    >>> amount("1.190,50 EUR")
    Decimal('1190.50')
    """
    found = re.fullmatch(r"(\d[\d.,]*?)(?:[.,](\d\d))?(?: EUR)?", text.strip())
    if not found:
        raise ValueError(f"expected an amount such as 12.50, 12,50 or 1.250,00 EUR, got {text!r}")
    return Decimal(f"{re.sub('[.,]', '', found[1])}.{found[2] or '00'}")
