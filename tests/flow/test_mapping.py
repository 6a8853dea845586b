"""A map asks each row once, whatever ends it, and its lines are what the journal holds."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastslow.agent.budget import Budget
from fastslow.agent.engine.scripted import ScriptedModel
from fastslow.agent.engine.types import Delta, Reply, Request, Usage
from fastslow.agent.errors import (
    ConfigurationError,
    EngineError,
    EngineRefused,
    EngineUnreachable,
    JournalBroken,
    RunBusy,
)
from fastslow.agent.events import Exit
from fastslow.agent.flow.crew import Here
from fastslow.agent.flow.mapping import Order, Work, opened, outlook
from fastslow.agent.flow.outfile import OutFile, line
from fastslow.agent.flow.rows import source
from fastslow.agent.flow.spec import MapSpec
from fastslow.agent.record.jobs import StepResult
from fastslow.agent.record.journal import Journal
from tests.flow.stub_server import SCHEMA, expected


class RowModel(ScriptedModel):
    """Answers each row as the stub server does. on: is asked first, with the row's text, and may raise or wait."""

    def __init__(self, on: Callable[[str], Any] = lambda text: None) -> None:
        super().__init__([])
        self.on = on
        self.texts: list[str] = []

    async def stream(self, request: Request) -> AsyncGenerator[Delta | Reply, None]:
        found = re.search(r"<text>\n(.*)\n</text>", request.messages[1].content, re.DOTALL)
        assert found
        self.texts.append(found[1])
        if asyncio.iscoroutine(wait := self.on(found[1])):
            await wait
        said = "no" if "bad" in found[1] else json.dumps(expected(found[1]))
        yield Reply(said, usage=Usage(answer=10))


class Table:
    """A table in a folder, and maps over it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out.jsonl"
        self.journal = Journal(folder / "runs.db")
        self.write(*(f"row {number}" for number in range(20)))

    def write(self, *texts: str) -> None:
        lines = [json.dumps({"id": number, "text": text}) + "\n" for number, text in enumerate(texts)]
        (self.folder / "rows.jsonl").write_text("".join(lines))

    def order(self, **changes: Any) -> Order:
        spec = MapSpec("", "Measure {text}", SCHEMA, at_once=4)
        fields = {name: changes.pop(name) for name in ("budget", "limit", "retry", "fresh", "out") if name in changes}
        rows = source(str(self.folder / "rows.jsonl"), ["text"], changes.pop("id", "id"))
        return Order(replace(spec, **changes), rows, **{"out": self.out, **fields})

    async def map(self, model: ScriptedModel | None = None, **changes: Any) -> Work:
        with opened(self.order(**changes), self.journal) as work:
            if work.tally.left:
                engine = model or RowModel()
                work.served(engine.model)
                async with Here(work.spec, engine) as crew:
                    await work.carry_out(crew)
            return work

    def lines(self) -> dict[str, Any]:
        """The lines out by id: each once, and whole."""
        found = [json.loads(line) for line in self.out.read_text().splitlines()]
        by_id = {line["id"]: line for line in found}
        assert len(by_id) == len(found)
        assert not found or self.out.read_text().endswith("\n")
        return by_id


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path)


async def test_each_row_has_its_line(table: Table) -> None:
    work = await table.map()
    assert (work.exit, work.tally.answered, work.tally.left) == (Exit.ANSWERED, 20, 0)
    lines = table.lines()
    assert {name: line["output"] for name, line in lines.items()} == {str(n): expected(f"row {n}") for n in range(20)}
    keys = ["id", "status", "output", "reason", "turns", "tokens", "seconds", "run"]
    assert [*lines["3"]] == keys
    assert lines["3"] | {"seconds": 0.0} == {
        "id": "3", "status": "answered", "output": {"size": "short", "letters": 5}, "reason": "", "turns": 1,
        "tokens": 10, "seconds": 0.0, "run": "",
    }  # fmt: skip


async def test_the_same_again_asks_nothing(table: Table) -> None:
    await table.map()
    before = table.out.read_bytes()
    model = RowModel()
    work = await table.map(model)
    assert (model.texts, work.tally.answered, work.tally.before) == ([], 20, 20)
    assert table.out.read_bytes() == before


async def test_the_limit_is_of_the_first_rows(table: Table) -> None:
    assert (await table.map(limit=5)).exit is Exit.ANSWERED
    assert set(table.lines()) == set("01234")
    model = RowModel()
    await table.map(model)
    assert len(model.texts) == 15


async def test_lines_are_a_projection_of_the_journal(table: Table) -> None:
    await table.map()
    whole = table.lines()
    lines = table.out.read_bytes().splitlines(keepends=True)
    others = b'{"note": "by another hand"}\n'
    table.out.write_bytes(others + b"".join(lines[:7]) + lines[7][:20])  # half a line, and 12 are missing
    model = RowModel()
    await table.map(model)
    assert model.texts == []
    assert table.out.read_bytes().startswith(others)
    again = [json.loads(line) for line in table.out.read_bytes().splitlines()[1:]]
    assert {line["id"]: line for line in again} == whole
    assert len(again) == 20
    table.out.unlink()
    await table.map(model)
    assert table.lines() == whole


async def test_a_row_that_changed_takes_the_place_of_its_line(table: Table) -> None:
    await table.map()
    table.out.chmod(0o640)
    texts = [f"row {number}" for number in range(20)]
    texts[3] = "another text"
    table.write(*texts)
    model = RowModel()
    await table.map(model)
    assert model.texts == ["another text"]
    assert table.lines()["3"]["output"] == expected("another text")
    assert len(table.lines()) == 20
    assert table.out.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in table.folder.iterdir() if "out" in path.name) == ["out.jsonl"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"prompt": "Weigh {text}"}, "prompt was"),
        ({"schema": {**SCHEMA, "required": ["size"]}}, "schema was"),
        ({"votes": 3}, "votes was 1, and is 3 now"),
        ({"id": ""}, "id was"),
    ],
)
async def test_another_question_over_the_same_lines_is_refused(table: Table, change: dict[str, Any], told: str) -> None:
    await table.map(limit=2)
    before = table.out.read_bytes()
    with pytest.raises(ConfigurationError, match=told):
        await table.map(**change)
    assert table.out.read_bytes() == before
    work = await table.map(limit=3, fresh=True, **change)
    assert work.tally.spent["turns"] == 3 * (change.get("votes") or 1)
    assert len(table.lines()) == 3


async def test_another_model_over_the_same_lines_is_refused(table: Table) -> None:
    await table.map(limit=2)
    model = RowModel()
    model.model = "another"
    with pytest.raises(ConfigurationError, match="the model was 'scripted', and is 'another' now"):
        await table.map(model)
    assert model.texts == []


async def test_what_is_done_anew_goes_once_somebody_is_there_to_do_it(table: Table) -> None:
    await table.map()
    before = table.out.read_bytes()
    for change in ({"fresh": True}, {"fresh": True, "prompt": "Count {text}"}):
        with opened(table.order(**change), table.journal) as work:
            assert (work.tally.left, work.tally.spent["turns"]) == (20, 0)
        assert table.out.read_bytes() == before, "the server did not answer, say"
    assert (await table.map()).tally.before == 20
    work = await table.map(fresh=True, prompt="Count {text}", limit=2)
    assert (len(table.lines()), work.tally.spent["turns"]) == (2, 2)
    assert (await table.map(prompt="Count {text}", limit=2)).tally.before == 2


async def test_a_map_whose_every_row_the_server_refused_ends_by_the_server(table: Table) -> None:
    def refused(_: str) -> None:
        raise EngineRefused("no such key", status=401)

    assert (await table.map(RowModel(refused), limit=3)).exit is Exit.SERVER
    assert (await table.map(limit=4)).exit is Exit.FAILED, "one was answered"


async def test_lines_that_the_journal_does_not_know_are_not_written_over(table: Table) -> None:
    table.out.write_text('{"id": "3"}\n{"id": "mine"}\n')
    with pytest.raises(ConfigurationError, match="the journal here knows nothing of them"):
        await table.map()
    await table.map(fresh=True)
    assert len(table.lines()) == 21
    assert table.lines()["mine"] == {"id": "mine"}


async def test_a_file_of_the_user_s_is_left_as_it_is(table: Table) -> None:
    table.out.write_text("my notes\nwithout an end")
    with pytest.raises(ConfigurationError, match="the journal here knows nothing of them"):
        await table.map()
    assert table.out.read_text() == "my notes\nwithout an end"
    await table.map(fresh=True, limit=1)
    with table.out.open("a") as file:
        file.write("more of mine")
    await table.map(limit=2)
    first, second, _, fourth, _ = table.out.read_text().splitlines()
    assert (first, second, fourth) == ("my notes", "without an end", "more of mine")


@pytest.mark.parametrize("retry", [False, True])
async def test_only_a_regular_file_is_written_to(table: Table, retry: bool) -> None:
    os.mkfifo(table.out)
    with pytest.raises(ConfigurationError, match="is a device or a pipe"):
        await table.map(retry=retry)
    assert table.out.is_fifo()


async def test_a_place_that_cannot_be_written_to_is_told_before_anything_is_asked(table: Table) -> None:
    model = RowModel()
    with pytest.raises(OSError, match="No such file"):
        await table.map(model, out=table.folder / "no" / "out.jsonl")
    assert model.texts == []


async def test_rows_that_are_wrong_lose_nothing_that_was_done(table: Table) -> None:
    await table.map()
    before = table.out.read_bytes()
    (table.folder / "rows.jsonl").write_text('{"id": 1}\n')
    with pytest.raises(ConfigurationError, match="no column"):
        await table.map(fresh=True)
    assert table.out.read_bytes() == before
    with pytest.raises(ConfigurationError, match="no column"):
        await table.map(fresh=True, out=None)
    table.write(*(f"row {number}" for number in range(20)))
    model = RowModel()
    await table.map(model)
    assert model.texts == []


async def test_the_outlook_is_what_a_start_would_find(table: Table) -> None:
    table.write("a", "bad b", "c", "d", "e")
    await table.map(limit=4)

    def left(**changes: Any) -> tuple[int, int]:
        found = outlook(table.order(**changes), table.journal)
        return found.total, found.left

    assert left() == (5, 1)
    assert left(limit=2) == (2, 0)
    assert left(retry=True) == (5, 2)
    assert left(fresh=True) == (5, 5)
    table.write("another", "bad b")
    assert left() == (2, 1)
    with pytest.raises(ConfigurationError, match="prompt was"):
        left(prompt="Weigh {text}")
    with pytest.raises(ConfigurationError, match="knows nothing"):
        left(out=table.folder / "rows.jsonl")


def test_a_line_tells_a_terminal_nothing() -> None:
    said = {"a": "\x9b31m\x7f \x1b[2J", "b": "one\u2028two\x85three"}
    text = line(StepResult("k", "\x9b0", Exit.ANSWERED, said))
    assert text.isprintable()
    assert json.loads(text)["output"] == said


async def test_a_row_that_comes_back_while_the_map_begins_has_one_line(table: Table) -> None:
    await table.map()
    table.write("row 0", "another")
    with opened(table.order(), table.journal) as work:
        table.write(*(f"row {number}" for number in range(21)))
        async with Here(work.spec, model := RowModel()) as crew:
            await work.carry_out(crew)
    assert sorted(model.texts) == ["row 1", "row 20"]
    assert len(table.lines()) == 21


async def test_rows_of_another_folder_are_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = {}
    for name in ("a", "b", "a"):
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / name)
        table = Table(Path())
        table.journal = Journal(tmp_path / "runs.db")
        table.write(f"row of {name}")
        model = RowModel()
        work = await table.map(model, out=None)
        assert model.texts == ([f"row of {name}"] if name not in lines else [])
        lines[name] = capsys.readouterr().out
        assert work.exit is Exit.ANSWERED
    with opened(table.order(out=None), table.journal):
        monkeypatch.chdir(tmp_path / "b")
        await table.map(out=None)


async def test_failed_rows_are_done_again_only_when_asked(table: Table) -> None:
    table.write("a", "bad b", "c", "bad d")
    work = await table.map()
    assert (work.exit, work.tally.answered, work.tally.failed) == (Exit.FAILED, 2, 2)
    assert table.lines()["1"]["status"] == "failed"
    assert table.lines()["1"]["failure"] == "invalid"
    model = RowModel()
    assert (await table.map(model)).tally.failed == 2
    assert model.texts == []
    model = RowModel()
    again = await table.map(model, retry=True)
    assert set(model.texts) == {"bad b", "bad d"}
    assert again.tally.spent["turns"] == 2 + 8 + 8  # those of the first attempt count, too
    table.write("a", "b", "c", "d")
    assert (await table.map(retry=True)).exit is Exit.ANSWERED
    assert [line["status"] for line in table.lines().values()] == ["answered"] * 4


async def test_ten_equal_failures_in_a_row_end_it(table: Table) -> None:
    table.write(*[f"bad {number}" for number in range(50)])
    work = await table.map(at_once=1)
    assert work.exit is Exit.FAILED
    assert work.stopped.startswith("10 rows in a row failed in the same way (invalid): ")
    assert len(table.lines()) == 10


async def test_other_ends_between_failures_do_not_end_it(table: Table) -> None:
    table.write(*[f"bad {number}" if number % 5 else "good" for number in range(50)])
    work = await table.map(at_once=1)
    assert (work.stopped, work.tally.failed, work.tally.left) == ("", 40, 0)


async def test_the_budget_is_of_all_starts_together(table: Table) -> None:
    work = await table.map(budget=Budget(turns=None, tokens=50), at_once=1)
    assert (work.exit, len(table.lines())) == (Exit.BUDGET, 5)
    assert work.stopped == "the map's budget of 50 tokens is spent (50 used)"
    model = RowModel()
    assert (await table.map(model, budget=Budget(turns=None, tokens=50))).exit is Exit.BUDGET
    assert model.texts == []
    assert (await table.map(budget=Budget(turns=None, tokens=1000))).exit is Exit.ANSWERED
    assert len(table.lines()) == 20


async def test_a_server_that_is_gone_ends_it_without_a_failed_row(table: Table) -> None:
    def gone(text: str) -> None:
        if text == "row 7":
            raise EngineUnreachable("nothing answers")

    with pytest.raises(EngineError):
        await table.map(RowModel(gone))
    lines = table.lines()
    assert {line["status"] for line in lines.values()} == {"answered"}
    assert "7" not in lines
    assert (await table.map()).exit is Exit.ANSWERED
    assert len(table.lines()) == 20


async def test_rows_in_hand_go_on_after_a_cancellation(table: Table) -> None:
    started = asyncio.Event()

    def wait(text: str) -> Any:
        if int(text.split()[1]) < 10:
            return None
        started.set()
        return asyncio.Event().wait()

    task = asyncio.create_task(table.map(RowModel(wait)))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert {line["status"] for line in table.lines().values()} == {"answered"}
    assert (await table.map()).exit is Exit.ANSWERED
    assert len(table.lines()) == 20


async def test_two_at_once_on_one_output_are_refused(table: Table) -> None:
    with opened(table.order(), table.journal), pytest.raises(RunBusy, match="another fastslow map has"):
        await table.map()


async def test_no_link_is_followed(table: Table) -> None:
    (table.folder / "mine.txt").write_text("mine\n")
    table.out.symlink_to(table.folder / "mine.txt")
    with pytest.raises(OSError, match="symbolic links"):
        await table.map()
    assert (table.folder / "mine.txt").read_text() == "mine\n"


async def test_what_ends_while_the_disk_writes_is_kept(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    append = OutFile.append

    def slowly(self: OutFile, lines: Sequence[str]) -> None:
        time.sleep(0.05)
        append(self, lines)

    monkeypatch.setattr(OutFile, "append", slowly)
    await table.map(RowModel(lambda text: asyncio.sleep(0.01)))
    assert len(table.lines()) == 20


async def test_no_more_rows_are_taken_than_are_in_hand(table: Table) -> None:
    table.write(*[f"row {number}" for number in range(200)])
    going, most = 0, 0

    async def count() -> None:
        nonlocal going, most
        going += 1
        most = max(most, going)
        await asyncio.sleep(0.001)
        going -= 1

    await table.map(RowModel(lambda text: count()))
    assert most == 4


async def test_without_a_file_the_lines_go_to_standard_output(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    await table.map(out=None, limit=3)
    first = capsys.readouterr().out.splitlines()
    model = RowModel()
    await table.map(model, out=None, limit=4)
    assert model.texts == ["row 3"]
    assert capsys.readouterr().out.splitlines()[:3] == first


async def test_a_journal_that_breaks_loses_nothing(table: Table) -> None:
    await table.map(limit=5)
    with opened(table.order(), table.journal) as work:
        work.job.journal = Journal(table.folder / "rows.jsonl" / "runs.db")  # below a file
        with pytest.raises((JournalBroken, OSError)):
            async with Here(work.spec, RowModel()) as crew:
                await work.carry_out(crew)
    assert len(table.lines()) == 5
    await table.map()
    assert len(table.lines()) == 20
