"""The report as a page of HTML with a chart in it, and its rows as CSV: what `check_totals.py` compares."""

import csv
import io
from collections.abc import Mapping
from decimal import Decimal
from html import escape

from cleaning import Month

BAR, GAP, WIDTH = 22, 8, 360  # pixels


def page(month: Month, figures: Mapping[str, Decimal], summary: str) -> str:
    counted = {
        "lines": month.lines,
        "twice": month.twice,
        "without quantity or price": len(month.aside),
        "of other months": month.others,
        "counted": len(month.orders),
    }
    regions = {name.removeprefix("sold in "): amount for name, amount in figures.items() if name.startswith("sold in ")}
    aside = (
        f"<p>Left out, as nobody knows how many were sold: {', '.join(sorted(month.aside))}</p>" if month.aside else ""
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Report</title>
<style>body {{ font: 16px/1.5 sans-serif; max-width: 45em; margin: 2em auto }} td + td {{ text-align: right }}</style>
<h1>Report</h1>
<p>{escape(summary)}</p>
{chart(regions)}
{table("EUR", {name: f"{amount:,.2f}" for name, amount in figures.items()})}
{table("lines of orders", {name: str(number) for name, number in counted.items()})}
{aside}
</html>
"""


def table(head: str, cells: Mapping[str, str]) -> str:
    rows = "\n".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in cells.items())
    return f"<table>\n<tr><th></th><th>{escape(head)}</th></tr>\n{rows}\n</table>"


def chart(amounts: Mapping[str, Decimal]) -> str:
    """A bar for each."""
    most = max(amounts.values(), default=Decimal(1))
    bars = []
    for number, (name, amount) in enumerate(amounts.items()):
        top, width = number * (BAR + GAP), float(amount / most) * WIDTH
        bars.append(
            f'<text x="0" y="{top + 16}">{escape(name)}</text>'
            f'<rect x="80" y="{top}" width="{width:.0f}" height="{BAR}" fill="#4a7"/>'
            f'<text x="{width + 88:.0f}" y="{top + 16}">{amount:,.0f}</text>'
        )
    size = f'width="{WIDTH + 200}" height="{len(amounts) * (BAR + GAP)}"'
    return f'<svg {size} role="img" aria-label="sold by region">{"".join(bars)}</svg>'


def clean_csv(month: Month) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["order", "date", "region", "product", "quantity", "price", "returned"])
    back = {one.order.id for one in month.returns}
    for one in month.orders:
        writer.writerow([one.id, one.day, one.region, one.product, one.quantity, one.price, int(one.id in back)])
    return text.getvalue()
