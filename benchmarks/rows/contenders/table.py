"""What all contenders share: the question, the rows, and an output that the same command goes on with.

A script is started as `python ask_NAME.py URL FOLDER AT_ONCE`. FOLDER has rows.csv; lines go to out.jsonl in it, and
what else a contender keeps goes to kept/. Standard library only.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TASK = "Classify the ticket by urgency: does somebody have to act now, today, or later?"
SCHEMA = {
    "type": "object",
    "properties": {
        "urgency": {"type": "string", "enum": ["now", "today", "later"], "description": "how soon somebody must act"},
        "why": {"type": "string", "description": "in a few words"},
    },
    "required": ["urgency", "why"],
    "additionalProperties": False,
}


def arguments() -> tuple[str, Path, int]:
    """The server's URL, the folder, and how many rows may be in hand at once."""
    url, folder, at_once = sys.argv[1:4]
    (Path(folder) / "kept").mkdir(exist_ok=True)
    return url, Path(folder), int(at_once)


def write_rows(folder: Path, count: int) -> None:
    with open(folder / "rows.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows((number, text(number)) for number in range(count))


def text(number: int) -> str:
    """Some 150 characters, with the number that the server counts by."""
    return (
        f"This is ticket {number:06}. The door of room {number % 97} squeaks since we moved the heavy desk, and the "
        f"lamp behind it went out {number % 11} days ago."
    )


def read_rows(folder: Path) -> Iterator[tuple[str, str]]:
    with open(folder / "rows.csv", newline="") as file:
        for row in csv.DictReader(file):
            yield row["id"], row["text"]


class Output:
    """Lines of JSON, appended and flushed one by one. done: ids that were there before."""

    def __init__(self, folder: Path) -> None:
        path = folder / "out.jsonl"
        self.done = {json.loads(line)["id"] for line in path.open()} if path.exists() else set()
        self._file = path.open("a")

    def add(self, name: str, output: Any) -> None:
        self._file.write(json.dumps({"id": name, "output": output}) + "\n")
        self._file.flush()
