"""The example's right answer, computed without the agent: `python expected.py` prints region and total."""

import csv
from collections import Counter
from decimal import Decimal
from pathlib import Path

HERE = Path(__file__).parent


def revenue() -> dict[str, Decimal]:
    """Revenue by region, the highest first."""
    with (HERE / "customers.csv").open(newline="") as file:
        region = {row["customer_id"]: row["region"] for row in csv.DictReader(file)}
    total: Counter[str] = Counter()
    with (HERE / "orders.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            cents = int(row["quantity"]) * int(Decimal(row["unit_price"]) * 100)
            total[region[row["customer_id"]]] += cents
    return {name: Decimal(cents) / 100 for name, cents in total.most_common()}


def answer() -> tuple[str, Decimal]:
    """The region with the highest revenue, and that revenue."""
    return next(iter(revenue().items()))


if __name__ == "__main__":
    for name, amount in revenue().items():
        print(f"{name:<6} {amount:>12}")
