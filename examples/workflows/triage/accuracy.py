"""Compares what the map made of the tickets with the labels: `python accuracy.py OUT.jsonl`."""

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

LABELS = Path(__file__).with_name("labels.csv")
FIELDS = ("urgency", "area")


def main(out: str) -> None:
    labels = {row["id"]: row for row in csv.DictReader(LABELS.open(encoding="utf-8"))}
    lines = [json.loads(line) for line in Path(out).read_text("utf-8").splitlines()]
    answers = {line["id"]: line["output"] for line in lines if line["status"] == "answered"}
    print(f"{len(answers)} of {len(labels)} tickets were answered; those that were not count for nothing below")
    for field in FIELDS:
        pairs = [(labels[id][field], answer[field]) for id, answer in answers.items()]
        print("\n" + "\n".join(table(field, pairs)))


def table(field: str, pairs: Iterable[tuple[str, str]]) -> list[str]:
    """How many of each class were found, what the others were taken for, and how many there were right in all."""
    counts = Counter(pairs)
    right, total = sum(n for (label, answer), n in counts.items() if label == answer), counts.total()
    lines = [f"{field}: {right} of {total} right ({right / max(total, 1):.0%})"]
    for one in sorted({label for label, _ in counts}):
        taken = {answer: n for (label, answer), n in counts.items() if label == one}
        wrong = ", ".join(f"{n} as {answer}" for answer, n in sorted(taken.items()) if answer != one)
        share = taken.get(one, 0) / sum(taken.values())
        lines.append(f"  {one:<9}{taken.get(one, 0):>3} of {sum(taken.values()):>2}  {share:>4.0%}  {wrong}".rstrip())
    return lines


if __name__ == "__main__":
    main(sys.argv[1])
