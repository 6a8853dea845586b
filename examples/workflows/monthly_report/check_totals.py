"""Whether report.html, clean.csv and orders.csv agree: adds all up once more, in a sandbox."""

import csv
import re
import sys
from collections import defaultdict
from decimal import Decimal
from html import unescape
from pathlib import Path


def main() -> list[str]:
    """What does not agree."""
    cells = re.findall(r"<td>(.*?)</td><td>(.*?)</td>", Path("report.html").read_text("utf-8"))
    told = {unescape(name): Decimal(value.replace(",", "")) for name, value in cells}
    with open("clean.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with open("orders.csv", encoding="utf-8-sig", newline="") as file:
        lines = len(list(csv.reader(file))) - 1

    found = defaultdict(Decimal)
    for row in rows:
        amount = int(row["quantity"]) * Decimal(row["price"])
        found["sold"] += amount
        found[f"sold in {row['region']}"] += amount
    found["counted"] = Decimal(len(rows))
    found["lines"] = Decimal(lines)
    found["net"] = found["sold"] - told["returned"]
    found["returned"] = sum((amount for name, amount in told.items() if name.startswith("returned as ")), Decimal(0))
    parts = ("twice", "without quantity or price", "of other months", "counted")
    if sum(told[name] for name in parts) != lines:
        return [f"{' + '.join(parts)} are not all {lines} lines of orders"]
    return [
        f"{name}: the page says {told[name]}, the rows {amount}"
        for name, amount in found.items()
        if told[name] != amount
    ]


if __name__ == "__main__":
    wrong = main()
    print(*wrong or ["all totals agree"], sep="\n")
    sys.exit(bool(wrong))
