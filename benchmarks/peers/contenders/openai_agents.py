"""The OpenAI Agents SDK, with chat completions and without its tracing."""

from agents import Agent, FunctionTool, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
from openai import AsyncOpenAI

set_tracing_disabled(True)


async def run(job):
    model = OpenAIChatCompletionsModel(job.model, AsyncOpenAI(base_url=job.base_url, api_key="none"))
    agent = Agent("agent", instructions=job.system, tools=[_tool(job, tool) for tool in job.tools], model=model)
    return (await Runner.run(agent, job.task, max_turns=100)).final_output  # the server counts the turns


def _tool(job, tool):
    async def call(_, arguments):
        return await job.call_async(tool["name"], arguments)

    return FunctionTool(tool["name"], tool["description"], tool["parameters"], call, strict_json_schema=False)
