"""A plan: what the model writes with the `plan` tool, or a person by hand; and the scheduler that runs its steps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing
from functools import cache
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from fastslow.tools import Tool

T = TypeVar("T")


class Step(BaseModel):
    """One step of a plan. Steps are counted from 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    do: str = Field(min_length=1, description="What to do in this step, in one sentence.")
    after: tuple[int, ...] | None = Field(
        default=None,
        description="Numbers of the earlier steps whose results this one needs; null means all of them.",
    )


class Plan(BaseModel):
    """What is to be reached, and the steps to it.

    >>> plan = Plan(goal="Report", steps=[Step(do="Load"), Step(do="Plot", after=[1]), Step(do="Sum", after=[1])])
    >>> plan.needs(2), plan.needs(3)
    ((1,), (1,))
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    goal: str = Field(min_length=1, description="What the user wants, in one sentence.")
    steps: tuple[Step, ...] = Field(min_length=1, description="The steps, in order; few and large.")

    @field_validator("steps", mode="before")
    @classmethod
    def _text_is_a_step(cls, steps: Any) -> Any:
        """A step may be written as its bare sentence, by people and by small models."""
        return [{"do": step} if isinstance(step, str) else step for step in steps] if isinstance(steps, list) else steps

    @field_validator("steps")
    @classmethod
    def _after_is_before(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        for number, step in enumerate(steps, 1):
            wrong = [n for n in step.after or () if not 1 <= n < number]
            if wrong:
                earlier = f"take numbers from 1 to {number - 1}" if number > 1 else "it is the first, so give []"
                raise ValueError(f"step {number} can only come after earlier steps: {earlier}")
        return steps

    def needs(self, number: int) -> tuple[int, ...]:
        """The steps whose results step `number` needs."""
        after = self.steps[number - 1].after
        return tuple(range(1, number)) if after is None else after


def _run_by_the_loop(**arguments: Any) -> NoReturn:
    """Running a plan is running its steps, which only the loop can do."""
    raise TypeError("the loop carries plans and answers out itself; this tool cannot be run on its own")


@cache
def plan_tool(verbs: tuple[str, ...]) -> Tool:
    """The short form of `plan` for small models: steps are sentences in order, each of which begins with one of these
    words."""
    sentence = {
        "type": "string",
        "pattern": f"^({'|'.join(verbs)}) (the|a|an|all|how) [A-Za-z0-9 ,.()*/+=_%-]+$",
    }
    return Tool.from_schema(
        PLAN.name,
        "Split the task into its parts. Each part is then carried out with one Python program and its result comes "
        "back.",
        {
            "type": "object",
            "properties": {
                "goal": {"type": "string", "description": "What the user wants, in one sentence."},
                "steps": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 4,
                    "items": sentence,
                    "description": "One sentence for each number to compute or file to make, with the formula and the "
                    "file names.",
                },
            },
            "required": ["goal", "steps"],
            "additionalProperties": False,
        },
        _run_by_the_loop,
        effect="read",
    )


ANSWER = "answer"  # the tool that ends a run; what it takes depends on the output that is asked for
PLAN = Tool.from_schema(
    "plan",
    "Write down the steps of a task before doing it. Each step is then carried out and its result comes back. "
    "Use few, large steps. Call it again to make a new plan when this one failed.",
    {
        "type": "object",
        "properties": {
            "goal": {"type": "string", "description": "What the user wants, in one sentence."},
            "steps": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "properties": {
                        "do": {"type": "string", "description": "What to do in this step, in one sentence."},
                        "after": {
                            "type": ["array", "null"],
                            "items": {"type": "integer"},
                            "description": "Numbers of the earlier steps whose results this one needs, counted from 1; "
                            "null means all earlier steps.",
                        },
                    },
                    "required": ["do"],
                    "additionalProperties": False,
                },
            },
        },
        "required": ["goal", "steps"],
        "additionalProperties": False,
    },
    _run_by_the_loop,
    effect="read",
)
GIVE_UP = Tool.from_schema(
    "give_up",
    "Say that the task, or this step of a plan, cannot be done, and why. It ends with that.",
    {
        "type": "object",
        "properties": {"why": {"type": "string", "description": "What is missing or in the way, and what was tried."}},
        "required": ["why"],
        "additionalProperties": False,
    },
    _run_by_the_loop,
    effect="read",
)
OWN = {PLAN.name, GIVE_UP.name, ANSWER}  # calls that the loop carries out itself; shown as steps and as the answer


async def run_ready(
    needs: Mapping[int, Collection[int]], run: Callable[[int], AsyncGenerator[T, None]]
) -> AsyncGenerator[T, None]:
    """Run numbered generators side by side, each as soon as those that it needs have ended, and merge what they yield.

    An exception in one ends all. Raises ValueError for needs that can never be met.
    """
    queue: asyncio.Queue[tuple[int, T] | int] = asyncio.Queue()

    async def drain(number: int) -> None:
        try:
            async with aclosing(run(number)) as items:
                async for item in items:
                    queue.put_nowait((number, item))
        finally:
            queue.put_nowait(number)

    waiting = dict(needs)
    running: dict[int, asyncio.Task[None]] = {}
    ended: set[int] = set()
    try:
        while waiting or running:
            for number in [n for n, after in waiting.items() if ended.issuperset(after)]:
                del waiting[number]
                running[number] = asyncio.create_task(drain(number))
            if not running:
                raise ValueError(f"{sorted(waiting)} wait for each other or for something that is not there")
            while isinstance(item := await queue.get(), tuple):
                yield item[1]
            await running.pop(item)
            ended.add(item)
    finally:
        for task in running.values():
            task.cancel()
        await asyncio.gather(*running.values(), return_exceptions=True)
