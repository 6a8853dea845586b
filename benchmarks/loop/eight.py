"""The eight tools that every contender is given. They answer at once, with some 230 characters.

No `from __future__ import annotations` here: some frameworks read the annotations as they are.
"""

FILL = (
    "Taken from the register of this morning, which is renewed every day and kept for a year by the same two people. "
    * 2
)


def weather(city: str, unit: str) -> str:
    """Tell the weather of a city.

    Args:
        city: Its name.
        unit: Of the temperature: celsius or fahrenheit.
    """
    return f"{city}: 21 degrees {unit}. {FILL}"


def search(query: str, limit: int) -> str:
    """Search the archive for documents.

    Args:
        query: What to search for.
        limit: The most documents that are told.
    """
    return f"{limit} documents about {query}. {FILL}"


def price(item: str) -> str:
    """Tell what an item costs.

    Args:
        item: Its name.
    """
    return f"{item} costs 12. {FILL}"


def distance(start: str, goal: str) -> str:
    """Tell the distance between two cities in kilometres.

    Args:
        start: The first city.
        goal: The second city.
    """
    return f"{start} to {goal}: 120 km. {FILL}"


def note(text: str) -> str:
    """Write a note down.

    Args:
        text: What it says.
    """
    return f"noted: {text}. {FILL}"


def customer(number: int) -> str:
    """Look a customer up.

    Args:
        number: The customer's number.
    """
    return f"customer {number} orders on Mondays. {FILL}"


def stock(item: str, shop: str) -> str:
    """Tell how many pieces of an item a shop has.

    Args:
        item: Its name.
        shop: The shop's name.
    """
    return f"{shop} has 7 of {item}. {FILL}"


def exchange(amount: float, currency: str) -> str:
    """Convert an amount of euros into another currency.

    Args:
        amount: Euros.
        currency: The other currency's code.
    """
    return f"{amount} euros in {currency}. {FILL}"


TOOLS = [weather, search, price, distance, note, customer, stock, exchange]


def call_of_turn(turn: int) -> tuple[str, dict[str, object]]:
    """The tool that the model calls in a turn, and its arguments, which no other turn has."""
    calls: list[tuple[str, dict[str, object]]] = [
        ("weather", {"city": f"Town {turn}", "unit": "celsius"}),
        ("search", {"query": f"invoices of week {turn}", "limit": 5}),
        ("price", {"item": f"lamp {turn}"}),
        ("distance", {"start": f"Town {turn}", "goal": "Harbour"}),
        ("note", {"text": f"Week {turn} is done"}),
        ("customer", {"number": 1000 + turn}),
        ("stock", {"item": f"lamp {turn}", "shop": "North"}),
        ("exchange", {"amount": turn + 0.5, "currency": "KRW"}),
    ]
    return calls[turn % len(calls)]
