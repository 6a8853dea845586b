"""A flow from its first step to its end, whatever that is: the journal has it, and the same call goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from fastslow.agent.errors import AgentError
from fastslow.agent.events import Exit
from fastslow.agent.flow.keys import file_told, told_of
from fastslow.agent.flow.memory import StepFailed, Waiting, exit_of
from fastslow.agent.flow.progress import Asked, OnEvent
from fastslow.agent.flow.script import Script, digests, own_files, told
from fastslow.agent.flow.workflow import Setting, Workflow
from fastslow.agent.record.jobs import Job, JobInfo, Jobs, StepResult
from fastslow.sandbox import SandboxError

END = "end"  # key of the step that holds what a flow came to


@dataclass(frozen=True, slots=True)
class FlowEnd:
    """What a flow came to. value: what main returned, as JSON. reason: one sentence where it was not answered. files:
    what it and its steps made. asked: the questions that it waits at. failed: steps whose failure main took as a
    value. told_again: nothing was done now. error: what main raised."""

    job: str
    exit: Exit
    value: Any = None
    reason: str = ""
    files: tuple[str, ...] = ()
    asked: tuple[Asked, ...] = ()
    failed: int = 0
    told_again: bool = False
    error: BaseException | None = None


def job_key(script: Path, words: Mapping[str, Sequence[str]], folder: Path) -> str:
    """What finds a flow again: its script, and its parameters as they were written. folder: where they were."""
    written = json.dumps([str(script.resolve()), str(folder), {name: list(each) for name, each in words.items()}])
    return sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()


def told_again(jobs: Jobs, info: JobInfo, values: Mapping[str, Any], asked: Mapping[str, Any]) -> FlowEnd | None:
    """What an answered flow came to, where its own files, those of its steps and what it is asked for are the same."""
    end = next((step.result for step in jobs.steps(info.job) if step.key == END), None)
    if info.exit is not Exit.ANSWERED or end is None or end.output["asked"] != _asked_for(values, asked):
        return None
    if digests(set(end.output["own"])) != end.output["own"]:
        return None
    if any(file_told(Path(path)) != told for path, told in end.output["files"].items()):
        return None
    return FlowEnd(info.job, Exit.ANSWERED, end.output["value"], files=end.files, told_again=True)


async def carry_out(
    script: Script,
    values: Mapping[str, Any],
    job: Job,
    setting: Setting,
    asked: Mapping[str, Any],
    on_event: OnEvent = lambda event: None,
) -> FlowEnd:
    """Carry a flow out, or on. asked: the options that it is carried out with, as JSON. Raises JournalError only; a
    cancelled one says so."""
    wf, asked_for = Workflow(job, setting, on_event), _asked_for(values, asked)  # as it is before any file changes
    end = await _until_its_end(script, values, wf)
    if end.exit is Exit.ANSWERED and not end.failed:  # what failed is tried again by the same command
        files = {path: told for path, told in wf.memory.files.items() if path not in end.files}
        own = {**own_files(script.path), **script.own}
        output = {"value": end.value, "asked": asked_for, "own": own, "files": files}
        job.end(StepResult(END, "", Exit.ANSWERED, output, files=end.files))
    job.finish(end.exit)
    return end


async def _until_its_end(script: Script, values: Mapping[str, Any], wf: Workflow) -> FlowEnd:
    job = wf.memory.job.id

    def ended(end: Exit, reason: str = "", value: Any = None, error: BaseException | None = None) -> FlowEnd:
        made = [*map(str, wf.saved), *(file for step in wf.memory.ended for file in step.files)]
        failed = sum(step.exit is not Exit.ANSWERED for step in wf.memory.ended)
        return FlowEnd(job, end, value, reason, tuple(dict.fromkeys(made)), tuple(wf.memory.asked), failed, error=error)

    try:
        value = await script.main(wf, **values)
        await wf.quiet()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task and task.cancelling():
            return ended(Exit.CANCELLED, "cancelled by the user")
        return ended(Exit.FAILED, "something that main waited for was cancelled", error=error)
    except StepFailed as error:
        await wf.quiet()
        return ended(error.result.exit, told_step(error, script), error=error)
    except Exception as error:
        await wf.quiet()
        exit_ = exit_of(error) if isinstance(error, (AgentError, SandboxError)) else Exit.FAILED
        return ended(exit_, told(error, script.path), error=error)
    except BaseException as error:
        if not _waits(error):
            raise
        await wf.quiet()
        return ended(Exit.WAITING, "it waits for an answer")
    if forgotten := wf.not_awaited():
        names = ", ".join(dict.fromkeys(forgotten))
        return ended(Exit.FAILED, f"{script.path.name}: {names} was called without `await`, so nothing was done")
    if wf.memory.asked:  # something swallowed it
        return ended(Exit.WAITING, "it waits for an answer")
    held = next((one for one in wf.memory.ended if one.exit not in (Exit.ANSWERED, Exit.FAILED)), None)
    try:
        plain = json.loads(TypeAdapter[Any](type(value)).dump_json(value, by_alias=True))
    except (PydanticSerializationError, ValueError, TypeError, AgentError) as error:
        if held:
            return ended(held.exit, f"{held.name}: {held.reason}")
        return ended(Exit.FAILED, f"main returned a {type(value).__name__}, which JSON cannot hold: {error}")
    return ended(held.exit, f"{held.name}: {held.reason}", plain) if held else ended(Exit.ANSWERED, value=plain)


def told_step(error: StepFailed, script: Script) -> str:
    return told(error, script.path).replace("StepFailed: ", "")


def _waits(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(map(_waits, error.exceptions))
    return isinstance(error, Waiting)


def _asked_for(values: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    return sha256(json.dumps([told_of(values), told_of(asked)]).encode()).hexdigest()
