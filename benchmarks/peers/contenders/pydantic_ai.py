"""Pydantic AI."""

from pydantic_ai import Agent, Tool
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


async def run(job):
    model = OpenAIChatModel(job.model, provider=OpenAIProvider(base_url=job.base_url, api_key="none"))
    tools = [
        Tool.from_schema(_caller(job, tool["name"]), tool["name"], tool["description"], tool["parameters"])
        for tool in job.tools
    ]
    return (await Agent(model, tools=tools, instructions=job.system).run(job.task)).output


def _caller(job, name):
    async def call(**arguments):
        return await job.call_async(name, arguments)

    return call
