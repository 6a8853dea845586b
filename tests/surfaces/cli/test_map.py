"""`fastslow map` as a process, beside a server that is another one: killed, interrupted, twice, on a full disk."""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from fastslow.agent.flow.mapping import Tally
from fastslow.agent.surfaces.cli.map_view import progress_line
from tests.engine.fake_server import serving
from tests.flow.stub_server import SCHEMA, RowServer, expected


class Shell:
    """A folder to give commands in. server: what they speak to."""

    def __init__(self, folder: Path, server: RowServer) -> None:
        self.folder = folder
        self.server = server
        self.out = folder / "out.jsonl"
        (folder / "schema.json").write_text(json.dumps(SCHEMA))
        self.write(*(f"row {number}" for number in range(30)))

    def write(self, *texts: str) -> None:
        lines = ["id,text\n", *(f"{number},{text}\n" for number, text in enumerate(texts))]
        (self.folder / "rows.csv").write_text("".join(lines))

    async def start(self, *more: str, **options: Any) -> asyncio.subprocess.Process:
        program = (sys.executable, "-m", "fastslow.agent.surfaces.cli.main", "map", *more)
        environment = {**os.environ, "FASTSLOW_HOME": str(self.folder / "home"), "FASTSLOW_BASE_URL": self.server.url}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return await asyncio.create_subprocess_exec(*program, cwd=self.folder, env=environment, **{**pipes, **options})

    async def run(self, *more: str, **options: Any) -> tuple[int | None, str, str]:
        """Exit status, standard output and standard error of a command."""
        process = await self.start(*more, **options)
        out, err = await process.communicate(options.get("input"))
        return process.returncode, (out or b"").decode(), (err or b"").decode()

    def lines(self) -> dict[str, Any]:
        """The lines out by id: each once, and whole."""
        text = self.out.read_text() if self.out.exists() else ""
        found = [json.loads(line) for line in text.splitlines()]
        assert text == "" or text.endswith("\n")
        assert max(Counter(line["id"] for line in found).values(), default=1) == 1
        return {line["id"]: line for line in found}


MAP = ("Measure {text}", "--input", "rows.csv", "--schema", "schema.json", "--id", "id", "--out", "out.jsonl")


async def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something holds that another process does."""
    for _ in range(int(seconds / 0.02)):
        if holds():
            return
        await asyncio.sleep(0.02)
    raise TimeoutError


@pytest.fixture
async def shell(tmp_path: Path) -> AsyncIterator[Shell]:
    async with serving(RowServer()) as server:
        yield Shell(tmp_path, server)


async def test_a_table_is_mapped_and_the_same_command_asks_nothing(shell: Shell) -> None:
    status, out, err = await shell.run(*MAP)
    assert (status, out) == (0, ""), err
    assert "30 of 30 rows answered, 0 failed, 0 left" in err
    assert {name: line["output"] for name, line in shell.lines().items()} == {
        str(number): expected(f"row {number}") for number in range(30)
    }
    shell.server.texts.clear()
    status, _, err = await shell.run(*MAP)
    assert (status, shell.server.texts) == (0, [])
    assert "Server check" not in err


async def test_rows_that_failed_are_told_and_done_again(shell: Shell) -> None:
    shell.write("good", "bad one", "good too")
    status, out, err = await shell.run(*MAP, "--json")
    assert status == 1, err
    said = json.loads(out)
    assert (said["type"], said["status"], said["answered"], said["failed"]) == ("result", 1, 2, 1)
    _, _, err = await shell.run(*MAP)
    assert "With --retry failed" in err
    shell.server.broken = ""
    assert (await shell.run(*MAP, "--retry", "failed"))[0] == 0
    assert [line["status"] for line in shell.lines().values()] == ["answered"] * 3


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("Measure {body}", *MAP[1:]), "no column 'body'; the columns are 'id', 'text'"),
        (("Measure", *MAP[1:]), "names no column"),
        ((*MAP, "--votes", "3", "--tools"), "votes are for rows that are one call each"),
        ((*MAP, "--budget", "tool_calls=3"), "of --budget-each"),
        ((*MAP, "--retry", "all"), "expected failed"),
        ((*MAP[:2], "no.csv", *MAP[3:]), "No such file"),
        ((*MAP[:-1], "no/out.jsonl"), "there is no folder 'no' for --out"),
    ],
)
async def test_wrong_usage_asks_nothing(shell: Shell, more: tuple[str, ...], told: str) -> None:
    status, _, err = await shell.run(*more)
    assert status == 2
    assert told in " ".join(err.split())
    assert (shell.server.seen, shell.out.exists()) == ([], False)


async def test_budget_and_server_have_their_status(shell: Shell) -> None:
    status, _, err = await shell.run(*MAP, "--budget", "tokens=20", "--at-once", "1")
    assert (status, len(shell.lines())) == (3, 4)
    assert "The same command again goes on." in err
    shell.server.url = "http://127.0.0.1:9/v1"
    assert (await shell.run(*MAP))[0] == 5
    assert len(shell.lines()) == 4


@pytest.mark.parametrize(("more", "closed"), [(("-", "--out", "out.jsonl"), 0), (("rows.csv",), 1)])
async def test_what_is_closed_is_told_before_anything_is_asked(
    shell: Shell, more: tuple[str, ...], closed: int
) -> None:
    program = [sys.executable, "-m", "fastslow.agent.surfaces.cli.main", "map", "Measure {text}", "--input", *more]
    command = f"exec {shlex.join(program)} {closed}>&-"
    environment = {**os.environ, "FASTSLOW_HOME": str(shell.folder / "home"), "FASTSLOW_BASE_URL": shell.server.url}
    process = await asyncio.create_subprocess_shell(command, cwd=shell.folder, env=environment, stderr=subprocess.PIPE)
    _, err = await process.communicate()
    assert (process.returncode, shell.server.texts) == (2, [])
    assert f"standard {'output' if closed else 'input'} is closed" in err.decode()


async def test_a_server_that_is_left_out_is_told(shell: Shell) -> None:
    status, _, err = await shell.run(*MAP, "--base-url", shell.server.url, "--base-url", "http://127.0.0.1:9/v1")
    assert status == 0, err
    assert "A server is left out until it answers: no server answers at http://127.0.0.1:9/v1" in " ".join(err.split())


async def test_a_dry_run_needs_no_server(shell: Shell) -> None:
    shell.server.url = "http://127.0.0.1:9/v1"
    status, out, err = await shell.run(*MAP, "--dry-run")
    assert status == 0, err
    assert "Measure row 2" in out
    assert "Measure row 3" not in out
    assert "30 rows, 0 done before, 30 left." in out
    assert not shell.out.exists()


async def test_a_dry_run_estimates_from_what_is_done(shell: Shell) -> None:
    await shell.run(*MAP, "--limit", "10")
    _, out, _ = await shell.run(*MAP, "--dry-run", "--json")
    said = json.loads(out)
    assert (said["rows"], said["done"], said["estimate"]["tokens"]) == (30, 10, 20 * 5)


async def test_lines_of_standard_input_go_to_standard_output(shell: Shell) -> None:
    rows = shell.folder / "texts"
    rows.write_bytes(b"one\nthree\n")
    with rows.open("rb") as stdin:
        status, out, err = await shell.run("Measure {line}", "--input", "-", stdin=stdin)
    assert status == 0, err
    assert [json.loads(line)["status"] for line in out.splitlines()] == ["answered"] * 2


async def test_ctrl_c_ends_it_cleanly_and_the_same_command_goes_on(shell: Shell) -> None:
    shell.server.delay = 0.5
    process = await shell.start(*MAP, "--at-once", "2")
    await until(lambda: len(shell.lines()) >= 2)
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130
    assert b"The same command again goes on." in err
    assert {line["status"] for line in shell.lines().values()} == {"answered"}
    shell.server.delay = 0
    assert (await shell.run(*MAP))[0] == 0
    assert len(shell.lines()) == 30


async def test_two_processes_on_one_output_are_refused(shell: Shell) -> None:
    shell.server.delay = 0.3
    first = await shell.start(*MAP, "--at-once", "1")
    await until(lambda: bool(shell.server.texts))
    status, _, err = await shell.run(*MAP)
    assert status == 1
    assert "another fastslow map has the lines of out.jsonl in hand" in err
    first.send_signal(signal.SIGKILL)
    await first.communicate()


async def test_killed_at_any_moment_each_row_has_one_line(shell: Shell) -> None:
    await kill_and_compare(shell, rows=400, kills=10)


async def kill_and_compare(shell: Shell, rows: int, kills: int) -> None:
    """Kill a map that often, then let it end: its lines are those of a map that nobody killed."""
    chance = random.Random(18)
    shell.write(*(f"row {number}" for number in range(rows)))
    for _ in range(kills):
        shell.server.delay = 0.02
        process = await shell.start(*MAP, "--at-once", "3")
        known = len(shell.server.texts)
        await until(lambda known=known: len(shell.server.texts) > known)
        await asyncio.sleep(chance.uniform(0, 0.3))
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.communicate()
        text = shell.out.read_text() if shell.out.exists() else ""
        shell.out.write_text(text[: len(text) - chance.randrange(30)] if chance.random() < 0.3 else text)
    status, _, err = await shell.run(*MAP)
    assert status == 0, err
    lines = shell.lines()
    assert {name: (line["status"], line["output"]) for name, line in lines.items()} == {
        str(number): ("answered", expected(f"row {number}")) for number in range(rows)
    }
    assert len(shell.server.texts) <= rows + kills * 3 * 4  # but for rows in hand, and those of the last group


async def test_a_full_disk_loses_nothing(shell: Shell) -> None:
    whole = 3000  # bytes that a file may have: the journal's are more, so it is made before

    def small() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (whole, whole))

    shell.out.write_text("")
    filler = '{"note": "' + "x" * (whole - 500) + '"}\n'
    await shell.run(*MAP, "--limit", "1")
    shell.out.write_text(shell.out.read_text() + filler)
    process = await shell.start(*MAP, preexec_fn=small)
    _, err = await process.communicate()
    assert process.returncode == 1
    told = err.decode().splitlines()
    assert any(line.startswith("fastslow: ") for line in told), told
    text = shell.out.read_text()
    assert text.endswith("\n")
    assert filler in text
    assert (await shell.run(*MAP))[0] == 0
    found = [json.loads(line) for line in shell.out.read_text().splitlines()]
    assert sorted(int(line["id"]) for line in found if "id" in line) == list(range(30))


async def test_memory_is_flat(shell: Shell) -> None:
    """Ten thousand rows, all of them done but the last few, so that the time goes into what is measured."""
    shell.write(*(f"row {number}" for number in range(10_000)))
    process = await shell.start(*MAP, "--limit", "1500")
    most = 0
    while process.returncode is None:
        try:
            most = max(most, psutil.Process(process.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            break
        await asyncio.sleep(0.2)
    await process.communicate()
    assert process.returncode == 0
    assert most < 150e6


def test_progress_tells_rate_rest_failures_and_tokens_by_mode() -> None:
    tally = Tally(total=100, answered=40, failed=2, started=time.monotonic() - 10)
    tally.spent |= {"tokens": 500, "thinking": 200}
    line = progress_line(tally)
    assert "42 of 100 rows, 4.2 rows/s, 13." in line
    assert "s left, 2 failed, 300 fast and 200 thinking tokens" in line
