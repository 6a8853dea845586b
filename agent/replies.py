"""What history shows of the calls in a reply: those that run as they run, and those that do not by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from fastslow.agent.engine.types import Reply
from fastslow.agent.transcript import ToolCall
from fastslow.tools import ArgumentError, Toolbox, parse_arguments
from fastslow.tools.arguments import as_written


def as_run(reply: Reply, toolbox: Toolbox) -> Reply:
    """The reply with the arguments that its calls will run with. Those that had to be mended are written anew, for
    history and journal: a model that is shown something else takes the call for not made, and makes it again."""
    calls = []
    for call in reply.calls:
        with suppress(ArgumentError):  # one that cannot run keeps its own text, which its result then quotes
            tool = toolbox.get(call.name)
            if as_written(tool.parameters, call.arguments) is None:
                arguments = parse_arguments(tool.parameters, call.arguments, tool.rewrite)
                call = replace(call, arguments=json.dumps(arguments, ensure_ascii=False))
        calls.append(call)
    return replace(reply, calls=tuple(calls))


def not_run(reply: Reply, calls: Sequence[ToolCall]) -> str:
    """What the model is told of the calls in its reply that did not run."""
    told, dropped = "", ", ".join(reply.dropped)
    if others := [call.name for call in reply.calls if call not in calls]:
        told += f"\n(A plan stands alone: {', '.join(others)} beside it did not run.)"
    if dropped and reply.finish == "stop":
        told += f"\n(Not all of your reply could be read: {dropped} did not run. Make that call again.)"
    elif dropped:
        told += f"\n(Your reply was cut off: {dropped} behind this did not run. Make that call again, shorter.)"
    return told
