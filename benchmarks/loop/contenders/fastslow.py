"""Ours, from the folder that the benchmark lies in; with and without the journal."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path

from fastslow import VLLM, Agent, Budget, Exit, Journal, run_many
from fastslow.tools import tool


class Alone:
    """Nothing is written down."""

    def __init__(self, url: str, tools: Sequence[Callable[..., str]]) -> None:
        engine = VLLM(url, profile="exaone4", probe=False)
        allowed = [tool(effect="read")(function) for function in tools]  # without that, somebody is asked first
        self._agent = Agent(
            engine=engine, tools=allowed, sandbox=None, journal=self._journal(), budget=Budget(turns=None)
        )

    def _journal(self) -> Journal | None:
        return None

    async def many(self, tasks: Sequence[str]) -> list[str]:
        if len(tasks) == 1:
            result = await self._agent.run(tasks[0])
            return [result.answer if result.exit is Exit.ANSWERED else result.reason]
        answers = {}
        async with aclosing(run_many(self._agent, tasks, concurrency=len(tasks))) as ended:
            async for number, result in ended:
                answers[number] = result.answer if result.exit is Exit.ANSWERED else result.reason
        return [answers[number] for number in range(len(tasks))]


class Kept(Alone):
    """Every run is written to a journal, as it is by default."""

    def _journal(self) -> Journal | None:
        self._folder = tempfile.TemporaryDirectory()
        return Journal(Path(self._folder.name, "runs.db"))
