"""Code and files that a model wrote as fenced blocks instead of as arguments of calls.

Small models write good code in a block and bad code in a JSON string; a profile with `code == "fenced"` takes it from
the block. Either way the loop sees a call: of `python` with the argument `code`; or, where no code runs, of
`write_file` with what stands in the block and the path that is told beside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fastslow.agent.engine.profiles import Profile
from fastslow.tools import Tool
from fastslow.tools.fenced import first_block

CODE_TOOL = "python"
FILE_TOOL = "write_file"
# Ends a turn behind its first block, before the model invents the block's output. The server leaves it
# out of the answer (`include_stop_str_in_output` would bring it, and the end-of-turn token too), so the fence
# is put back.
STOP = "\n```\n"
OPENING_FENCE = f"```{CODE_TOOL}\n"
CLOSING_FENCE = "\n```"
_OPEN = re.compile(r"^(`{3,9}|~{3,9})[ \t]{0,9}[\w+-]{0,30}[ \t]{0,9}([^`\n]*)\n", re.MULTILINE)
_PATH = r"[\w@+-]{0,99}(?:[./]{1,3}[\w@+-]{1,99}){1,20}"
_ALONE = re.compile(rf"(?:^|\n)[#*`> \t]{{0,8}}({_PATH})[*`: \t]{{0,8}}\n{{1,2}}\Z")
_NAMED = re.compile(rf"`({_PATH})`")


@dataclass(frozen=True, slots=True)
class FileBlock:
    """A block with a file's content, at text[start:end]. path: as told beside it, empty where none is."""

    path: str
    content: str
    start: int
    end: int


def first_file(text: str) -> FileBlock | None:
    """The first block that ends, as a file. Its path stands behind the fence, or alone on the line above, or it is the
    first one that is named in the text before.

    >>> first_file("In `src/a.py`:\n\n```python\nprint(1)\n```")
    FileBlock(path='src/a.py', content='print(1)\n', start=16, end=38)
    """
    opening = _OPEN.search(text)
    if opening is None:
        return None
    fence, info = opening.groups()
    closing = re.compile(rf"^{fence}[ \t]*$", re.MULTILINE).search(text, opening.end())
    if closing is None:
        return None
    before = text[: opening.start()]
    told = re.fullmatch(f"({_PATH})", info.strip()) or _ALONE.search(before[-300:]) or _NAMED.search(before)
    return FileBlock(told[1] if told else "", text[opening.end() : closing.start()], opening.start(), closing.end())


def fenced_tool(profile: Profile, tools: Sequence[Tool]) -> str:
    """Which of the offered tools a block in the content calls; empty for none."""
    if profile.code != "fenced":
        return ""
    if any(tool.name == CODE_TOOL for tool in tools):
        return CODE_TOOL
    return FILE_TOOL if any(tool.name == FILE_TOOL and tool.place == "sandbox" for tool in tools) else ""


def stops_at_opening(text: str) -> bool:
    """Whether `STOP`, which ended this text, was a bare opening fence, which reads alike: no block came."""
    block = first_block(text + CLOSING_FENCE)
    return block is not None and not block.closed
