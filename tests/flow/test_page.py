"""The commands of docs/map.md do what the page says."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import sys
from pathlib import Path

from fastslow.agent.events import Exit
from fastslow.agent.flow.outfile import line
from fastslow.agent.record.jobs import StepResult
from tests.engine.fake_server import CHAT, Answer, FakeServer, Seen, said, serving

PAGE = (Path(__file__).parents[2] / "docs" / "map.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


class Urgency(FakeServer):
    """Cannot say what a door needs."""

    def answer(self, seen: Seen) -> Answer:
        if seen.path != CHAT:
            return super().answer(seen)
        self.answers = []
        return said("perhaps" if "door" in str(seen.json) else '{"urgency": "now", "why": "a roof burns"}')


async def test_the_commands_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").write_text(blocks("csv")[0])
    (tmp_path / "urgency.json").write_text(blocks("json")[0])
    ends = []
    async with serving(Urgency()) as server:
        environment = {**os.environ, "FASTSLOW_HOME": str(tmp_path / "home"), "FASTSLOW_BASE_URL": server.url}
        for command in blocks("sh")[0].splitlines():
            program, *arguments = shlex.split(command)
            assert program == "fastslow"
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "fastslow.agent.surfaces.cli.main", *arguments, cwd=tmp_path, env=environment
            )
            status, out = await process.wait(), tmp_path / "out.jsonl"
            ends.append((status, len(out.read_text().splitlines()) if out.exists() else 0, len(server.chats)))
    assert ends == [(0, 0, 0), (0, 2, 2), (1, 3, 6), (1, 3, 10)]


def test_a_line_is_as_the_page_shows_it() -> None:
    shown = json.loads(blocks("json")[1])
    result = StepResult("k", "1", Exit.ANSWERED, shown["output"], turns=1, tokens=14, seconds=0.8)
    assert list(json.loads(line(result)).items()) == list(shown.items())
