"""The guest's half of the wire: two lengths of four bytes (big-endian), a header of JSON, a body of raw bytes."""

import json
import struct

MAX_HEADER = 1 << 20
MAX_BODY = 4 << 20
CHUNK = 1 << 20  # the most of a file or of an output in one frame
TEXT = 200_000  # characters of a value or an error: both go into one header
NOTE = 100  # characters, more than `cut` puts in


def encode(header, body=b""):
    head = json.dumps(header, ensure_ascii=True).encode()
    return struct.pack(">II", len(head), len(body)) + head + body


class Frames:
    """Cuts a stream of bytes into `(header, body)`. ValueError for what is not a frame."""

    def __init__(self):
        self.buffer = bytearray()

    def feed(self, data):
        self.buffer += data
        found = []
        while len(self.buffer) >= 8:
            head, body = struct.unpack_from(">II", self.buffer)
            if head > MAX_HEADER or body > MAX_BODY:
                raise ValueError(f"a frame of {head} + {body} bytes")
            end = 8 + head + body
            if len(self.buffer) < end:
                break
            header = json.loads(bytes(self.buffer[8 : 8 + head]))
            if not isinstance(header, dict):
                raise ValueError("a frame whose header is not an object")
            found.append((header, bytes(self.buffer[8 + head : end])))
            del self.buffer[:end]
        return found


def cut(text, limit):
    """The head and the tail of a text that is too long, and how much went missing between them."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters cut …]\n{text[-half:]}"


def fit(text, limit):
    """Cut a text to `limit` characters, and further to what a header has room for, escaped as it is there."""
    limit = min(limit, TEXT)
    short = cut(text, limit) if len(text) > limit + NOTE else text  # what was cut once is not cut again
    while len(json.dumps(short)) > 2 * TEXT:
        limit //= 2
        short = cut(text, limit)
    return short
