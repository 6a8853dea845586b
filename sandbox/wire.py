"""The host's half of the wire to the guest. What comes from there is hostile until checked here.

A frame is four bytes of length (big-endian) and that many bytes of JSON: an object with the `id` of the
request that it answers, and its `kind`.
"""

from __future__ import annotations

import asyncio
import json
import math
import struct
from typing import Any, Literal

MAX_FRAME = 4 << 20

Message = dict[str, Any]


class ProtocolError(ValueError):
    """The guest sent something that it never would if it were ours."""


class ChannelClosed(ConnectionError):
    """The guest is gone."""


def encode(message: Message) -> bytes:
    body = json.dumps(message).encode()
    return struct.pack(">I", len(body)) + body


def decode(body: bytes) -> Message:
    try:
        message = json.loads(body)
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


class Channel:
    """Messages over one connection. `receive` may be cancelled at any point without losing a byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._length: int | None = None

    @property
    def open(self) -> bool:
        """Whether the guest was still there when we last looked."""
        return not self._reader.at_eof() and not self._writer.is_closing()

    async def send(self, message: Message) -> None:
        """Raises ChannelClosed."""
        self._writer.write(encode(message))
        try:
            await self._writer.drain()
        except ConnectionError as error:
            raise ChannelClosed from error

    async def receive(self) -> Message:
        """The next message. Raises ChannelClosed or ProtocolError."""
        try:
            if self._length is None:
                (length,) = struct.unpack(">I", await self._reader.readexactly(4))
                if length > MAX_FRAME:
                    raise ProtocolError(f"a frame of {length} bytes")
                self._length = length
            body = await self._reader.readexactly(self._length)
        except (EOFError, ConnectionError) as error:
            raise ChannelClosed from error
        self._length = None
        return decode(body)

    def close(self) -> None:
        self._writer.close()
