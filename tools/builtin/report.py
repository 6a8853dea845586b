"""What the model is told of code that ran."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from fastslow.sandbox.sandbox import Execution, FileInfo, Session
from fastslow.tools.errors import ToolError

CUT = "[the output was too long; its middle was cut, and the whole is in the folder output]"
WRITTEN = "Files written: "

OpenSession: TypeAlias = Callable[[], Awaitable[Session]]


def reported(execution: Execution, nothing: str) -> str:
    """Output, value and errors in the order in which a notebook shows them; `nothing` where there are none.

    Raises ToolError with the same text when the code failed, so that whoever runs the tool knows.
    """
    parts = [
        execution.stdout.rstrip("\n"),
        execution.value or "",
        f"[stderr]\n{execution.stderr.rstrip()}" if execution.stderr.strip() else "",
        execution.error.rstrip("\n"),
        CUT if execution.truncated else "",
    ]
    text = "\n".join(part for part in parts if part)
    if execution.status == "ok":
        return text or nothing
    raise ToolError(f"{text}\n{_ended(execution)}".strip())


async def written(session: Session, before: Sequence[FileInfo]) -> str:
    """What the model is told of the files that are new or changed; empty where there are none."""
    made = [file.path for file in await session.files() if file not in before]
    return f"{WRITTEN}{', '.join(made)}" if made else ""


STOPPED = "Stopped after"
DIED = "The interpreter died"
_STATES = {
    "kept": "",
    "restored": " Variables are as they were before this code.",
    "lost": " All variables are gone: load and define again what you need.",
}


def was_undone(text: str) -> bool:
    """Whether `reported` told of code that left nothing in the interpreter, or that would take as long again."""
    return any(line.startswith((STOPPED, DIED)) for line in text.splitlines()[-2:])


def _ended(execution: Execution) -> str:
    lost = _STATES[execution.state]
    match execution.status:
        case "timeout":
            return f"{STOPPED} {execution.seconds:.0f} seconds: it took too long. Do less at once.{lost}"
        case "died" if execution.exit_code not in (None, 137):
            return f"{DIED} with exit code {execution.exit_code}.{lost}"
        case "died":
            return f"{DIED}, most likely of too little memory. Use less of it.{lost}"
        case _:
            code = "" if execution.exit_code in (0, 1) else f"Exit code {execution.exit_code}."
            return f"{code}{lost}".strip() or ("" if execution.error else "It failed.")
