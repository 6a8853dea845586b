"""Posture checks from inside: code in a session tries what it must not be able to do, and each attempt is reported.

`fastslow sandbox probe` runs them. They say what holds on this machine, with this daemon, kernel and runtime; they are
no proof against what nobody has thought of.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from fastslow.sandbox.errors import SandboxError
from fastslow.sandbox.sandbox import Session

CHECKS = Path(__file__).parent / "guest" / "checks" / "posture.py"
SECONDS = 60.0
LONGEST = 300


@dataclass(frozen=True, slots=True)
class PostureCheck:
    """One check. kind: what it is about. held: the attempt failed, as it should. evidence: what came of it."""

    kind: str
    name: str
    held: bool
    evidence: str


async def probe(session: Session) -> tuple[PostureCheck, ...]:
    """Try everything; SandboxError when the checks themselves could not be run."""
    execution = await session.run(CHECKS.read_text("utf-8"), seconds=SECONDS)
    if execution.status != "ok":
        raise SandboxError(f"the posture checks ended early: {execution.error or execution.status}")
    try:
        rows = json.loads(execution.stdout.splitlines()[-1])
        checks = tuple(_check(row) for row in rows)
    except (IndexError, RecursionError, TypeError, ValueError) as error:
        raise SandboxError(f"the posture checks reported nothing but {execution.stdout[-200:]!r}") from error
    if not checks:  # nothing tried is nothing held
        raise SandboxError("the posture checks reported nothing but an empty list")
    return checks


def _check(row: object) -> PostureCheck:
    match row:
        case [str(kind), str(name), bool(held), str(evidence)]:
            return PostureCheck(kind[:LONGEST], name[:LONGEST], held, evidence[:LONGEST])
    raise ValueError(f"a check is [kind, name, held, evidence], not {row!r:.200}")
