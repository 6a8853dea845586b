"""The example's right answer, computed without the agent: `python expected.py` prints revenue by region."""

import csv
from collections import Counter
from decimal import Decimal
from pathlib import Path

HERE = Path(__file__).parent


def revenue() -> dict[str, Decimal]:
    """Revenue by region, the highest first."""
    cents: Counter[str] = Counter()
    with (HERE / "orders.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            cents[row["region"]] += int(Decimal(row["revenue"]) * 100)
    return {region: Decimal(amount) / 100 for region, amount in cents.most_common()}


def answer() -> tuple[str, Decimal]:
    """The region with the highest revenue, and that revenue."""
    return next(iter(revenue().items()))


if __name__ == "__main__":
    for name, amount in revenue().items():
        print(f"{name:<6} {amount:>12}")
