"""Text that others wrote, made safe to show: nothing in it moves, hides, reorders or pushes anything out of sight."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

HEAD, TAIL = 2400, 1200  # characters that are shown of a long text
HEAD_LINES, TAIL_LINES = 40, 20  # and lines of it, and rows of a long list
WIDTH = 100  # characters of a row

_PIECE = re.compile(r"(?:[ \t]{0,200}\n){4,}| {9,}|.", re.DOTALL)
_BACK = re.compile(r"(?:\n[ \t]{0,200}){4,}| {9,}|.", re.DOTALL)  # the same, in a text that is read backwards
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Printed as nothing, or as a blank, though Python counts them as printable (Default_Ignorable_Code_Point, and more).
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U0001d159\U000e0100-\U000e01ef]"
)
# CSI sequences, then strings (OSC, DCS, ...) up to their terminator, then two-character ones (ECMA-48 §5).
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
# Controls but tab and newline; marks that reorder the line (CVE-2021-42574) or break it; halves of surrogate pairs.
CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]"
)
_STACKED = 3  # marks on one letter; more of them reach into other lines


def without_controls(text: str) -> str:
    """The text without anything that moves a cursor, sets a title or reorders a line; of a line that was overwritten
    (a progress bar), its last state. Takes linear time."""
    text = _SEQUENCES.sub("", text)
    if "\r" in text:
        text = "\n".join([line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")])
    return CONTROLS.sub("", text.replace("\u2028", "\n").replace("\u2029", "\n"))


def excerpt(text: str) -> tuple[str, int, str]:
    """Head, number of characters left out, and tail, so that what is shown of them stays short."""
    head = _length(_PIECE.finditer(text), HEAD, HEAD_LINES)
    if head == len(text):
        return text, 0, ""
    tail = _length(_BACK.finditer(text[::-1]), TAIL, TAIL_LINES)
    hidden = len(text) - head - tail
    return (text[:head], hidden, text[len(text) - tail :]) if hidden > 0 else (text, 0, "")


def _length(pieces: Iterable[re.Match[str]], characters: int, lines: int) -> int:
    """Of how many characters the pieces are that fit."""
    length = 0
    for piece in pieces:
        one = piece.group()
        characters -= 14 if len(one) > 1 else 1 if _is_plain(one) or one == "\n" else 10
        lines -= "\n" in one
        if characters < 0 or lines < 0:
            break
        length += len(one)
    return length


def quoted(text: str) -> str:
    """The text in quotes, on one line, with all that does not show written out.

    >>> print(quoted("to\\x1b[2J\\nAllow? yes"))
    "to\\x1b[2J\\nAllow? yes"
    """
    return f'"{visible(text, quote=True)}"'


def visible(text: str, *, quote: bool = False) -> str:
    """The text with all that moves, hides or reorders text written out; runs of spaces as their number."""
    shown: list[str] = []
    stacked = 0
    for match in _PIECE.finditer(text):
        piece = match.group()
        if piece[0] == " " and len(piece) > 1 and "\n" not in piece:
            is_indent = match.start() == 0 and len(piece) <= 40 and not quote
            shown.append(piece if is_indent else f"\\{{{len(piece):,} spaces}}")
            continue
        for char in piece:
            stacked = stacked + 1 if unicodedata.category(char) in ("Mn", "Me") else 0
            if stacked > _STACKED or not _is_plain(char):
                shown.append(_escaped(char))
            else:
                shown.append(f"\\{char}" if quote and char in '\\"' else char)
    return "".join(shown)


def _is_plain(char: str) -> bool:
    return char.isprintable() and not _BLANK.match(char)


def _escaped(char: str) -> str:
    code = ord(char)
    form = f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return _ESCAPES.get(char, form)


def chopped(text: str, width: int) -> list[str]:
    """The text in pieces of a width."""
    return [text[at : at + width] for at in range(0, len(text), width)]
