"""The picture of the front page: drawn from the run that is kept beside it, and true to its times."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from pydantic import TypeAdapter

from benchmarks.picture import DOCS, INK, Kept, Part, picture

RUN = Kept(
    "Is 1 < 2 & 3?",
    "a.csv",
    "model",
    "2 cores, no GPU",
    10.0,
    (
        Part("think", 0.0, 2.5, "They ask <this>.", "4 tokens"),
        Part("act", 2.5, 7.5, 'print("&")\n\nx = [1 < 2] # ' + "y" * 200, "9 tokens", code=True),
        Part("run", 7.5, 8.0, "\n".join(map(str, range(40))), "sandbox"),
        Part("act", 8.0, 10.0, "Yes.", "2 tokens"),
    ),
    "",
)


def test_the_front_pages_picture_is_the_kept_run() -> None:
    kept = TypeAdapter(Kept).validate_json((DOCS / "run.json").read_text("utf-8"))
    assert (DOCS / "run.svg").read_text("utf-8") == picture(kept), "run `python -m benchmarks.picture`"


def test_parts_are_as_wide_as_they_took_long() -> None:
    wide = {kind: re.findall(rf'width="([\d.]+)" height="26" rx="3" fill="{INK[kind]}"', picture(RUN)) for kind in INK}
    pixels = {kind: [float(each) + 1 for each in found] for kind, found in wide.items()}
    assert pixels["act"] == pytest.approx([2 * pixels["think"][0], 0.8 * pixels["think"][0]], abs=0.2)
    assert pixels["run"] == pytest.approx([0.2 * pixels["think"][0]], abs=0.2)


def test_all_that_was_said_stands_there_and_what_does_not_fit_is_counted() -> None:
    lines = [
        "".join(each.itertext()) for each in ElementTree.fromstring(picture(RUN)).iter() if each.tag.endswith("text")
    ]
    assert '$ fastslow run "Is 1 < 2 & 3?" --file a.csv' in lines
    assert {"They ask <this>.", 'print("&")', "Yes.", "thinks", "4 tokens", "answers", "0 s", "10 s"} <= set(lines)
    assert next(line for line in lines if line.startswith("x = [1 < 2]")).endswith("y…")
    assert {"0", "23", "… 16 more lines"} <= set(lines)
    assert "24" not in lines
