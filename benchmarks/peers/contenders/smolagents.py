"""smolagents' two agents: one calls tools, the other writes code. They are synchronous, and an agent holds one run."""

import re

from smolagents import CodeAgent, LogLevel, OpenAIModel, PythonExecutor, Tool, ToolCallingAgent
from smolagents.local_python_executor import CodeOutput

MARK = "<<final answer>>"
PRELUDE = f"""
def final_answer(answer=None):
    print({MARK!r} + str(answer) + {MARK!r})
    raise SystemExit
"""


def tool_calling(job):
    return _agent(ToolCallingAgent, job, [Posted(job, tool) for tool in job.tools]).run(job.task)


def code(job):
    """Where a sandbox is, its code runs there; else in the interpreter that smolagents brings."""
    if not job.in_sandbox:
        return _agent(CodeAgent, job, [Posted(job, tool) for tool in job.tools]).run(job.task)
    imports = {"executor": InSandbox(job), "additional_authorized_imports": ["*"]}
    return _agent(CodeAgent, job, [], **imports).run(job.task)


def _agent(kind, job, tools, **settings):
    model = OpenAIModel(model_id=job.model, api_base=job.base_url, api_key="none")
    return kind(tools, model, instructions=job.system, verbosity_level=LogLevel.OFF, **settings)


class Posted(Tool):
    """A tool by its JSON schema. Every input needs a type and a description; what is not required may be null."""

    skip_forward_signature_validation = True
    output_type = "string"

    def __init__(self, job, tool):
        self.name, self.description = tool["name"], tool["description"]
        required = tool["parameters"].get("required", ())
        self.inputs = {
            name: {"type": "any", "description": name}
            | {key: value for key, value in schema.items() if key != "default"}
            | ({} if name in required else {"nullable": True})
            for name, schema in tool["parameters"].get("properties", {}).items()
        }
        self._job = job
        super().__init__()

    def forward(self, *args, **arguments):
        given = dict(zip(self.inputs, args, strict=False)) | arguments
        return self._job.call(self.name, {name: value for name, value in given.items() if value is not None})


class InSandbox(PythonExecutor):
    """Runs code with the tool `python`, as smolagents' own remote executors do in their containers."""

    def __init__(self, job):
        self._job = job
        job.call("python", {"code": PRELUDE})

    def send_tools(self, tools):
        """There is none but `final_answer`, which is there already."""

    def send_variables(self, variables):
        """There are none."""

    def __call__(self, code_action):
        ok, text = self._job.ask("python", {"code": code_action})
        if final := re.search(f"{MARK}(.*){MARK}", text, re.DOTALL):
            return CodeOutput(output=final[1], logs=text[: final.start()], is_final_answer=True)
        if not ok:
            raise RuntimeError(text)
        return CodeOutput(output=None, logs=f"{text}\n", is_final_answer=False)
