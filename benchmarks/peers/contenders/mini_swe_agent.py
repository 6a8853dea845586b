"""mini-swe-agent: bash and nothing else, with the prompts that it comes with. Its commands run in our sandbox."""

import os
import sys

os.environ |= {  # it reads them when it is imported
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "MSWEA_GLOBAL_CONFIG_DIR": f"{sys.prefix}/settings",
    "MSWEA_MODEL_RETRY_STOP_AFTER_ATTEMPT": "1",  # what the loopback refuses is over
    "MSWEA_SILENT_STARTUP": "1",
}

from minisweagent.agents.default import DefaultAgent
from minisweagent.config import get_config_from_spec
from minisweagent.environments.local import LocalEnvironment
from minisweagent.models.litellm_model import LitellmModel


def run(job):
    config = get_config_from_spec("mini.yaml")
    server = {"api_base": job.base_url, "api_key": "none", **config["model"].pop("model_kwargs")}
    model = LitellmModel(
        model_name=f"openai/{job.model}", model_kwargs=server, cost_tracking="ignore_errors", **config["model"]
    )
    templates = {name: config["agent"][name] for name in ("system_template", "instance_template")}
    agent = DefaultAgent(model, Posted(job, config["environment"]["env"]), **templates)
    ended = agent.run(job.task)
    return ended.get("submission") or ended.get("exit_status", "")


class Posted(LocalEnvironment):
    """Its environment, but for where the commands run."""

    def __init__(self, job, variables):
        super().__init__()
        self._job = job
        self._exported = "".join(f"export {name}={value}\n" for name, value in variables.items())

    def execute(self, action, cwd="", *, timeout=None):
        status, output = self._job.bash(self._exported + action.get("command", ""))
        told = {"output": output, "returncode": status, "exception_info": ""}
        self._check_finished(told)
        return told
