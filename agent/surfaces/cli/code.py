"""`fastslow code`: a project in, a tested change out."""

from __future__ import annotations

from fastslow.agent.events import Exit, Result
from fastslow.agent.surfaces.cli import changes
from fastslow.agent.surfaces.cli.run import RunArguments, run


def code(arguments: RunArguments, *, apply: bool) -> int:
    """Carry the task out; returns the exit status. apply: write the change where nothing speaks against it."""

    def finished(result: Result) -> int:
        if apply and result.exit is Exit.ANSWERED and result.changes:
            return changes.apply(result.run, (), dry_run=False, as_json=arguments.json_lines)
        return 0

    return run(arguments, finished)
