"""docs/faults.md, from what the faults in fact did.

python -m tests.faults.report    plays all faults and writes the document
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

from fastslow.agent.events import CallFinished, Notice, TurnStarted
from tests.faults.catalog import FAULTS, GROUPS, Fault
from tests.faults.played import Outcome, play

DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"
HEAD = """# What goes wrong, and what a run does then

Each row is played at a run over real HTTP, as a stream of small pieces and, where it makes sense, as one body from a
server that does not stream (`tests/faults/`). The task is to tell the weather with a tool; a run is right when it
answers with what the tool said, ran the tool's body exactly as often as it should, and never sent a history that a
server would refuse. `python -m tests.faults.report` plays all and writes this file; a test fails when it does not say
what was seen.

{count} faults, {played} ways of playing them. What others do was measured on 23 November 2026 with the default
settings of smolagents 1.26.0, openai-agents 0.24.0, pydantic-ai 2.68.0, langchain 1.4.7 (langgraph 1.2.22), strands
1.62.0, agno 3.1.10, mini-swe-agent 2.4.6, qwen-agent 0.0.34 and inspect-ai 0.3.285; where nothing stands, it was not
measured or they get it right.
"""
ELSEWHERE = """
## Played elsewhere

These need more than a model's server, and have tests of their own.

| fault | test |
|---|---|
| killed at any write of the journal | `test_a_run_killed_at_any_write_ends_the_same_and_does_nothing_twice` |
| killed while a tool with effects runs | `test_a_call_in_doubt_runs_again_only_where_that_does_no_harm` |
| the disk under the journal is full | `test_a_full_disk_ends_the_run_with_one_clear_reason_and_it_goes_on_later` |
| two processes carry one run out | `test_two_cannot_carry_out_one_run` |
| the container is killed, by hand or for its memory | `test_a_killed_container_is_replaced_with_files_and_variables` |
| the model server is started again, at another port | `test_goes_on_at_another_port` |
| the history outgrows the context | `test_a_run_of_200_turns_goes_on_in_a_small_context` |
| a tenth of all answers fail, 256 runs at once | `test_256_runs_at_once_on_a_server_that_fails` |
"""


async def observed() -> Mapping[tuple[str, str], Outcome]:
    return {(fault.name, way): await play(fault, way) for fault in FAULTS for way in fault.ways}


def rendered(outcomes: Mapping[tuple[str, str], Outcome]) -> str:
    parts = [HEAD.format(count=len(FAULTS), played=len(outcomes))]
    for title, faults in GROUPS.items():
        parts.append(f"\n## {title}\n\n| fault | what the run does | requests | others |\n|---|---|---|---|\n")
        parts += [_row(fault, [outcomes[fault.name, way] for way in fault.ways]) for fault in faults]
    return "".join(parts) + ELSEWHERE


def _row(fault: Fault, outcomes: list[Outcome]) -> str:
    did = list(dict.fromkeys(map(_did, outcomes)))
    asked = list(dict.fromkeys(len(outcome.bodies) for outcome in outcomes))
    cells = (fault.name, "<br>".join(did), " / ".join(map(str, asked)), fault.peers)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _did(outcome: Outcome) -> str:
    result = outcome.result
    ended = "Right answer." if result.exit == "answered" else f"Ends, and can be resumed: {_first(result.reason)}"
    told = [f'Notice: "{event.text}"' for event in result.events if isinstance(event, Notice)]
    told += [
        f'Model: "{_first(event.content)}"'
        for event in result.events
        if isinstance(event, CallFinished) and not event.ok
    ]
    turns = [event for event in result.events if isinstance(event, TurnStarted)]
    again = [re.sub(r"^\d+ failures", "failures", turn.reason) for turn in turns]
    told += [f"Asked again: {reason}." for reason in again if not reason.startswith(("first turn", "go on"))]
    return re.sub(r"http://127\.0\.0\.1:\d+", "http://SERVER", " ".join((ended, *dict.fromkeys(told))))


def _first(text: str) -> str:
    line = text.strip().splitlines()[0]
    return line if len(line) < 160 else line[:160] + " ..."


if __name__ == "__main__":
    DOCUMENT.write_text(rendered(asyncio.run(observed())), "utf-8")
    print(f"wrote {DOCUMENT}")
