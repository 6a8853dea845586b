"""LangGraph, through LangChain's create_agent."""

from langchain.agents import create_agent
from langchain_core.tools import StructuredTool
from langchain_openai import ChatOpenAI


async def run(job):
    model = ChatOpenAI(model=job.model, base_url=job.base_url, api_key="none")
    agent = create_agent(model, [_tool(job, tool) for tool in job.tools], system_prompt=job.system)
    state = await agent.ainvoke({"messages": [{"role": "user", "content": job.task}]})
    return state["messages"][-1].text


def _tool(job, tool):
    async def call(**arguments):
        return await job.call_async(tool["name"], arguments)

    schema = tool["parameters"]
    return StructuredTool(name=tool["name"], description=tool["description"], args_schema=schema, coroutine=call)
