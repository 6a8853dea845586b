"""Edits of a text: each replaces the one place where its old text stands. Pure functions, for texts of any origin."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from typing import Annotated

from pydantic import Field

from fastslow.tools.builtin.nearest import around, difference, places
from fastslow.tools.builtin.text import common

PLACES = 20  # where an old text is looked for with its white space normalised
MANY = 1000  # places of one old text that are counted
TOLD = 5  # of the places where an old text stands
TABS = (4, 2, 8, 3)  # widths that a tab may have been taken for
_NUMBER = re.compile(r"^ *\d+\t", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of a text."""

    old_text: Annotated[
        str,
        Field(
            description="The text to replace, exactly as it stands in the file, with as many lines as make it unique."
        ),
    ]
    new_text: Annotated[str, Field(description="What takes its place.")]


class EditError(ValueError):
    """Edits that cannot be made; the text is for the model."""


@dataclass(frozen=True, slots=True)
class Match:
    """Where an edit's old text stands, and what takes its place. number: of the edit. loose: the white space was not
    that of the file."""

    start: int
    end: int
    new: str
    number: int
    loose: bool = False


@dataclass(frozen=True, slots=True)
class Edited:
    """A text with its edits made. places: first and last line of each, from 1, in their order in the text; the last is
    before the first where nothing took the old text's place. loose: numbers of edits whose white space was mended."""

    text: str
    places: tuple[tuple[int, int], ...]
    loose: tuple[int, ...]


class Source:
    """A text, and its lines, split when first wanted."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def lines(self) -> list[str]:
        return self.text.removesuffix("\n").split("\n")

    def line_at(self, position: int) -> int:
        """The index of a position's line."""
        return self.text.count("\n", 0, position)

    def start_of(self, line: int) -> int:
        return sum(map(len, self.lines[:line])) + line


def edited(text: str, edits: Sequence[Edit]) -> Edited:
    """Make all edits, each against the text as it is now. Raises EditError."""
    source = Source(text)
    matches = sorted((_match(source, edits, index) for index in range(len(edits))), key=lambda match: match.start)
    for one, other in pairwise(matches):
        if other.start < one.end:
            lines = sorted({source.line_at(other.start) + 1, source.line_at(one.end - 1) + 1})
            raise EditError(
                f"Edits {one.number} and {other.number} overlap, at line {' to '.join(map(str, lines))}. "
                "Make one edit of the two."
            )
    parts: list[str] = []
    changed: list[tuple[int, int]] = []
    position, line = 0, 1
    for match in matches:
        before = text[position : match.start]
        line += before.count("\n")
        rows = match.new.count("\n")
        changed.append((line, line + rows - (not match.new or match.new.endswith("\n"))))
        line += rows
        parts += [before, match.new]
        position = match.end
    new = "".join([*parts, text[position:]])
    if new == text:
        raise EditError("Nothing would change: the file reads so already.")
    return Edited(new, tuple(changed), tuple(sorted(match.number for match in matches if match.loose)))


def _match(source: Source, edits: Sequence[Edit], index: int) -> Match:
    edit, number = edits[index], index + 1
    if not edit.old_text:
        raise EditError(
            f"Edit {number} has an empty old_text. Put the lines there that are to be replaced, "
            "or beside which something is to be added."
        )
    if edit.old_text == edit.new_text:
        raise EditError(f"Edit {number} changes nothing: its old_text and new_text are the same.")
    ways = [edit, *_without_numbers(edit)]
    for way in ways:
        if found := list(islice(places(source.text, way.old_text), MANY)):
            if len(found) > 1:
                raise EditError(_ambiguous(source, number, found))
            return Match(found[0], found[0] + len(way.old_text), way.new_text, number)
    for way in ways:
        near = _loose(source, way)
        if len(near) > 1:
            raise EditError(_ambiguous(source, number, [start for start, _, _ in near]))
        if near:
            return Match(*near[0], number, loose=True)
    raise EditError(_not_found(source, edits, index, ways[-1]))


def _without_numbers(edit: Edit) -> list[Edit]:
    """The edit without the line numbers of `read_file`, where each line of its old text has one."""
    lines = [line for line in edit.old_text.split("\n") if line]
    if not lines or not all(_NUMBER.match(line) for line in lines):
        return []
    return [Edit(_NUMBER.sub("", edit.old_text), _NUMBER.sub("", edit.new_text))]


def _loose(source: Source, edit: Edit) -> list[tuple[int, int, str]]:
    """Where whole lines of the text are the old ones but for white space at their ends; else but for their indentation.
    Start, end, and the new text with the line ends and the indentation of the place."""
    edit = Edit(edit.old_text.replace("\r\n", "\n"), edit.new_text.replace("\r\n", "\n"))
    while edit.old_text[:1] == edit.new_text[:1] == "\n":
        edit = Edit(edit.old_text[1:], edit.new_text[1:])
    while edit.old_text[-1:] == edit.new_text[-1:] == "\n":
        edit = Edit(edit.old_text[:-1], edit.new_text[:-1])
    old = edit.old_text.split("\n")
    through = old[-1] == ""  # the last line's end is replaced, too
    old = old[: len(old) - through]
    longest = max((line.strip() for line in old), key=len, default="")
    if not longest or longest not in source.text:
        return []
    for key, moved in ((str.rstrip, _as_it_is), (str.strip, _reindented)):
        found, firsts = [], _lines_like(source.lines, old, key)
        for first in firsts:
            new = moved(source.lines[first : first + len(old)], old, edit.new_text)
            if new is not None:
                found.append(_placed(source, first, len(old), new, through))
        if len(found) > 1 or (found and len(firsts) < PLACES):  # else the next place might fit as well
            return found
    return []


def _lines_like(lines: Sequence[str], old: Sequence[str], key: Callable[[str], str]) -> list[int]:
    """Indices from which on the lines are the old ones, by their keys. As a search in one text, so that lines which
    repeat cost no more than others."""
    hay = "\n".join(["", *map(key, lines), ""])
    needle = "\n".join(["", *map(key, old), ""])
    found: list[int] = []
    position = hay.find(needle)
    while position >= 0 and len(found) < PLACES:
        found.append(hay.count("\n", 0, position))
        position = hay.find(needle, position + 1)
    return found


def _placed(source: Source, first: int, count: int, new: str, through: bool) -> tuple[int, int, str]:
    start = source.start_of(first)
    last = source.lines[first + count - 1]
    end = start + sum(map(len, source.lines[first : first + count])) + count - 1
    if through:
        end = min(end + 1, len(source.text))
    elif last.endswith("\r"):
        end -= 1
    crlf = source.lines[first].endswith("\r")
    return start, end, new.replace("\n", "\r\n") if crlf else new


def _as_it_is(found: Sequence[str], old: Sequence[str], new: str) -> str:
    return new


def _reindented(found: Sequence[str], old: Sequence[str], new: str) -> str | None:
    """The new text indented as the place that was found, whose lines are the old ones but for their indentation; None
    where that differs from line to line."""
    pairs = [(_indent(one), _indent(other)) for one, other in zip(found, old, strict=True) if one.strip()]
    there, here = (set("".join(side)) for side in zip(*pairs, strict=True))
    move = _retab(pairs) if {*there, *here} == {" ", "\t"} else _shift(pairs)
    if move is None:
        return None
    lines = [move(line) if line.strip() else line for line in new.split("\n")]
    moved = [line for line in lines if line is not None]
    mixed = any("\t" in _indent(line) and " " in _indent(line) for line in moved)
    return "\n".join(moved) if len(moved) == len(lines) and not mixed else None


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _shift(pairs: Sequence[tuple[str, str]]) -> Callable[[str], str | None] | None:
    """Moves a line as far as all of these were moved."""
    there, here = (common(side) for side in zip(*pairs, strict=True))
    if any(one[len(there) :] != other[len(here) :] for one, other in pairs):
        return None

    def move(line: str) -> str | None:
        if line.startswith(here):
            return there + line[len(here) :]
        if there.startswith(here):
            return there[len(here) :] + line
        less = here.removeprefix(there)
        return line.removeprefix(less) if here.startswith(there) and line.startswith(less) else None

    return move


def _retab(pairs: Sequence[tuple[str, str]]) -> Callable[[str], str | None] | None:
    """Writes a line's indentation with tabs where these have them and had none, or the other way round."""
    tabs = any("\t" in one for one, _ in pairs)
    for width in TABS:
        if all(one.expandtabs(width) == other.expandtabs(width) for one, other in pairs):
            break
    else:
        return None

    def move(line: str) -> str:
        depth = len(_indent(line).expandtabs(width))
        indent = "\t" * (depth // width) + " " * (depth % width) if tabs else " " * depth
        return indent + line.lstrip(" \t")

    return move


def _ambiguous(source: Source, number: int, starts: Sequence[int]) -> str:
    lines = [source.line_at(start) for start in starts[:TOLD]]
    told = ", ".join(str(line + 1) for line in lines)
    more = " and more" if len(starts) > TOLD else ""
    count = f"{len(starts):,}{' or more' if len(starts) == MANY else ''}"
    shown = "\n…\n".join(around(source.lines, line, line + 1, 2) for line in lines[:3])
    return (
        f"Edit {number} fits {count} places, at lines {told}{more}. Add lines from above or below to its old_text, "
        f"until it fits the one that you mean:\n{shown}"
    )


def _not_found(source: Source, edits: Sequence[Edit], index: int, edit: Edit) -> str:
    head = f"The old_text of edit {index + 1} is not in the file."
    new = edit.new_text.strip("\n")
    if len(new) > 10 and new not in edit.old_text and new in source.text:
        line = source.line_at(source.text.find(new)) + 1
        head += f" Its new_text is, at line {line}: the change seems to be made already."
    for number, other in enumerate(edits, 1):
        if number != index + 1 and edit.old_text in other.new_text:
            head += (
                f" It is in the new_text of edit {number}, but each edit sees the file as it was before this call: "
                "make one edit of the two."
            )
            break
    old = _unescaped(edit.old_text)
    if old != edit.old_text and old in source.text:
        head += " It would be without its backslashes: escape line breaks, tabs and quotes once, as JSON does."
    return f"{head}\n{difference(source.text, source.lines, old.split(chr(10)))}"


def _unescaped(text: str) -> str:
    return text.replace("\\n", "\n").replace("\\t", "\t").replace('\\"', '"')
