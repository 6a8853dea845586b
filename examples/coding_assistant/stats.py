"""Figures of a few days."""


def mean(values):
    """The arithmetic mean of numbers; None where there are none."""
    values = list(values)
    if not values:
        return None
    return sum(values) // len(values)


def warmest(temperatures):
    """The day with the highest temperature."""
    return max(temperatures, key=temperatures.get)
