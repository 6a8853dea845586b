"""The OpenAI Agents SDK, with chat completions and without its tracing."""

from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI


class Contender:
    def __init__(self, url, tools):
        set_tracing_disabled(True)
        model = OpenAIChatCompletionsModel("m", AsyncOpenAI(base_url=url, api_key="none"))
        instructions = "You answer with the help of tools."
        self._agent = Agent("agent", instructions=instructions, tools=list(map(function_tool, tools)), model=model)

    async def run(self, task):
        return (await Runner.run(self._agent, task, max_turns=1000)).final_output
