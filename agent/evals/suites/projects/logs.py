"""Lines of a server's log, and what they say."""

from __future__ import annotations

from datetime import datetime, timedelta

from fastslow.agent.evals.suites.projects.project import Draw, Project, Slip, Words


def _words(draw: Draw) -> Words:
    start = datetime(draw.randint(2020, 2027), draw.randint(1, 12), draw.randint(1, 28), draw.randint(0, 23), 15)
    hours = draw.randint(25, 70)
    one, two, three = sorted(draw.sample(("auth", "cart", "mail", "search", "users"), 3))
    return {
        "pkg": draw.choice(("logs", "journal", "trace", "watcher")),
        "start": start,
        "end": start + timedelta(hours=hours),
        "hours": hours,
        "one": one,
        "two": two,
        "three": three,
        "code": draw.choice((404, 500, 502, 503)),
        "slow": draw.randint(200, 900) / 100,
    }


LOGS = Project(
    name="logs",
    words=_words,
    files={
        "$pkg/__init__.py": """
from $pkg.lines import Line, parse
from $pkg.summary import busiest, errors, hours

__all__ = ["Line", "busiest", "errors", "hours", "parse"]
""",
        "$pkg/lines.py": r'''
import re
from dataclasses import dataclass
from datetime import datetime

LINE = re.compile(r"(\S+ \S+) (\w+) (\d{3}) (\d+(?:\.\d+)?)s")


@dataclass(frozen=True)
class Line:
    """A request. part: of the server, that answered it. seconds: that it took."""

    time: datetime
    part: str
    status: int
    seconds: float


def parse(text):
    """The lines of a log, one after the other; those that are no request are left out."""
    for line in text.splitlines():
        if found := LINE.fullmatch(line.strip()):
            time, part, status, seconds = found.groups()
            yield Line(datetime.fromisoformat(time), part, int(status), float(seconds))
''',
        "$pkg/summary.py": '''
from collections import Counter


def errors(lines):
    """The share of lines with a status of 400 or above; 0 without lines."""
    lines = list(lines)
    bad = sum(1 for line in lines if line.status >= 400)
    return bad / len(lines) if lines else 0


def busiest(lines):
    """Parts of the server, those with the most lines first; by name where they have equally many."""
    counts = Counter(line.part for line in lines)
    return sorted(counts, key=lambda part: (-counts[part], part))


def hours(lines):
    """The hours from the first line to the last."""
    times = [line.time for line in lines]
    return (max(times) - min(times)).total_seconds() / 3600
''',
        "tests/test_lines.py": """
from $pkg import parse


def test_a_request():
    [line] = parse("$start $one $code ${slow}s")
    assert (str(line.time), line.part, line.status, line.seconds) == ("$start", "$one", $code, $slow)


def test_whole_seconds():
    [line] = parse("$start $two 200 3s")
    assert line.seconds == 3


def test_other_lines_are_left_out():
    assert list(parse("started\\n\\n$start $one 20 1s\\n")) == []
""",
        "tests/test_summary.py": """
from $pkg import busiest, errors, hours, parse

TEXT = '''
$start $three 200 0.10s
$start $two $code 1.50s
$start $two 200 0.20s
$end $one 200 0.25s
'''


def test_errors():
    assert errors(parse(TEXT)) == 0.25
    assert errors(parse("")) == 0


def test_busiest():
    assert busiest(parse(TEXT)) == ["$two", "$one", "$three"]


def test_hours():
    assert hours(parse(TEXT)) == $hours
""",
    },
    slips=(
        Slip(
            "iterator",
            "errors() is 0 for a log that is full of errors, if it gets what parse() returns. With a list it works. It "
            "should work with both.",
            "$pkg/summary.py",
            """    lines = list(lines)
    bad = sum(1 for line in lines if line.status >= 400)
    return bad / len(lines) if lines else 0
""",
            """    total = sum(1 for line in lines)
    bad = sum(1 for line in lines if line.status >= 400)
    return bad / total if total else 0
""",
        ),
        Slip(
            "regex",
            "Requests that took fractions of a second are missing from what parse() gives. Please fix it.",
            "$pkg/lines.py",
            r"(\d+(?:\.\d+)?)s",
            r"(\d+)s",
        ),
        Slip(
            "date",
            "hours() is wrong for logs of more than a day; for $hours hours it gives less than 24.",
            "$pkg/summary.py",
            "(max(times) - min(times)).total_seconds() / 3600",
            "(max(times) - min(times)).seconds / 3600",
        ),
        Slip(
            "sort key",
            "test_busiest in tests/test_summary.py fails. Fix the code.",
            "$pkg/summary.py",
            "(-counts[part], part)",
            "(counts[part], part)",
        ),
    ),
)
