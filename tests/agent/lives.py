"""A run that is killed and resumed, in processes of its own: `python -m tests.agent.lives FOLDER [docker]`.

Kills one run at each of its writes to the journal, right before it and right after it, and resumes it each time. Prints
a line of JSON a run: where it was killed, its answer, and what its tools did to the world.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import sys
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from fastslow import Agent, Approval, ApprovalRule, Journal, ScriptedModel
from fastslow.agent.calls import IN_DOUBT
from fastslow.agent.engine.types import Reply, Request
from fastslow.agent.events import Event
from fastslow.agent.transcript import ToolCall, ToolResult
from fastslow.sandbox import DockerSandbox
from fastslow.tools import Tool, tool

Kill = Callable[[str], None]


def call(name: str, **arguments: Any) -> Reply:
    return Reply(calls=(ToolCall(f"call_{secrets.token_hex(4)}", name, json.dumps(arguments)),))


def model(request: Request) -> Reply:
    """Knows the conversation only, as a real one: posts one line in each of three steps, and looks when unsure."""
    last = request.messages[-1]
    if not isinstance(last, ToolResult):
        return call("plan", goal="post", steps=[{"do": "1"}, {"do": "2", "after": []}, {"do": "3"}])
    told = [m.content for m in request.messages if isinstance(m, ToolResult)]
    if last.name == "plan" and "Step 3" in last.content and "Result" in last.content:
        return call("look")
    mine = re.findall(r"Do step (\d) of 3", "\n".join(told))
    if not mine or any("All steps have ended" in text for text in told):
        return Reply(f"Posted: {last.content}")
    if f"Do step {mine[-1]} of 3" in last.content:
        return call("post", line=mine[-1])
    if last.content == IN_DOUBT:
        return call("look")
    if last.name == "look" and mine[-1] not in last.content:
        return call("post", line=mine[-1])
    return Reply(f"posted {mine[-1]}")


def code_model(request: Request) -> Reply:
    """Keeps a variable and a file in the sandbox from call to call."""
    cells = ["x = 20", "open('made.txt', 'w').write('kept')", "x += 1; open('made.txt').read() + str(x)"]
    done = [m for m in request.messages if isinstance(m, ToolResult)]
    if len(done) < len(cells):
        return call("python", code=cells[len(done)])
    return Reply(f"Got {done[-1].content}")


def tools(world: Path, kill: Kill) -> list[Tool]:
    @tool(effect="outside")
    def post(line: str) -> str:
        """Post a line.

        Args:
            line: What to post.
        """
        with world.open("a") as file:
            file.write(f"{line}\n")
        kill("effect")
        return "posted"

    @tool(effect="read")
    def look() -> str:
        """Look at what was posted."""
        return " ".join(sorted(world.read_text().split())) if world.exists() else "nothing"

    return [post, look]


class Killed(Journal):
    """Kills this process before or after one of its writes."""

    def __init__(self, path: Path, kill: Kill) -> None:
        super().__init__(path)
        self.kill = kill

    def writer(self, run: str, inputs: Sequence[Path] = ()) -> Callable[[Event], None]:
        write = super().writer(run, inputs)

        def written(event: Event) -> None:
            self.kill("before")
            write(event)
            self.kill("after")

        return written


def life(folder: Path, at: int, where: str, docker: bool) -> None:
    """Carry the run out, or on; die at the given moment if it comes, else leave the answer in a file."""
    moments = dict.fromkeys(("before", "after", "effect"), 0)

    def kill(moment: str) -> None:
        moments[moment] += 1
        if (moment, moments[moment]) == (where, at):
            os.kill(os.getpid(), signal.SIGKILL)

    journal = Killed(folder / "runs.db", kill)
    known = journal.runs()
    agent = Agent(
        engine=ScriptedModel([code_model if docker else model] * 30),
        tools=[] if docker else tools(folder / "world", kill),
        sandbox=DockerSandbox() if docker else None,
        journal=journal,
        approval=Approval((ApprovalRule("allow"),)),
        out=folder / "out",
    )
    result = asyncio.run(agent.resume(known[0].run)) if known else agent.run_sync("Post three lines.")
    made = {path.name: path.read_text() for path in result.files}
    told = {"exit": result.exit, "answer": result.answer, "reason": result.reason, "made": made}
    (folder / "end").write_text(json.dumps(told))


def in_a_process(folder: Path, at: int, where: str, docker: bool) -> int:
    """One life in a process that has this one's modules already; its status, negative for the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            life(folder, at, where, docker)
        except BaseException as error:
            (folder / "end").write_text(json.dumps({"exit": "raised", "reason": repr(error)}))
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(folder: Path, docker: bool) -> None:
    for where in ("after", "before", *(() if docker else ("effect",))):
        for at in count(1):
            here = folder / f"{where}-{at}"
            here.mkdir()
            died = in_a_process(here, at, where, docker) == -signal.SIGKILL
            lives = 1
            while not (here / "end").exists() and lives < 4:
                in_a_process(here, 0, "", docker)
                lives += 1
            world = here / "world"
            told = json.loads((here / "end").read_text())
            effects = world.read_text().split() if world.exists() else []
            print(json.dumps({"where": where, "at": at, "died": died, "effects": effects, **told}), flush=True)
            if not died:
                break


if __name__ == "__main__":
    assert asyncio
    main(Path(sys.argv[1]), "docker" in sys.argv[2:])
