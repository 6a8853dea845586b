"""Compares what the map made of the tickets with the labels: `python accuracy.py OUT.jsonl`."""

import csv
import json
import sys
from collections import Counter
from pathlib import Path

LABELS = Path(__file__).with_name("labels.csv")


def main(out: str) -> None:
    labels = {row["id"]: row for row in csv.DictReader(LABELS.read_text("utf-8").splitlines())}
    lines = [json.loads(line) for line in Path(out).read_text("utf-8").splitlines()]
    answers = {line["id"]: line["output"] for line in lines if line["status"] == "answered"}
    print(f"{len(answers)} of {len(labels)} tickets were answered; the others do not count below")
    for field, said in (("urgency", urgency), ("area", lambda answer: answer["area"])):
        print("\n" + table(field, Counter((labels[one][field], said(answer)) for one, answer in answers.items())))


def urgency(answer: dict[str, str]) -> str:
    """What is no problem has a low one, whatever the model said. (Asked for low, normal or high outright, the small
    model never said low.)"""
    return answer["urgency"] if answer["kind"] == "problem" else "low"


def table(field: str, counts: Counter[tuple[str, str]]) -> str:
    """counts: of pairs of a label and an answer. For each label how many were found, and what the others were taken
    for."""
    right, total = sum(n for (label, answer), n in counts.items() if label == answer), counts.total()
    lines = [f"{field}: {right} of {total} right ({right / max(total, 1):.0%})"]
    for one in sorted({label for label, _ in counts}):
        taken = {answer: n for (label, answer), n in counts.items() if label == one}
        found, of = taken.pop(one, 0), sum(n for (label, _), n in counts.items() if label == one)
        wrong = ", ".join(f"{n} as {answer}" for answer, n in sorted(taken.items()))
        lines.append(f"  {one:<9}{found:>3} of {of:>2}  {found / of:>4.0%}  {wrong}".rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1])
