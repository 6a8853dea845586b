"""What one run is asked for, whoever asks: Python, the command line, a server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from fastslow.agent.approval import Ask
from fastslow.agent.budget import Budget
from fastslow.agent.errors import ConfigurationError
from fastslow.agent.modes import ModePolicy, Think
from fastslow.agent.plan import Plan
from fastslow.agent.texts import check_history, check_out, check_text
from fastslow.agent.transcript import Message
from fastslow.agent.tree.tree import Tree


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of one run; what is None is as the agent has it.

    files: copied into the sandbox's workspace. output: the type that the answer must fit: a pydantic model or whatever
    else pydantic can describe, such as a dataclass or `list[int]`; or a JSON schema as a mapping. after: id of a run in
    the journal that ended, or `"last"`: the task follows it in one conversation, with its files and variables. history:
    what was said before, where somebody else holds the conversation (a chat client); not with `after`. out: folder for
    the files that the run makes. check: a command that proves the work, run in the sandbox before the first turn and at
    each answer; the run is answered only where it ends with exit code 0. On a folder it is `Tree(test=…)`. ask, think,
    policy, budget, instructions: see `Agent`. key: names the run for whoever may ask twice: the same key again goes on
    with the run that has it, and one that was answered is only told again. tree: a folder that the run works on a copy
    of; what it changed there is in `Result.changes`. plan: what the run begins with, in place of a plan of the model's.
    compact: what the runs before it said is made shorter.
    """

    files: Iterable[str | Path] = ()
    output: Any = None
    after: str | None = None
    history: Sequence[Message] = ()
    out: str | Path | None = None
    ask: Ask | None = None
    think: Think | None = None
    policy: ModePolicy | None = None
    budget: Budget | None = None
    instructions: str | None = None
    check: str = ""
    key: str = ""
    tree: Tree | None = None
    plan: Plan | None = None
    compact: bool = False

    def __post_init__(self) -> None:
        if self.after and self.history:
            raise ConfigurationError("a run follows another one (after=) or a conversation (history=), not both")
        if isinstance(self.files, str | Path):
            raise ConfigurationError(f"files is a list of files, got {self.files!r}; pass [{str(self.files)!r}]")
        if self.check and self.tree:
            raise ConfigurationError(f"a run on a folder is checked by Tree(test={self.check!r:.80}), not by check=")
        if self.check:
            check_text("the check", self.check)
        if self.key:
            check_text("the key", self.key)
        if self.history:
            check_history(self.history)
        if self.instructions is not None:
            check_text("the text of instructions", self.instructions)
        if self.out is not None:
            check_out(self.out)


class OptionFields(TypedDict, total=False):
    """The fields of `RunOptions` as keyword arguments."""

    files: Iterable[str | Path]
    output: Any
    after: str | None
    history: Sequence[Message]
    out: str | Path | None
    ask: Ask | None
    think: Think | None
    policy: ModePolicy | None
    budget: Budget | None
    instructions: str | None
    check: str
    key: str
    tree: Tree | None
    plan: Plan | None
    compact: bool


def merged(options: RunOptions | None, fields: OptionFields) -> RunOptions:
    """Options with some fields said anew. TypeError for a field that there is none of."""
    return replace(options, **fields) if options else RunOptions(**fields)


__all__ = ["OptionFields", "RunOptions", "Unpack", "merged"]
