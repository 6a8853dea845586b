"""The host's half of the wire to the guest. What comes from there is hostile until checked here.

A frame is two lengths of four bytes each (big-endian), then a header of the first length, a JSON object, then a body
of the second, raw bytes. The header says what the body is. `docs/sandbox.md` lists the frames.
"""

from __future__ import annotations

import asyncio
import json
import math
import struct
from dataclasses import dataclass
from typing import Any, Literal, get_args

from fastslow.sandbox.sandbox import Mode

MAX_HEADER = 1 << 20
MAX_BODY = 4 << 20
CHUNK = 1 << 20  # the most of a file or of an output that we put into one frame

MODES: tuple[Mode, ...] = get_args(Mode)

Message = dict[str, Any]


class ProtocolError(ValueError):
    """The guest sent something that it never would if it were ours."""


class GuestGone(ConnectionError):
    """Nobody is at the other end any more."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What crosses the wire."""

    header: Message
    body: bytes = b""


def encode(header: Message, body: bytes = b"") -> bytes:
    """ValueError for what the other side would refuse."""
    head = json.dumps(header).encode()
    if len(head) > MAX_HEADER or len(body) > MAX_BODY:
        raise ValueError(f"a frame holds {MAX_HEADER} + {MAX_BODY} bytes at most, got {len(head)} + {len(body)}")
    return struct.pack(">II", len(head), len(body)) + head + body


def decode(head: bytes) -> Message:
    """The header. Raises ProtocolError."""
    try:
        message = json.loads(head)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a frame that is not JSON ({type(error).__name__})") from None
    if not isinstance(message, dict):
        raise ProtocolError("a frame that is not an object")
    return message


def text(message: Message, key: str, limit: int) -> str:
    value = message.get(key)
    if not isinstance(value, str) or len(value) > limit:
        raise ProtocolError(f"{key!r} is not a text of at most {limit} characters")
    return value.encode("utf-8", "replace").decode()  # half a surrogate pair would break whoever prints it


def integer(message: Message, key: str, low: int, high: int) -> int:
    value = message.get(key)
    if type(value) is not int or not low <= value <= high:
        raise ProtocolError(f"{key!r} is not an integer from {low} to {high}")
    return value


def number(message: Message, key: str) -> float:
    value = message.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ProtocolError(f"{key!r} is not a number of seconds")
    return float(value)


def flag(message: Message, key: str) -> bool:
    value = message.get(key)
    if not isinstance(value, bool):
        raise ProtocolError(f"{key!r} is neither true nor false")
    return value


def stream(message: Message, key: str) -> Literal["stdout", "stderr"]:
    value = message.get(key)
    if value == "stdout":
        return "stdout"
    if value == "stderr":
        return "stderr"
    raise ProtocolError(f"{key!r} is neither stdout nor stderr")


def mode(value: object) -> Mode:
    for known in MODES:
        if value == known:
            return known
    raise ProtocolError("a mode that is neither a file's, nor an executable's, nor a link's")


class FrameStream:
    """Frames over one connection. `receive` may be cancelled at any point without losing a byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._lengths: tuple[int, int] | None = None

    @property
    def open(self) -> bool:
        """Whether the guest was still there when we last looked."""
        return not self._reader.at_eof() and not self._writer.is_closing()

    async def send(self, header: Message, body: bytes = b"") -> None:
        """Raises GuestGone."""
        self._writer.write(encode(header, body))
        try:
            await self._writer.drain()
        except ConnectionError as error:
            raise GuestGone from error

    async def receive(self) -> Frame:
        """The next frame. Raises GuestGone or ProtocolError."""
        try:
            if self._lengths is None:
                head, body = struct.unpack(">II", await self._reader.readexactly(8))
                if head > MAX_HEADER or body > MAX_BODY:
                    raise ProtocolError(f"a frame of {head} + {body} bytes")
                self._lengths = head, body
            whole = await self._reader.readexactly(sum(self._lengths))
        except (EOFError, ConnectionError) as error:
            raise GuestGone from error
        head, self._lengths = self._lengths[0], None
        return Frame(decode(whole[:head]), whole[head:])

    def close(self) -> None:
        self._writer.close()
