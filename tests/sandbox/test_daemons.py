"""Daemons elsewhere, several at once, and daemons that go away. `tests/soak` has the ones with a daemon each."""

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from docker.tls import TLSConfig

from fastslow.sandbox import DockerMissing, DockerSandbox, Limits, SessionDied
from fastslow.sandbox.owner import LABEL, Owner

pytestmark = pytest.mark.docker


class Relay:
    """The local daemon behind a TCP port, as another machine's would be. `stop` is what its crash looks like."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.port = 0
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def host(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        theirs, mine = await asyncio.open_unix_connection("/var/run/docker.sock")
        copying = [asyncio.create_task(_copy(reader, mine)), asyncio.create_task(_copy(theirs, writer))]
        try:
            await asyncio.wait(copying, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in copying:
                one.cancel()
            await asyncio.gather(*copying, return_exceptions=True)
            writer.close()
            mine.close()
            with contextlib.suppress(OSError):
                await mine.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


@pytest.fixture
async def relay(client: object) -> AsyncIterator[Relay]:
    relay = Relay()
    await relay.start()
    yield relay
    await relay.stop()


@asynccontextmanager
async def opened(*hosts: str, limits: Limits, **options: Any) -> AsyncIterator[DockerSandbox]:
    sandbox = DockerSandbox(limits, host=hosts, **options)
    try:
        yield sandbox
    finally:
        await asyncio.wait_for(sandbox.aclose(), 30)


def shared(client: Any, container: str) -> list[str]:
    """Folders of this machine that a container sees; its terminals are a volume of its own."""
    mounts = client.api.inspect_container(container)["Mounts"]
    return [mount["Destination"] for mount in mounts if mount["Type"] == "bind"]


def mine(client: Any) -> list[Any]:
    return list(client.api.containers(all=True, filters={"label": f"{LABEL}={Owner.me().label()}"}))


async def test_a_session_over_the_attached_stdio(client: Any, relay: Relay, small: Limits) -> None:
    async with opened(relay.host, limits=small) as sandbox:
        session = await sandbox.session()
        assert not shared(client, mine(client)[0]["Id"])
        assert (await session.run("x = 20; print('héllo', flush=True); x + 1")).value == "21"
        await session.put("big.bin", bytes(range(256)) * 20_000)
        assert await session.get("big.bin") == bytes(range(256)) * 20_000
        flood = await session.run("import os\nfor _ in range(200): os.write(1, b'y' * 65536)\nos.write(2, b'end')")
        assert flood.status == "ok"
        assert flood.truncated
        assert flood.stderr == "end"
        stopped = await session.run("while True: pass", seconds=0.3)
        assert stopped.status == "timeout"
        assert (await session.run("x")).status in ("ok", "error")
    assert not mine(client)


def certificates(folder: Path) -> Path:
    """Keys and certificates of an authority, of a daemon on 127.0.0.1 and of its client, as `dockerd --tlsverify`
    takes them."""

    def openssl(command: str) -> None:
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)

    new = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    for name in ("ca", "other"):
        openssl(f"{new} -x509 -days 2 -subj /CN={name} -keyout {name}-key.pem -out {name}.pem")
    for name in ("server", "client"):
        (folder / "names").write_text("subjectAltName = IP:127.0.0.1\n")
        openssl(f"{new} -subj /CN={name} -keyout {name}-key.pem -out {name}.csr")
        signing = "-CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile names"
        openssl(f"x509 -req -in {name}.csr {signing} -out {name}.pem")
    return folder


async def test_a_daemon_behind_tls_that_asks_for_a_certificate(
    client: Any, tmp_path: Path, small: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = await asyncio.to_thread(certificates, tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "ca.pem")
    context.load_cert_chain(folder / "server.pem", folder / "server-key.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    relay = Relay(context)
    await relay.start()

    def settings(authority: str, *, known: bool = True) -> TLSConfig:
        pair = (str(folder / "client.pem"), str(folder / "client-key.pem")) if known else None
        return TLSConfig(client_cert=pair, ca_cert=str(folder / authority), verify=True)

    async with opened(relay.host, limits=small, tls=settings("ca.pem")) as sandbox:
        session = await sandbox.session()
        assert (await session.run("print('x' * 100_000); 6 * 7", seconds=5)).value == "42"
        await session.put("a", bytes(1 << 20))
        assert await session.get("a") == bytes(1 << 20)
        assert len(await sandbox.ls()) >= 1
    for tls in (None, settings("other.pem"), settings("ca.pem", known=False)):
        async with opened(relay.host, limits=small, tls=tls) as sandbox:
            with pytest.raises(DockerMissing):
                await sandbox.session()
    # The same by the variables of Docker's own client.
    for name in ("cert", "key"):
        (folder / f"{name}.pem").symlink_to(folder / {"cert": "client.pem", "key": "client-key.pem"}[name])
    monkeypatch.setenv("DOCKER_HOST", relay.host)
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(folder))
    sandbox = DockerSandbox(small)
    try:
        assert (await (await sandbox.session()).run("1")).value == "1"
    finally:
        await sandbox.aclose()
    await relay.stop()
    assert not mine(client)


async def test_the_guest_leaves_when_the_attached_stream_ends(client: Any, relay: Relay, small: Limits) -> None:
    async with opened(relay.host, limits=small) as sandbox:
        session = await sandbox.session()
        await relay.stop()
        with pytest.raises(SessionDied):
            await session.run("1")
        async with asyncio.timeout(15):
            while mine(client):  # noqa: ASYNC110 - it is the daemon that changes
                await asyncio.sleep(0.05)
        await relay.start()
        assert (await (await sandbox.session()).run("2")).value == "2"
    assert not mine(client)


async def test_an_image_without_our_python_says_so(client: Any, relay: Relay, small: Limits) -> None:
    for hosts in ((relay.host,), ("unix:///var/run/docker.sock",)):
        async with opened(*hosts, limits=small) as sandbox:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("fastslow.sandbox.container._guest", lambda: ([("supervisor", 7)], b"1 / 0 #"))
                with pytest.raises(Exception, match="ended at once"):
                    await sandbox.session()
    assert not mine(client)


async def test_sessions_are_spread_over_the_daemons(client: Any, relay: Relay, small: Limits) -> None:
    async with opened("unix:///var/run/docker.sock", relay.host, limits=small) as sandbox:
        sessions = [await sandbox.session() for _ in range(4)]
        values = await asyncio.gather(*(session.run("2 + 2") for session in sessions))
        assert [done.value for done in values] == ["4"] * 4
        ways = [bool(shared(client, facts["Id"])) for facts in mine(client)]
        assert sorted(ways) == [False, False, True, True]


async def test_one_daemon_going_hurts_no_session_on_the_other(relay: Relay, client: Any, small: Limits) -> None:
    async with opened("unix:///var/run/docker.sock", relay.host, limits=small) as sandbox:
        here, there = [await sandbox.session() for _ in range(2)]
        await relay.stop()
        with pytest.raises(SessionDied):
            await there.run("1")
        assert (await here.run("1")).value == "1"
        more = await asyncio.gather(*(sandbox.session() for _ in range(3)))
        assert [(await session.run("5")).value for session in more] == ["5"] * 3
        await relay.start()
    assert not mine(client)


async def test_no_daemon_at_all_names_each(small: Limits) -> None:
    async with opened("tcp://127.0.0.1:9", "unix:///nowhere/docker.sock", limits=small) as sandbox:
        with pytest.raises(DockerMissing, match=r"127\.0\.0\.1:9.*nowhere|nowhere.*127\.0\.0\.1:9"):
            await sandbox.session()
    async with opened("ssh://-oProxyCommand=evil", limits=small) as sandbox:
        with pytest.raises(ValueError, match="ssh://user@host"):
            await sandbox.session()


async def test_ls_tells_whose_containers_there_are(client: Any, small: Limits) -> None:
    async with opened("unix:///var/run/docker.sock", limits=small) as sandbox:
        await sandbox.session()
        [info] = [info for info in await sandbox.ls() if info.owner == Owner.me().pid]
        assert info.alive
        assert info.name.startswith("fastslow-")
        assert info.image.startswith("fastslow-sandbox:")
        assert info.daemon == "unix:///var/run/docker.sock"
        assert info.status.startswith("Up")
        assert 0 <= info.age < 60
