"""Pydantic AI."""

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.usage import UsageLimits


class Contender:
    def __init__(self, url, tools):
        model = OpenAIChatModel("m", provider=OpenAIProvider(base_url=url, api_key="none"))
        self._agent = Agent(model, tools=tools, instructions="You answer with the help of tools.")

    async def run(self, task):
        return (await self._agent.run(task, usage_limits=UsageLimits(request_limit=None))).output
