"""The check: a command that proves the work. We run it, not the model, before the first turn and at each answer.

A model says that it is done; whether it is, a program tells. In a user's folder a change of its tests counts for
nothing: it must be green with the tests as the user gave them, too. See `docs/coding.md`.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from fastslow.agent.events import CheckFinished, CheckStarted, Event, Verdict
from fastslow.agent.loop import Branch
from fastslow.agent.prompts import prompt
from fastslow.agent.run import Run
from fastslow.agent.strategy import Done
from fastslow.agent.transcript import with_hint
from fastslow.agent.tree.protect import is_protected
from fastslow.agent.workspace import Workspace
from fastslow.sandbox import Execution, SandboxError
from fastslow.tools import clip

SECONDS = 600.0  # that a check may take, where the sandbox allows as much
QUICK = 10.0  # seconds below which a green check is run a second time
SHOWN = 6000  # characters of its output: a test run says what failed at its end
DIFF = 8000  # characters of the changes that are shown where the same failure came twice
TOO_LONG = "\n[stopped after {:.0f} seconds]"
DIED = "\n[the sandbox ended while this ran: it was killed, or took more memory than there is]"
NOT_PUT_BACK = "The check is green, but not proven: tests could not be put back as they were given. {}"
_NUMBER = re.compile(r"0x[0-9a-f]+|[0-9]+")
ALTERED = "\n\n(The run changed {}. The check is green with these as they are now, and as they were.)"


@dataclass(frozen=True, slots=True)
class Check:
    """command: for a shell, in the working folder. protect: globs of files with which it must be green as they were
    given, too; None for the tests that were there."""

    command: str
    protect: tuple[str, ...] | None = None


async def checked(trunk: Branch, check: Check) -> AsyncGenerator[Event, None]:
    """The loop of a trunk until the check is green, or the strategy says that it will not be. Raises what the loop
    does."""
    run, done = trunk.run, list[CheckFinished]()
    async with aclosing(_carry_out(run, check, 0, done)) as events:
        async for event in events:
            yield event
    trunk.start = with_hint(trunk.start, told_before(done[0]))
    trunk.state = replace(trunk.state, transcript=trunk.start)
    while True:
        async with aclosing(trunk.loop()) as events:
            async for event in events:
                yield event
        if trunk.done is None or not trunk.done.ok:
            return
        async with aclosing(_carry_out(run, check, len(done), done)) as events:
            async for event in events:
                yield event
        if done[-1].verdict != "red":
            if restored := ", ".join(done[-1].restored):
                trunk.done = replace(trunk.done, answer=trunk.done.answer + ALTERED.format(restored))
            return
        move = run.strategy.after_check(trunk.state, trunk.done, tuple(done[1:]))
        trunk.done = None
        trunk.follow(move)
        if isinstance(move, Done):
            return


def told_before(check: CheckFinished) -> str:
    """What the model is told with the task: of the check that was run before it began."""
    return prompt("check", command=check.command, outcome=outcome_of(check))


def outcome_of(check: CheckFinished) -> str:
    """What a check found, for the model."""
    return f"Exit code {check.exit_code}.\n{check.output}".strip()


async def _carry_out(run: Run, check: Check, number: int, done: list[CheckFinished]) -> AsyncGenerator[Event, None]:
    """Run the check, or take what the record holds of it."""
    say = run.recorder.say
    yield say(CheckStarted(number, check.command))
    finished = run.recorder.check(number)
    if finished is None and number and run.changes == run.checked:  # a failure belongs to a state of the world
        finished = replace(done[-1], number=number, seconds=0.0)
    if finished is None:
        finished = await run.ledger.in_time(_found(run, check, number, done))
    run.changes += 1  # it may leave anything
    run.checked = run.changes
    done.append(finished)
    run.check = finished
    yield say(finished)


async def _found(run: Run, check: Check, number: int, done: list[CheckFinished]) -> CheckFinished:
    workspace, begun = run.workspace, time.monotonic()
    if workspace is None:
        raise RuntimeError("only a run with a sandbox has a check")
    altered = await workspace.altered(lambda path: is_protected(path, check.protect)) if number else ()
    execution = await _executed(workspace, check.command)
    verdict = _verdict(execution)
    restored: tuple[str, ...] = ()
    if altered and verdict == "green":
        try:
            async with workspace.restored(altered):
                execution, restored = await _executed(workspace, check.command), altered
        except (OSError, ValueError) as error:  # a folder stands where a test was, say
            execution = Execution("error", stderr=NOT_PUT_BACK.format(error), exit_code=1)
        verdict = _verdict(execution)
    elif verdict == "green" and number and execution.seconds < QUICK:
        again = await _executed(workspace, check.command)
        if _verdict(again) == "red":
            execution, verdict = again, "flaky"
    found = CheckFinished(number, check.command, verdict, execution.exit_code, _output(execution), 0.0, restored)
    if verdict == "red" and number and run.changed and _same(found, done[-1]):
        found = replace(found, diff=clip(run.changed().diff().decode("utf-8", "replace"), DIFF))
    await workspace.save()
    return replace(found, seconds=time.monotonic() - begun)


def _same(one: CheckFinished, other: CheckFinished) -> bool:
    """Whether two checks failed alike, but for numbers such as seconds and addresses."""
    return one.exit_code == other.exit_code and _NUMBER.sub("", one.output) == _NUMBER.sub("", other.output)


async def _executed(workspace: Workspace, command: str) -> Execution:
    """What the command did. One that takes the sandbox with it has failed."""
    try:
        session = await workspace.session()
        return await session.shell(command, seconds=min(SECONDS, workspace.limits.seconds))
    except SandboxError:
        if not await workspace.renew():
            raise
        return Execution("died", error=DIED, exit_code=137)


def _verdict(execution: Execution) -> Verdict:
    return "green" if execution.status == "ok" else "red"


def _output(execution: Execution) -> str:
    said = "\n".join(part.strip("\n") for part in (execution.stdout, execution.stderr) if part.strip())
    end = TOO_LONG.format(execution.seconds) if execution.status == "timeout" else ""
    return clip(said, SHOWN) + end + (execution.error if execution.status == "died" else "")
