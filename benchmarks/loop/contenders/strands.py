"""Strands Agents. It always streams; an agent holds one conversation."""

from strands import Agent, tool
from strands.models.openai import OpenAIModel


class Contender:
    def __init__(self, url, tools):
        self._model = OpenAIModel(client_args={"base_url": url, "api_key": "none"}, model_id="m")
        self._tools = [tool(each) for each in tools]

    async def run(self, task):
        instructions = "You answer with the help of tools."
        agent = Agent(self._model, tools=self._tools, system_prompt=instructions, callback_handler=None)
        return str(await agent.invoke_async(task))
