"""Qwen-Agent. It writes the tools into the prompt and reads calls out of the text; its runs are synchronous."""

from qwen_agent.agents import Assistant
from qwen_agent.tools.base import BaseTool


def run(job):
    llm = {"model": job.model, "model_server": job.base_url, "api_key": "none"}
    tools = [Posted(job, tool) for tool in job.tools]
    agent = Assistant(function_list=tools, llm=llm, system_message=job.system)
    answer = agent.run_nonstream([{"role": "user", "content": job.task}])
    return answer[-1]["content"]


class Posted(BaseTool):
    """A tool by its JSON schema, of which just three keys may be there."""

    def __init__(self, job, tool):
        schema = tool["parameters"]
        self.name, self.description = tool["name"], tool["description"]
        properties, required = schema.get("properties", {}), schema.get("required", [])
        self.parameters = {"type": "object", "properties": properties, "required": required}
        self._job = job
        super().__init__()

    def call(self, params, **_):
        return self._job.call(self.name, params)
