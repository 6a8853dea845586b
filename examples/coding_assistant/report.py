"""A report in words."""

from reading import read
from stats import mean, warmest


def report(text):
    days = read(text)
    return f"{len(days)} days, {mean(days.values()):.1f} degrees on average, warmest on {warmest(days)}"
