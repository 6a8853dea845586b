"""Real containers for the tests marked `docker`: one for each test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from egress_code import Code

from fastslow.sandbox import DockerMissing, DockerSandbox, DockerSession, Limits, docker_client, image_exists

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SMALL = Limits(memory=256 << 20, disk=64 << 20, upload=8 << 20, output=10_000, pids=64, seconds=10)


@pytest.fixture(scope="session")
def small() -> Limits:
    return SMALL


@pytest.fixture(scope="session")
def client() -> Iterator[object]:
    """The daemon's client. Without daemon or image the tests fail, and say what to do."""
    try:
        client = docker_client()
    except DockerMissing as error:
        pytest.fail(str(error))
    if not image_exists(client):
        pytest.fail("the sandbox image is not built; run `fastslow sandbox build`")
    yield client
    client.close()


@pytest.fixture
async def session(client: object) -> AsyncIterator[DockerSession]:
    sandbox = DockerSandbox(SMALL)
    try:
        yield await sandbox.session()
    finally:
        await asyncio.wait_for(sandbox.aclose(), 20)


async def living(session: DockerSession, most: int) -> int:
    """How many processes the container has, zombies aside, once there are no more than `most`, or after a second.

    With nothing running: init, guest, each session's interpreter and standby. What was killed takes its time to end.
    """
    for _ in range(20):
        listed = await session.shell("grep -L 'State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l")
        count = int(listed.stdout) - 3  # bash, grep, wc
        if count <= most:
            break
        await asyncio.sleep(0.05)
    return count


@pytest.fixture
async def listen() -> AsyncIterator[Callable[[Handler], Awaitable[str]]]:
    """Starts a server on this machine's loopback; its `address:port`."""
    servers = []

    async def start(handler: Handler) -> str:
        async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, EOFError):
                await handler(reader, writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

        servers.append(await asyncio.start_server(served, "127.0.0.1", 0))
        return f"127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}"

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


@pytest.fixture
async def code() -> AsyncIterator[Callable[..., Code]]:
    made: list[Code] = []

    def make(*allow: str, names: dict[str, list[str]] | None = None) -> Code:
        made.append(Code(*allow, names=names))
        return made[-1]

    yield make
    for each in made:
        await each.proxy.aclose()
        await each.proxy.aclose()
