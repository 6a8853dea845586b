"""Many tasks side by side on one server: results as they come, and one bad task ends no other.

fastslow up
python examples/run_many.py
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Literal

from pydantic import BaseModel

from fastslow import VLLM, Agent, run_many

REVIEWS = [
    "Best mouse I ever had, and it was here the next day.",
    "The screen flickers, and nobody answers my letters.",
    "It is a cable. It does what a cable does.",
]


class Opinion(BaseModel):
    """How a customer feels about what they bought."""

    mood: Literal["pleased", "neutral", "angry"]


async def main() -> None:
    agent = Agent(engine=VLLM(), sandbox=None)
    tasks = (f"How does this customer feel?\n\n{review}" for review in REVIEWS)  # of any length: taken as there is room
    async with aclosing(run_many(agent, tasks, output=Opinion, concurrency=4)) as results:
        async for number, result in results:
            print(f"{result.output.mood if result.output else result.reason:10} {REVIEWS[number]}")
    await agent.aclose()


asyncio.run(main())
