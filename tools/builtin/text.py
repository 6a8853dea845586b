"""A file's bytes as text and back: line ends, byte order mark and encoding stay what they were."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Self

BOM = "\ufeff"
LINE = 500  # characters of one line that are shown
CHARACTERS = 20_000  # of one result


@dataclass(frozen=True, slots=True)
class Text:
    """text: the content, with plain line ends where all of them were CRLF, and without the byte order mark. encoding:
    Latin-1 where the bytes are no UTF-8, since that keeps each of them."""

    text: str
    encoding: Literal["utf-8", "latin-1"] = "utf-8"
    crlf: bool = False
    bom: bool = False

    @classmethod
    def of(cls, data: bytes) -> Self:
        """ValueError for what is no text."""
        if b"\0" in data[:8192]:
            raise ValueError("it is no text")
        encoding: Literal["utf-8", "latin-1"] = "utf-8"
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text, encoding = data.decode("latin-1"), "latin-1"
        crlf = data.count(b"\r\n") == data.count(b"\n") > 0
        bom = text.startswith(BOM)
        return cls((text.replace("\r\n", "\n") if crlf else text).removeprefix(BOM), encoding, crlf, bom)

    def plain(self, text: str) -> str:
        """A model's text with the line ends that `text` has."""
        return text.replace("\r\n", "\n") if self.crlf else text

    def data(self, text: str) -> bytes:
        """The bytes of a new content. UnicodeEncodeError for characters that the encoding does not have."""
        text = (BOM if self.bom else "") + text
        return (text.replace("\n", "\r\n") if self.crlf else text).encode(self.encoding)


def numbered(lines: list[str], first: int) -> str:
    """Lines with their numbers: right-aligned, a tab, the text."""
    width = len(str(first + len(lines) - 1))
    return "\n".join(f"{number:>{width}}\t{line}" for number, line in enumerate(lines, first))


def common(texts: Iterable[str]) -> str:
    """What all of them begin with."""
    texts = list(texts)
    first, last = min(texts), max(texts)
    return first[
        : next((n for n, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    ]


def cut(line: str, most: int = LINE) -> str:
    """The beginning of a line that is too long, and a word of what is missing."""
    line = line.removesuffix("\r")
    return line if len(line) <= most else f"{line[:most]} [cut: this line has {len(line):,} characters]"
