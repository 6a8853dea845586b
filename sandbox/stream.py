"""Frames to and from a container on a daemon that shares no folder with us: its stdin, stdout and stderr, attached.

The daemon turns an HTTP connection into a stream of bytes (`POST /containers/<id>/attach`): what we write is stdin;
what comes is cut into pieces with eight bytes before each, stream (1 stdout, 2 stderr), three zeros, length.
https://docs.docker.com/engine/api/v1.41/#operation/ContainerAttach
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fastslow.sandbox.errors import DockerMissing, SandboxError
from fastslow.sandbox.wire import FrameStream

if TYPE_CHECKING:
    from docker.tls import TLSConfig

STDERR = 2
KEPT = 2000  # bytes of stderr, for error messages
BUFFER = 1 << 20
CONNECT_SECONDS = 10.0


class Demultiplexed(asyncio.StreamReader):
    """The stdout of an attached stream. As with any StreamReader, a cancelled read loses nothing.

    stderr: the last of what came there.
    """

    def __init__(self, source: asyncio.StreamReader) -> None:
        super().__init__()
        self.stderr = b""
        self._source = source
        self._stream = self._left = 0  # of the piece that is being read
        self._stdout = bytearray()

    def at_eof(self) -> bool:
        return self._source.at_eof() and not self._stdout

    async def readexactly(self, n: int) -> bytes:
        while len(self._stdout) < n:
            if not self._left:
                self._stream, self._left = struct.unpack(">BxxxI", await self._source.readexactly(8))
                continue
            data = await self._source.read(min(self._left, BUFFER))
            if not data:
                raise asyncio.IncompleteReadError(bytes(self._stdout), n)
            self._left -= len(data)
            if self._stream == STDERR:
                self.stderr = (self.stderr + data)[-KEPT:]
            else:
                self._stdout += data
        found = bytes(self._stdout[:n])
        del self._stdout[:n]
        return found


class Attached(FrameStream):
    """Frames over the attached streams of a container, which may start after us."""

    def __init__(self, reader: Demultiplexed, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self._demultiplexed = reader

    @property
    def stderr(self) -> str:
        """The last words that are not frames, for error messages. Hostile."""
        return self._demultiplexed.stderr.decode("utf-8", "replace").strip()


async def attach(base: str, tls: TLSConfig | None, container: str) -> Attached:
    """Attach to a container of the daemon at `base`, as `unix://…`, `tcp://…`, `http(s)://…`.

    Raises DockerMissing or SandboxError.
    """
    request = (
        f"POST /containers/{container}/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\n"
        "Host: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
    )
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await _connect(base, tls)
            writer.write(request.encode())
            head = await reader.readuntil(b"\r\n\r\n")
    except (OSError, EOFError, asyncio.LimitOverrunError) as error:
        if writer is not None:
            writer.close()
        raise DockerMissing(f"the Docker daemon at {base!r} did not attach to the sandbox: {error!r}") from error
    if head.split(b" ", 2)[1:2] not in ([b"101"], [b"200"]):
        writer.close()
        said = head.splitlines()[0].decode("utf-8", "replace")
        raise SandboxError(f"the Docker daemon at {base!r} did not attach to the sandbox: {said}")
    return Attached(Demultiplexed(reader), writer)


async def _connect(base: str, tls: TLSConfig | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if base.startswith("unix://"):
        return await asyncio.open_unix_connection(base.removeprefix("unix://"), limit=BUFFER)
    address = urlsplit(base)
    secured = None if tls is None and address.scheme != "https" else _context(tls)
    return await asyncio.open_connection(address.hostname, address.port, ssl=secured, limit=BUFFER)


def _context(tls: TLSConfig | None) -> ssl.SSLContext:
    """What docker-py makes of the same settings."""
    context = ssl.create_default_context(cafile=tls.ca_cert if tls is not None else None)
    if tls is not None and not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls is not None and tls.cert:
        context.load_cert_chain(*tls.cert)
    return context
