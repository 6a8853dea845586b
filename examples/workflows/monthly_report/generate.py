"""Makes the example's data: `python generate.py` writes the three files in `in/`, always alike.

They are as people have them: dates in four ways, amounts with points and with commas, rows twice, values missing.
"""

import csv
import random
from datetime import date, timedelta
from pathlib import Path

FOLDER = Path(__file__).parent / "in"
PRODUCTS = {
    "keyboard": 4990,
    "monitor": 18900,
    "mouse": 1950,
    "headset": 7425,
    "cable": 680,
    "laptop": 119000,
}  # prices in cents
REGIONS = ("North", "South", "East", "West")
DATES = ("%Y-%m-%d", "%d.%m.%Y", "%d %b %Y", "%Y/%m/%d")
NOTES = (
    "came with a crack in the glass",
    "I ordered black and got white",
    "was to be a gift, came a week after the birthday",
    "changed my mind, never opened it",
    "broken in the box, the courier must have dropped it",
    "this is not the model on my order",
    "two weeks late, bought one elsewhere",
    "does not go with my desk, sorry",
    "stopped working on the second day",
    "somebody else's parcel, I think",
)


def main() -> None:
    draw = random.Random(10)
    customers = [[f"C{number}", draw.choice(REGIONS)] for number in range(100, 130)]
    orders = [order(1000 + number, draw) for number in range(160)]
    bought = draw.sample([row for row in orders if row[4] and row[5]], len(NOTES))
    returns = [[row[0], written_date(date(2026, 10, 28), draw), note] for row, note in zip(bought, NOTES, strict=True)]

    twice = draw.sample(orders, 6)
    header = ["order", "date", "customer", "product", "quantity", "price"]
    write("orders.csv", ",", header, shuffled(orders, twice, draw))
    untidy = [[one, draw.choice([region, region.upper(), f" {region} ", region.lower()])] for one, region in customers]
    write("customers.csv", ";", ["customer", "region"], shuffled(untidy, untidy[:3], draw))
    write("returns.csv", ",", ["order", "date", "note"], shuffled(returns, returns[:2], draw))


def order(number: int, draw: random.Random) -> list[str]:
    product = draw.choice(list(PRODUCTS))
    day = date(2026, 9, 24) + timedelta(days=draw.randrange(44))
    quantity = "" if draw.random() < 0.03 else str(draw.randint(1, 25))
    price = "" if draw.random() < 0.05 else written_cents(PRODUCTS[product], draw)
    customer = f"C{draw.randrange(100, 132)}"  # the last two are in no list of customers
    return [str(number), written_date(day, draw), customer, product, quantity, price]


def written_date(day: date, draw: random.Random) -> str:
    return day.strftime(draw.choice(DATES))


def written_cents(cents: int, draw: random.Random) -> str:
    text = f"{cents / 100:,.2f}"  # 1,190.00
    return draw.choice([text, text.translate(str.maketrans(".,", ",.")), f"{text.replace(',', '')} EUR"])


def shuffled(rows: list[list[str]], more: list[list[str]], draw: random.Random) -> list[list[str]]:
    together = rows + more
    draw.shuffle(together)
    return together


def write(name: str, delimiter: str, header: list[str], rows: list[list[str]]) -> None:
    with (FOLDER / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows([header, *rows])


if __name__ == "__main__":
    main()
