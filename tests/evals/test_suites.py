"""The suites: the same from a seed, judged strictly on values and easily on words."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from fastslow import Exit, Result
from fastslow.agent.evals.case import Case
from fastslow.agent.evals.suites.chat import chat
from fastslow.agent.evals.suites.edits import edits
from fastslow.agent.evals.suites.judges import all_of, draws, names, numbers_in, says, writes_fields, writes_rows
from fastslow.agent.evals.suites.single import FAMILIES, calls, single
from fastslow.agent.evals.suites.workflows import FAMILIES as WORKFLOWS
from fastslow.agent.evals.suites.workflows import workflows
from fastslow.agent.events import CallStarted
from fastslow.agent.transcript import ToolCall


def result(answer: str = "", *files: Path, events: tuple[CallStarted, ...] = ()) -> Result:
    return Result("r", answer, None, None, files, {}, Exit.ANSWERED, "", 1.0, events)


def called(name: str, **arguments: object) -> CallStarted:
    return CallStarted("", ToolCall("c", name, json.dumps(arguments)), arguments)


def given(case: Case) -> tuple[object, ...]:
    return case.id, case.task, case.files, case.repository


@pytest.mark.parametrize("suite", [workflows, single, chat, edits])
def test_a_seed_makes_the_same_cases_and_another_fresh_ones(suite: object) -> None:
    made: list[tuple[Case, ...]] = [suite(seed) for seed in (1, 1, 2)]  # type: ignore[operator]
    first, again, other = made
    assert [given(case) for case in first] == [given(case) for case in again]
    assert len({case.id for case in first}) == len(first)
    assert not {case.id for case in first} & {case.id for case in other}
    assert sum(given(a)[1:] != given(b)[1:] for a, b in zip(first, other, strict=True)) > len(first) // 2


def test_there_are_enough_and_the_first_are_a_fair_sample() -> None:
    cases = workflows(3)
    assert len(cases) >= 60
    assert len({case.id.rsplit("-", 2)[0] for case in cases[: len(WORKFLOWS)]}) == len(WORKFLOWS)
    assert set(Counter(case.group for case in cases)) == {
        "aggregate", "join", "clean", "plot", "sql", "files", "edit", "several",
    }  # fmt: skip
    assert len({case.group for case in single(3)[: len(FAMILIES)]}) == len(FAMILIES)


@pytest.mark.parametrize("text", ["The total is $1,234.50.", "**1234.5**", "1234.4998 (North)", "about 1,234.50 EUR"])
def test_a_number_is_found_however_it_is_written(text: str) -> None:
    assert says(1234.50)(result(text)) == ""


@pytest.mark.parametrize("text", ["1234.51", "12345.0", "1,234,500", "x1234.5", "", "1.2345"])
def test_another_number_is_none(text: str) -> None:
    assert says(1234.50)(result(text))


def test_numbers_of_a_text() -> None:
    assert numbers_in("3 of 12.5, -7; 1,000,000.25 v2 1e3 4.") == [3.0, 12.5, -7.0, 1000000.25, 1000.0, 4.0]


def test_names_are_words() -> None:
    assert names("Ada")(result("It is **Ada**.")) == ""
    assert names("Ada")(result("It is Adam."))
    assert "expected 'Ada'" in all_of(names("Ada"), says(5))(result("5"))


def test_files_are_read_and_never_run(tmp_path: Path) -> None:
    table, fields, picture = tmp_path / "top.csv", tmp_path / "s.json", tmp_path / "c.png"
    table.write_text("seller,total\nAda,10.00\nBen,5.5\n")
    fields.write_text('{"count": 3, "mean": 2.504}')
    picture.write_bytes(b"\x89PNG\r\n\x1a\n...")
    given = result("", table, fields, picture)
    assert writes_rows("top.csv", "seller", "total", [("Ada", 10.0), ("Ben", 5.5)])(given) == ""
    assert writes_rows("top.csv", "seller", "total", [("Ben", 5.5), ("Ada", 10.0)])(given)
    assert "cannot be read" in writes_rows("top.csv", "name", "total", [("Ada", 10.0)])(given)
    assert writes_fields("s.json", {"count": 3, "mean": 2.5})(given) == ""
    assert writes_fields("s.json", {"count": 4})(given)
    assert draws("c.png")(given) == ""
    assert "expected the file d.png" in draws("d.png")(given)
    picture.write_bytes(b"GIF")
    assert draws("c.png")(given)


def test_a_call_is_right_in_name_and_arguments() -> None:
    judge = calls("set_timer", {"minutes": 5})
    assert judge(result(events=(called("set_timer", minutes=5),))) == ""
    assert judge(result(events=(called("set_timer", minutes=5, label=None),))) == ""
    assert judge(result(events=(called("set_timer", minutes=6),)))
    assert judge(result(events=(called("get_weather", city="Oslo"),)))
    assert judge(result("I set it."))


def test_a_chat_wants_no_call() -> None:
    case = next(case for case in chat(1) if case.group == "capital")
    right = next(
        word for word in ("Paris", "Tokyo", "Rome", "Madrid", "Cairo", "Oslo") if case.judge(result(word)) == ""
    )
    assert case.judge(result(right, events=(called("get_weather", city=right),)))
