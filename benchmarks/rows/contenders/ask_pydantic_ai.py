"""Pydantic AI: an agent with a typed output, a semaphore, lines appended."""

import asyncio
from typing import Literal

from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from table import TASK, Output, arguments, read_rows


class Answer(BaseModel):
    urgency: Literal["now", "today", "later"] = Field(description="how soon somebody must act")
    why: str = Field(description="in a few words")


async def main() -> None:
    url, folder, at_once = arguments()
    output, free = Output(folder), asyncio.Semaphore(at_once)
    model = OpenAIChatModel("m", provider=OpenAIProvider(base_url=url, api_key="none"))
    agent = Agent(model, output_type=NativeOutput(Answer), instructions=TASK)

    async def ask(name: str, text: str) -> None:
        async with free:
            result = await agent.run(text, model_settings={"temperature": 0, "max_tokens": 1024})
        output.add(name, result.output.model_dump())

    async with asyncio.TaskGroup() as group:
        for name, text in read_rows(folder):
            if name not in output.done:
                group.create_task(ask(name, text))


asyncio.run(main())
