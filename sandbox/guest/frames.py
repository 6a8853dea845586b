"""The guest's half of the wire: a frame is four bytes of length (big-endian) and that many bytes of JSON."""

import json
import struct

MAX_FRAME = 8 << 20


def encode(message):
    body = json.dumps(message, ensure_ascii=True).encode()
    return struct.pack(">I", len(body)) + body


class Frames:
    """Cuts a stream of bytes into messages. ValueError for what is not a frame."""

    def __init__(self):
        self.buffer = bytearray()

    def feed(self, data):
        self.buffer += data
        messages = []
        while len(self.buffer) >= 4:
            (length,) = struct.unpack_from(">I", self.buffer)
            if length > MAX_FRAME:
                raise ValueError(f"a frame of {length} bytes")
            if len(self.buffer) < 4 + length:
                break
            message = json.loads(bytes(self.buffer[4 : 4 + length]))
            del self.buffer[: 4 + length]
            if not isinstance(message, dict):
                raise ValueError("a frame that is not an object")
            messages.append(message)
        return messages


def cut(text, limit):
    """The head and the tail of a text that is too long, and how much went missing between them."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters cut …]\n{text[-half:]}"
