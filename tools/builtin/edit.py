"""The tool `edit_file`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from fastslow.sandbox.sandbox import Session
from fastslow.tools.builtin.edits import Edit, Edited, EditError, edited
from fastslow.tools.builtin.files import FAILURES, content, name_of, no_text, put
from fastslow.tools.builtin.nearest import around
from fastslow.tools.builtin.spellings import with_edits
from fastslow.tools.builtin.text import Text
from fastslow.tools.errors import ToolError
from fastslow.tools.function import tool
from fastslow.tools.result import Outcome
from fastslow.tools.tool import caller

LARGEST = 10_000_000  # bytes of a file
CONTEXT = 2  # lines shown around a changed place
PLACES = 5  # changed places that are shown
LINES = 20  # of one that are shown


@tool(effect="sandbox", place="sandbox")
async def edit_file(path: str, edits: Annotated[list[Edit], Field(min_length=1)]) -> Outcome:
    """Change parts of a text file. Each old_text must fit exactly one place of the file as it is before this call.

    Args:
        path: The file's path in the working folder.
        edits: The changes. If one of them cannot be made, none is.
    """
    session, name = await caller.get().open_session(), name_of(path)
    async with caller.get().seen.changing:
        return await _edit(session, name, edits)


edit_file = replace(edit_file, rewrite=with_edits)


async def _edit(session: Session, name: str, edits: list[Edit]) -> Outcome:
    before = await content(session, name)
    if len(before) > LARGEST:
        raise ToolError(f"{name} has {len(before):,} bytes, and edit_file takes {LARGEST:,}. Change it with code.")
    try:
        text = Text.of(before)
    except ValueError as error:
        raise no_text(name, before) from error
    plain = [Edit(text.plain(edit.old_text), text.plain(edit.new_text)) for edit in edits]
    try:
        done = await asyncio.to_thread(edited, text.text, plain)
    except EditError as error:
        raise ToolError(_failed(name, len(edits), error)) from error
    try:
        data = text.data(done.text)
    except UnicodeEncodeError as error:
        raise ToolError(
            f"{name} was not changed: it is no UTF-8, and in Latin-1 there is no {error.object[error.start]!r}. "
            "Write it without that character."
        ) from error
    _, wrong = await put(session, name, before, data)
    return Outcome(_changed(name, done) + wrong, written=(name,))


def _failed(name: str, count: int, error: EditError) -> str:
    others = " None of the edits was made." if count > 1 else ""
    told = f"{name} was not changed.{others} {error}"
    if caller.get().seen.edit_failed(name) < FAILURES:
        return told
    return (
        f"{told}\nEdits of {name} have failed {caller.get().seen.failed[name]} times. Do not try the same again: write "
        "the whole file with write_file, which may replace it now. If it is long, read it with read_file first."
    )


def _changed(name: str, done: Edited) -> str:
    count = len(done.places)
    loose = f" (white space of old_text was not exact in edit {', '.join(map(str, done.loose))})" if done.loose else ""
    return f"Changed {name}, {count} place{'s' if count > 1 else ''}{loose}:\n{_shown(done)}"


def _shown(done: Edited) -> str:
    """The changed places as they are now."""
    lines = done.text.removesuffix("\n").split("\n")
    shown: list[str] = []
    for first, last in done.places[:PLACES]:
        if last - first < LINES:
            shown.append(around(lines, first - 1, last, CONTEXT))
        else:
            head, tail = (first - 1, first + LINES // 2), (last - LINES // 4, last)
            shown += [around(lines, *part, CONTEXT) for part in (head, tail)]
    more = [f"(and {len(done.places) - PLACES} more places)"] if len(done.places) > PLACES else []
    return "\n…\n".join([*shown, *more])
