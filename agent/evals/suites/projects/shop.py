"""Carts, discounts and delivery."""

from __future__ import annotations

from fastslow.agent.evals.suites.projects.project import Draw, Project, Slip, Words


def _words(draw: Draw) -> Words:
    price, percent, count = 20 * draw.randint(20, 90), draw.choice((5, 10, 15, 20, 25)), draw.randint(2, 6)
    free = 1000 * draw.randint(20, 60)
    return {
        "pkg": draw.choice(("shop", "kiosk", "market", "outlet")),
        "item": draw.choice(("lamp", "mug", "chair", "clock", "kettle")),
        "free": free,
        "below": free - 1,
        "delivery": draw.choice((390, 490, 590)),
        "price": price,
        "percent": percent,
        "reduced": price * (100 - percent) // 100,
        "count": count,
        "total": price * count,
    }


SHOP = Project(
    name="shop",
    words=_words,
    files={
        "README.md": """
# $pkg

Carts, discounts and delivery. All amounts are in cents. Tests: `python -m pytest -q`.
""",
        "$pkg/__init__.py": """
from $pkg.cart import Cart
from $pkg.items import Item

__all__ = ["Cart", "Item"]
""",
        "$pkg/items.py": '''
from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """price: in cents, of one piece."""

    name: str
    price: int
    count: int = 1

    @property
    def total(self):
        return self.price * self.count
''',
        "$pkg/pricing.py": '''
"""Discounts and delivery, in cents."""

FREE_FROM = $free
DELIVERY = $delivery


def discounted(price, percent):
    """The price less so many percent."""
    return price - price * percent // 100


def delivery(total):
    """What delivery costs: nothing from FREE_FROM on."""
    return 0 if total >= FREE_FROM else DELIVERY
''',
        "$pkg/cart.py": '''
from $pkg.pricing import delivery, discounted


class Cart:
    """What a customer takes. percent: the customer's discount."""

    def __init__(self, items=None, percent=0):
        self.items = list(items or ())
        self.percent = percent

    def add(self, item):
        self.items.append(item)

    def subtotal(self):
        return discounted(sum(item.total for item in self.items), self.percent)

    def total(self):
        """What the customer pays, delivery included."""
        return self.subtotal() + delivery(self.subtotal())

    def average(self):
        """The mean price of one piece in cents, not rounded; 0 for an empty cart."""
        pieces = sum(item.count for item in self.items)
        return self.subtotal() / pieces if pieces else 0
''',
        "tests/test_cart.py": """
from $pkg import Cart, Item


def test_items_are_added_up():
    cart = Cart()
    cart.add(Item("$item", $price, $count))
    assert cart.subtotal() == $total


def test_carts_have_their_own_items():
    first, second = Cart(), Cart()
    first.add(Item("$item", $price))
    assert len(first.items) == 1
    assert second.items == []


def test_a_customer_has_a_discount():
    assert Cart([Item("$item", $price)], percent=$percent).subtotal() == $reduced


def test_the_average_is_exact():
    assert Cart([Item("$item", $price, 1), Item("box", $price + 1, 1)]).average() == $price + 0.5
    assert Cart().average() == 0
""",
        "tests/test_delivery.py": """
from $pkg import Cart, Item
from $pkg.pricing import DELIVERY, delivery


def test_delivery_is_free_from_a_total_on():
    assert delivery($free) == 0
    assert delivery($below) == DELIVERY


def test_a_total_has_its_delivery():
    assert Cart([Item("$item", $below)]).total() == $below + $delivery
    assert Cart([Item("$item", $free + 500)]).total() == $free + 500
""",
    },
    slips=(
        Slip(
            "operator",
            "Customers who order for exactly $free cents are charged for delivery, although it is free from there on. "
            "Please fix that.",
            "$pkg/pricing.py",
            "if total >= FREE_FROM",
            "if total > FREE_FROM",
        ),
        Slip(
            "mutable default",
            "What one customer puts into the cart turns up in the carts of others. Find out why, and fix it.",
            "$pkg/cart.py",
            "items=None, percent=0):\n        self.items = list(items or ())",
            "items=[], percent=0):\n        self.items = items",
        ),
        Slip(
            "argument order",
            "tests/test_cart.py fails: carts with a discount have odd subtotals. Fix the code, not the tests.",
            "$pkg/cart.py",
            "discounted(sum(item.total for item in self.items), self.percent)",
            "discounted(self.percent, sum(item.total for item in self.items))",
        ),
        Slip(
            "division",
            "Cart.average should give the exact mean price of a piece, but comes out up to a cent too low.",
            "$pkg/cart.py",
            "self.subtotal() / pieces",
            "self.subtotal() // pieces",
        ),
    ),
)
