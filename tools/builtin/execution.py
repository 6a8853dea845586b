"""What the model is told of code that ran, and what is known of it as values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from fastslow.sandbox.sandbox import Execution, Session
from fastslow.tools.result import NO_OUTPUT, Outcome, Status

SECONDS = 60.0  # of one execution, where the model says nothing else
CANNOT_RUN = (126, 127)  # a shell's exit codes for a command that is not executable, or not there
NAMED = 200  # files in one list
LEFT = 5  # of what cannot come out
CUT = "[the output was too long; its middle was cut, and the whole is in the folder output]"
# How files of a kind begin: a small model saves a table as `revenue.png`, and takes the chart for made.
BEGINNINGS = {".png": b"\x89PNG", ".jpg": b"\xff\xd8", ".gif": b"GIF8", ".pdf": b"%PDF", ".xlsx": b"PK"}
_CACHE = re.compile(r"(?:^|/)(?:__pycache__|\.pytest_cache|\.mypy_cache|\.ruff_cache|\.hypothesis)/")  # of no news
_VARIABLES = {
    "kept": "",
    "restored": " Variables are as they were before this code.",
    "lost": " All variables are gone: load and define again what you need.",
}


@dataclass(frozen=True, slots=True)
class Written:
    """Paths of files that are new or changed, as many as are told. misnamed: those whose content is not what their name
    says. left: what cannot come out of the sandbox, and why. more: how many others there are."""

    paths: tuple[str, ...] = ()
    misnamed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    more: int = 0


NOTHING = Written()


def outcome_of(execution: Execution, seconds: float, most: float, written: Written = NOTHING) -> Outcome:
    """Output, value and errors in the order in which a notebook shows them; then how it ended, and what it wrote.

    seconds: what this execution could take, most: what one may be given. written: its files.
    """
    parts = [
        execution.stdout.rstrip("\n"),
        execution.value or "",
        f"[stderr]\n{execution.stderr.rstrip()}" if execution.stderr.strip() else "",
        execution.error.rstrip("\n"),
        CUT if execution.truncated else "",
    ]
    said = [part for part in parts if part]
    silent = not said and execution.status in ("ok", "error")
    if execution.status != "ok" and (end := _end(execution, seconds, most)):
        said.append(end)
    if written.paths:
        more = f" and {written.more:,} more" if written.more else ""
        said.append(f"Files written: {', '.join(written.paths)}{more}")
    if written.left:
        said.append(f"Stays in the sandbox: {', '.join(written.left)}.")
    if execution.withheld:
        said.append(f"{execution.withheld} figures or tables are not shown: this session has shown too much.")
    for path in written.misnamed:
        said.append(f"{path} is no {PurePosixPath(path).suffix}: its content is something else.")
    return Outcome(
        "\n".join(said) or NO_OUTPUT,
        _status(execution),
        exit_code=execution.exit_code,
        silent=silent,
        variables=execution.state,
        written=written.paths,
    )


async def written(session: Session, since: int) -> Written:
    """The files that are new or changed since the workspace was in the state of that number, and what cannot come out:
    the shallow first, and not more than a model reads."""
    changes = await session.changes(since)
    if not (changes.changed or changes.left):
        return NOTHING
    told = [file for file in changes.changed if not _CACHE.search(file.path)]
    changed = sorted(told, key=lambda file: file.path.count("/"))
    made: list[str] = []
    misnamed: list[str] = []
    for file in changed[:NAMED]:
        begins = BEGINNINGS.get(PurePosixPath(file.path).suffix.lower())
        fits = begins is None or bool(file.left) or await _begins(session, file.path, begins)
        (made if fits else misnamed).append(file.path)
    left = [f"{file.path} ({file.left})" for file in changed if file.left]
    left += [f"{one.path} ({one.reason})" if one.path else one.reason for one in changes.left]
    if len(left) > LEFT:
        left = [*left[:LEFT], f"{len(left) - LEFT} more"]
    return Written(tuple(made), tuple(misnamed), tuple(left), len(changed[NAMED:]))


async def _begins(session: Session, path: str, begins: bytes) -> bool:
    try:
        return await session.get(path, len(begins)) == begins
    except (OSError, ValueError):  # gone meanwhile
        return True


def _status(execution: Execution) -> Status:
    """An exit code tells what a command found: `grep` without a match has not failed, nor has a test run that found a
    fault. What raised, or could not be run at all, has."""
    if execution.status == "error" and not execution.error and execution.exit_code not in CANNOT_RUN:
        return "ok"
    return execution.status


def _end(execution: Execution, seconds: float, most: float) -> str:
    variables = _VARIABLES[execution.state]
    match execution.status:
        case "timeout":
            more = f"Give it more with `seconds` (at most {most:g}), or do" if seconds < most else "Do"
            return f"Stopped after {execution.seconds:.0f} seconds: it took too long. {more} less at once.{variables}"
        case "died" if execution.exit_code not in (None, 137):
            return f"The interpreter died with exit code {execution.exit_code}.{variables}"
        case "died":
            return f"The interpreter died, most likely of too little memory. Use less of it.{variables}"
        case _:
            code = "" if execution.error and execution.exit_code in (0, 1) else f"Exit code {execution.exit_code}."
            return f"{code}{variables}".strip()
