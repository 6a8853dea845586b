"""smolagents' ToolCallingAgent. It is synchronous: runs at once are threads, and an agent holds one run."""

from smolagents import LogLevel, OpenAIModel, ToolCallingAgent, tool


class Contender:
    def __init__(self, url, tools):
        self._model = OpenAIModel(model_id="m", api_base=url, api_key="none")
        self._tools = [tool(each) for each in tools]

    def run(self, task):
        agent = ToolCallingAgent(self._tools, self._model, max_steps=1000, verbosity_level=LogLevel.OFF)
        return str(agent.run(task))
