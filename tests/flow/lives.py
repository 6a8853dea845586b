"""A flow that is killed and goes on, in processes of its own: `python -m tests.flow.lives FOLDER`.

Kills one flow right before and right after each of its writes to the journal, and in the midst of each step's effect,
and carries it on each time. Where a step is in doubt, whoever answers looks at the world. Prints a line of JSON a flow:
where it was killed, how it ended, and what its steps did to the world.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from fastslow import Journal
from fastslow.agent.events import Exit
from tests.flow import flows
from tests.flow.flows import Flows

SCRIPT = """
import os, signal
from pathlib import Path

HERE = Path(__file__).parent

def moment():
    with open(HERE / "moments", "a") as file:
        file.write("x")
    die = HERE / "die"
    if die.exists() and len((HERE / "moments").read_text()) == int(die.read_text()):
        os.kill(os.getpid(), signal.SIGKILL)

def post(text: str) -> None:
    moment()
    with open(HERE / "effects", "a") as file:
        file.write(text + "\\n")
    moment()

def look(text: str) -> str:
    return text.upper()

async def main(wf):
    said = await wf.agent("Say a", builtin=(), name="agent")
    await wf.step(post, "one")
    big = await wf.step(look, said, effect="read")
    await wf.map(lambda text: wf.step(post, text), ["two", "three"], at_once=1)
    await wf.step(post, "four")
    return big
"""


class Killed(Journal):
    """Kills this process before or after one of its writes."""

    where, at = "", 0
    writes = 0

    @contextmanager
    def transaction(self, *, waits: bool = True) -> Iterator[sqlite3.Connection]:
        Killed.writes += 1
        self._kill("before")
        with super().transaction(waits=waits) as database:
            yield database
        self._kill("after")

    def _kill(self, where: str) -> None:
        if (Killed.where, Killed.at) == (where, Killed.writes):
            os.kill(os.getpid(), signal.SIGKILL)


def life(folder: Path, where: str, at: int) -> None:
    """Carry the flow out, or on; a question is answered by what the world shows, then it goes on."""
    Killed.where, Killed.at, Killed.writes = where, at, 0
    if where == "effect":
        (folder / "die").write_text(str(at))
    else:
        (folder / "die").unlink(missing_ok=True)
    known = Flows(folder)
    for _ in range(10):
        end = asyncio.run(known.run())
        if end.exit is not Exit.WAITING:
            break
        [asked] = end.asked
        done = next(step.name for step in steps(known, end.job) if f"{step.key}?" == asked.key)
        assert done == "post", asked
        known.answer("done" if last_effect(known, end.job) else "again")
    told = {"exit": end.exit, "value": end.value, "reason": end.reason}
    (folder / "end").write_text(json.dumps(told))


def steps(known: Flows, job: str) -> tuple[flows.StepInfo, ...]:
    return flows.Jobs(known.journal).steps(job)


def last_effect(known: Flows, job: str) -> bool:
    """Whether the world shows the effect of the step that was cut off: one more than the steps that have ended."""
    ended = [step for step in steps(known, job) if step.name == "post" and step.result]
    return len(known.effects()) > len(ended)


def in_a_process(folder: Path, where: str, at: int) -> int:
    """One life in a process that has this one's modules already; its status, negative for the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            life(folder, where, at)
        except BaseException as error:
            (folder / "end").write_text(json.dumps({"exit": "raised", "reason": repr(error)}))
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(folder: Path) -> None:
    flows.Journal = Killed  # type: ignore[misc]  # which the lives open
    for where in ("before", "after", "effect"):
        for at in count(1):
            here = folder / f"{where}-{at}"
            here.mkdir()
            (here / "flow.py").write_text(SCRIPT)
            died = in_a_process(here, where, at) == -signal.SIGKILL
            lives = 1
            while not (here / "end").exists() and lives < 4:
                in_a_process(here, "", 0)
                lives += 1
            told = json.loads((here / "end").read_text())
            effects = (here / "effects").read_text().split() if (here / "effects").exists() else []
            print(json.dumps({"where": where, "at": at, "died": died, "effects": effects, **told}), flush=True)
            if not died:
                break


if __name__ == "__main__":
    main(Path(sys.argv[1]))
