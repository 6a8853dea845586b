"""Makes the example's data: `python generate.py` writes orders.csv, always alike."""

import csv
import random
from datetime import date, timedelta
from pathlib import Path

HERE = Path(__file__).parent
REGIONS = {"North": 3, "South": 5, "East": 2, "West": 3}  # weights
PRODUCTS = {
    "keyboard": 4990,
    "monitor": 18900,
    "mouse": 1950,
    "headset": 7425,
    "cable": 680,
}  # prices in cents
HEADER = ("order_id", "date", "region", "product", "quantity", "revenue")


def main() -> None:
    """South has the most orders; West buys the dear products and wins on revenue."""
    draw = random.Random(4)
    with (HERE / "orders.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(order(1000 + number, draw) for number in range(400))


def order(number: int, draw: random.Random) -> tuple[object, ...]:
    """One order, at the product's price give or take a tenth."""
    [region] = draw.choices(list(REGIONS), list(REGIONS.values()))
    [product] = draw.choices(list(PRODUCTS), (1, 6, 1, 3, 1) if region == "West" else (3, 1, 3, 2, 4))
    quantity = draw.randint(1, 9)
    cents = quantity * round(PRODUCTS[product] * draw.uniform(0.9, 1.1))
    day = date(2025, 1, 1) + timedelta(days=draw.randrange(365))
    return number, day.isoformat(), region, product, quantity, f"{cents / 100:.2f}"


if __name__ == "__main__":
    main()
