"""Code within a markdown fence, in a model's reply or as the argument of a call."""

from __future__ import annotations

import ast
import re
import textwrap
from dataclasses import dataclass
from itertools import islice

_OPEN = re.compile(r"^([ \t]*+)(`{3,}+|~{3,}+)[ \t]*+([\w+.-]*+)[^\n`]*+$", re.MULTILINE)
_PYTHON = {"", "py", "python", "python3", "ipython", "jupyter", "tool_code"}
_SHELL = {"", "bash", "sh", "shell", "console", "zsh"}
_ONE_LINE = re.compile(r"(`{1,3})(?:python3?[ ]|py[ ])?([^`\n]+)\1")
# What IPython takes besides Python, on a line of its own or assigned: `%matplotlib inline`, `files = !ls`.
_MAGIC = re.compile(r"^([ \t]*)(?:[\w.]+[ \t]*=[ \t]*)?[%!].*$", re.MULTILINE)
_BLOCKS = 50  # of one text
_CLOSINGS = 50  # tried for one opening: each costs a look at all the code before it
_LONGEST = 200_000  # characters that are looked at


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: text[start:end] with its fences; not `closed` when the text ends inside of it. named: it says
    that it is Python."""

    code: str
    start: int
    end: int
    closed: bool
    named: bool = False


def first_block(text: str) -> Block | None:
    """The first block of Python, or of no named language. Blocks of other languages are passed over.

    A fence within a string of the code does not end it: of the closing fences it is the first behind which the code
    is whole, else the first.

    >>> first_block("So:\\n```python\\nprint(1)\\n```\\nDone.").code
    'print(1)'
    """
    return _first_block(text, 0)


def unfenced_python(code: str) -> str:
    """The code of a call whose model put it in a fence, with or without words around; all blocks of it.

    What is Python as it stands is left alone, fences in its strings included.

    >>> unfenced_python("Here it is:\\n```python\\nprint(1)\\n```")
    'print(1)'
    """
    code = code.removeprefix("\ufeff")
    if ("`" not in code and "~~~" not in code) or len(code) > _LONGEST or code.startswith("%%") or _is_code(code):
        return code
    code = code.replace("\r\n", "\n")
    if one := _ONE_LINE.fullmatch(code.strip()):
        return one[2].strip()
    blocks: list[Block] = []
    while len(blocks) < _BLOCKS and (block := _first_block(code, blocks[-1].end if blocks else 0)):
        blocks.append(block)
    if len(blocks) == 1 and not blocks[0].closed and not blocks[0].code:  # an end without a beginning
        return code[: blocks[0].start].rstrip()
    ends = [0, *(block.end for block in blocks)]
    around = [code[end:start] for end, start in zip(ends, [*(block.start for block in blocks), len(code)], strict=True)]
    if any(quotes in "".join(around) for quotes in ('"""', "'''")):  # code with a mistake, and the fence in its string
        return code
    named = [block for block in blocks if block.named] or blocks  # beside them, the others show output
    return "\n".join(block.code for block in named if block.code) if blocks else code


def unfenced_command(command: str) -> str:
    """The command of a call whose model put all of it in a fence. Other fences are the command's own affair.

    >>> unfenced_command("```bash\\nls -l\\n```")
    'ls -l'
    """
    text = command.strip().replace("\r\n", "\n")
    opening = _OPEN.match(text)
    if opening and opening[3].lower() in _SHELL and "\n" in text:
        *lines, last = text[opening.end() + 1 :].split("\n")
        if last.strip() == opening[2]:
            return textwrap.dedent("\n".join(lines))
    return command


def _first_block(text: str, position: int) -> Block | None:
    while opening := _OPEN.search(text, position):
        indent, fence, language = opening.groups()
        start = opening.end() + 1
        closing_fence = re.compile(rf"^[ \t]*{fence}{fence[0]}*[ \t]*$", re.MULTILINE)
        closings = list(islice(closing_fence.finditer(text, start), _CLOSINGS))
        if language.lower() in _PYTHON:
            for closing in closings:
                code = _inside(text, start, closing.start(), indent)
                if _is_code(code):
                    return Block(code, opening.start(), closing.end(), closed=True, named=bool(language))
            end = closings[0] if closings else None
            code = _inside(text, start, end.start() if end else len(text), indent)
            stop = end.end() if end else len(text)
            return Block(code, opening.start(), stop, closed=end is not None, named=bool(language))
        if not closings:
            return None
        position = closings[0].end()
    return None


def _inside(text: str, start: int, end: int, indent: str) -> str:
    code = text[start:end].removesuffix("\n")
    return textwrap.dedent(code) if indent else code


def _is_code(text: str) -> bool:
    """Whether it is Python as the sandbox takes it: with `await` and magics."""
    if len(text) > _LONGEST:
        return False
    try:
        compile(
            _MAGIC.sub(r"\1pass", textwrap.dedent(text)),
            "<code>",
            "exec",
            ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            dont_inherit=True,
        )
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True
