"""Makes the example's data: `python generate.py` writes customers.csv and orders.csv, always alike."""

import csv
import random
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

HERE = Path(__file__).parent
REGIONS = {"North": 14, "South": 22, "East": 10, "West": 14}  # customers in each
PRODUCTS = {
    "keyboard": 4990,
    "monitor": 18900,
    "mouse": 1950,
    "headset": 7425,
    "cable": 680,
}  # prices in cents


def main() -> None:
    """South has the most customers and orders; West buys the dear products and wins on revenue."""
    draw = random.Random(4)
    regions = [region for region, count in REGIONS.items() for _ in range(count)]
    draw.shuffle(regions)
    customers = [(100 + n, f"Customer {n + 1}", region) for n, region in enumerate(regions)]
    write("customers.csv", ("customer_id", "name", "region"), customers)
    orders = [order(1000 + n, draw, draw.choice(customers)) for n in range(400)]
    write("orders.csv", ("order_id", "customer_id", "date", "product", "quantity", "unit_price"), orders)


def order(number: int, draw: random.Random, customer: tuple[int, str, str]) -> tuple[object, ...]:
    """One order of a customer, at the product's price give or take a tenth."""
    customer_id, _, region = customer
    weights = (1, 6, 1, 3, 1) if region == "West" else (3, 1, 3, 2, 4)
    [product] = draw.choices(list(PRODUCTS), weights)
    cents = round(PRODUCTS[product] * draw.uniform(0.9, 1.1))
    day = date(2025, 1, 1) + timedelta(days=draw.randrange(365))
    return number, customer_id, day.isoformat(), product, draw.randint(1, 9), f"{cents / 100:.2f}"


def write(name: str, header: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    """A CSV file beside this one."""
    with (HERE / name).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
