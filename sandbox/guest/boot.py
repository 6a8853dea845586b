"""The first code in the container: takes the rest of the guest from the host, over the channel, and starts it.

It comes as the text of a command, so nothing of ours is a file in there and a change of it needs no new image.
"""

import importlib
import importlib.machinery
import json
import linecache
import os
import socket
import struct
import sys


class Sources:
    """Finds the guest's modules among what the host sent."""

    def __init__(self, sources):
        self.sources = sources

    def find_spec(self, name, path=None, target=None):
        if name in self.sources:
            return importlib.machinery.ModuleSpec(name, self, origin=f"<guest {name}>")
        return None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        source, file = self.sources[module.__name__], module.__spec__.origin
        linecache.cache[file] = len(source), None, source.splitlines(True), file  # tracebacks show the lines
        exec(compile(source, file, "exec"), module.__dict__)  # noqa: S102 - it is what importing does


def connect(where):
    """Descriptors to read from the host and to write to it: a unix socket, or what were stdin and stdout."""
    if where != "-":
        host = socket.socket(socket.AF_UNIX)
        host.connect(where)
        fd = host.detach()
        return fd, fd
    reader, writer = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)  # a stray print must not end up between frames
    return reader, writer


def read(fd, size):
    data = b""
    while len(data) < size:
        piece = os.read(fd, size - len(data))
        if not piece:
            sys.exit(0)  # the host went away
        data += piece
    return data


def boot(where):
    reader, writer = connect(where)
    head, body = struct.unpack(">II", read(reader, 8))
    header, body = json.loads(read(reader, head)), read(reader, body)
    sources, start = {}, 0
    for name, size in header["modules"]:
        sources[name] = body[start : start + size].decode()
        start += size
    sys.meta_path.insert(0, Sources(sources))
    importlib.import_module("supervisor").main(reader, writer, header["config"])


boot(sys.argv[1])
