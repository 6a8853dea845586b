"""LangGraph, through LangChain's create_agent."""

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI


class Contender:
    def __init__(self, url, tools):
        model = ChatOpenAI(model="m", base_url=url, api_key="none")
        self._agent = create_agent(model, list(tools), system_prompt="You answer with the help of tools.")

    async def run(self, task):
        messages = [{"role": "user", "content": task}]
        state = await self._agent.ainvoke({"messages": messages}, {"recursion_limit": 1000})
        return state["messages"][-1].content
