"""Code that a model wrote as a fenced block instead of as an argument of a call.

Small models write good code in a block and bad code in a JSON string; a profile with `code == "fenced"` takes
it from the block. Either way the loop sees a call of the `python` tool with the argument `code`.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

CODE_TOOL = "python"
# Ends a turn behind its first block, before the model invents the block's output. The server leaves it
# out of the answer (`include_stop_str_in_output` would bring it, and the end-of-turn token too), so the fence
# is put back.
STOP = "\n```\n"
OPENING_FENCE = f"```{CODE_TOOL}\n"
CLOSING_FENCE = "\n```"

_OPEN = re.compile(r"^([ \t]*+)(`{3,}+)[ \t]*+([\w+.-]*+)[^\n`]*+$", re.MULTILINE)
_PYTHON = {"", "py", "python", "python3"}


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: text[start:end] with its fences; not `closed` when the text ends inside of it."""

    code: str
    start: int
    end: int
    closed: bool


def first_block(text: str) -> Block | None:
    """The first block of Python, or of no named language. Blocks of other languages are passed over.

    >>> first_block("So:\\n```python\\nprint(1)\\n```\\nDone.").code
    'print(1)'
    """
    position = 0
    while opening := _OPEN.search(text, position):
        indent, ticks, language = opening.groups()
        closing = re.compile(rf"^[ \t]*{ticks}`*[ \t]*$", re.MULTILINE).search(text, opening.end() + 1)
        if language.lower() in _PYTHON:
            code = text[opening.end() + 1 : closing.start() if closing else len(text)].removesuffix("\n")
            end = closing.end() if closing else len(text)
            return Block(textwrap.dedent(code) if indent else code, opening.start(), end, closing is not None)
        if closing is None:
            return None
        position = closing.end()
    return None


def stops_at_opening(text: str) -> bool:
    """Whether `STOP`, which ended this text, was a bare opening fence, which reads alike: no block came."""
    block = first_block(text + CLOSING_FENCE)
    return block is not None and not block.closed
