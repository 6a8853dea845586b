"""What nobody wants any more is swept at the next start: of killed processes, of their forks, of other machines."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_daemons import Relay

from fastslow.sandbox import DockerSandbox, Limits, image_tag
from fastslow.sandbox.owner import DEADLINE, LABEL, LIFETIME, Owner, labels, lives, reap_folders, started

docker = pytest.mark.docker
ELSEWHERE = "another-boot/pid:[1]/7/1"
# The guest is stopped, so it never learns that its host is gone.
STOP = "import os, threading; threading.Timer(0.3, os.kill, (os.getppid(), 19)).start()"
HOST = f"""
import asyncio
from fastslow.sandbox import DockerSandbox, Limits
async def main():
    session = await DockerSandbox(Limits(memory=256 << 20, disk=64 << 20)).session()
    await session.run({STOP!r})
    await asyncio.sleep(0.6)
    print("ready", flush=True)
    await asyncio.sleep(100)
asyncio.run(main())
"""


@pytest.fixture
def make(client: Any) -> Iterator[Callable[..., str]]:
    """Makes a container with labels of anybody's, which runs; its id."""
    made: list[str] = []

    def make(**labels: str) -> str:
        told = {f"fastslow.{name}": value for name, value in labels.items()}
        container = client.api.create_container(image_tag(), entrypoint=["sleep", "300"], labels=told)
        made.append(container["Id"])
        client.api.start(container["Id"])
        return str(container["Id"])

    yield make
    for name in made:
        with contextlib.suppress(Exception):
            client.api.remove_container(name, force=True)


def there(client: Any, container: str) -> bool:
    return bool(client.api.containers(all=True, filters={"id": container}))


def volumes(client: Any) -> set[str]:
    return {volume["Name"] for volume in client.api.volumes()["Volumes"] or ()}


def owned(client: Any, owner: Owner) -> list[str]:
    found = client.api.containers(all=True, filters={"label": f"{LABEL}={owner.label()}"})
    return [facts["Id"] for facts in found]


def of(pid: int) -> Owner:
    me = Owner.me()
    return Owner(me.boot, me.namespace, pid, started(pid))


def wait_for_death(owner: Owner) -> None:
    """Without asking about it, as a parent would."""
    deadline = time.monotonic() + 10
    while lives(owner.pid, owner.started) and time.monotonic() < deadline:
        time.sleep(0.01)


async def start_once(limits: Limits) -> None:
    """What the next process does that needs a sandbox."""
    sandbox = DockerSandbox(limits)
    try:
        await sandbox.session()
    finally:
        await sandbox.aclose()


# --- processes ---------------------------------------------------------------------------------------


def test_a_killed_process_lives_no_more_though_nobody_asked_about_it() -> None:
    process = subprocess.Popen(["sleep", "100"])
    owner = of(process.pid)
    ticks = owner.started
    assert lives(process.pid, ticks)
    assert not lives(process.pid, "1"), "the pid is another's now"
    process.kill()
    wait_for_death(owner)
    assert Path(f"/proc/{process.pid}").exists(), "its parent, this test, has not asked about it"
    assert not lives(process.pid, ticks)
    process.wait()
    assert not lives(process.pid, ticks)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_process_that_is_hidden_from_us_may_live() -> None:
    other = subprocess.Popen(["sleep", "100"])
    code = (
        "import sys; from pathlib import Path; from fastslow.sandbox.owner import lives\n"
        "pid = int(sys.argv[1]); print(Path(f'/proc/{pid}').exists(), lives(pid, '1'), lives(2**22 + 1, '1'))"
    )
    hidden = ["unshare", "--mount", "sh", "-c", 'mount -t proc -o hidepid=2 proc /proc && exec "$@"', "sh"]
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
    try:
        done = subprocess.run(
            [*hidden, *user, sys.executable, "-c", code, str(other.pid)],
            text=True,
            capture_output=True,
        )
    finally:
        other.kill()
        other.wait()
    if "mount" in done.stderr or "Permission" in done.stderr:
        pytest.skip(done.stderr)
    assert done.stdout.split() == ["False", "True", "False"], done.stderr


@pytest.mark.parametrize("pid", ["²", "-1", "9" * 5000, "", "1e3"])
def test_an_owner_with_a_forged_pid_is_none(pid: str) -> None:
    me = Owner.me()
    assert Owner.parse(f"{me.boot}/{me.namespace}/{pid}/1") is None


# --- containers --------------------------------------------------------------------------------------


@docker
async def test_a_container_says_whose_it_is_and_until_when(client: Any, small: Limits) -> None:
    sandbox = DockerSandbox(small)
    try:
        await sandbox.session()
        [container] = owned(client, Owner.me())
        told = client.api.inspect_container(container)["Config"]["Labels"]
        assert float(told[DEADLINE]) == pytest.approx(time.time() + LIFETIME, abs=60)
    finally:
        await sandbox.aclose()


@docker
async def test_what_a_killed_process_left_goes_at_the_next_start(client: Any, small: Limits) -> None:
    before = volumes(client)
    process = await asyncio.to_thread(subprocess.Popen, [sys.executable, "-c", HOST], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout
        assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
        owner = of(process.pid)
        folder, new = owner.folder(), volumes(client) - before
        await start_once(small)
        assert len(owned(client, owner)) == 1, "its owner lives"
        assert folder.exists()
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(wait_for_death, owner)
        assert len(owned(client, owner)) == 1
        await start_once(small)
        assert not owned(client, owner)
        assert not folder.exists()
        assert new
        assert not new & volumes(client)


def in_a_fork(sandbox: DockerSandbox, pipe: Any) -> None:
    """A worker that uses a sandbox that its parent made."""

    async def main() -> None:
        session = await sandbox.session()
        await session.run(STOP)
        await asyncio.sleep(0.6)
        pipe.send("ready")
        await asyncio.sleep(100)

    asyncio.run(main())


@docker
async def test_a_fork_owns_what_it_makes_and_its_parent_does_not(client: Any, small: Limits) -> None:
    mine, theirs = multiprocessing.Pipe()
    worker = multiprocessing.get_context("fork").Process(target=in_a_fork, args=(DockerSandbox(small), theirs))
    worker.start()
    assert worker.pid
    assert await asyncio.to_thread(mine.poll, 60)
    owner = of(worker.pid)
    assert len(owned(client, owner)) == 1
    assert not owned(client, Owner.me())
    worker.kill()
    await asyncio.to_thread(wait_for_death, owner)
    await start_once(small)  # the parent, which lives, and has not asked about its worker
    assert not owned(client, owner)
    worker.join()


@docker
async def test_what_a_killed_ray_actor_left_goes_at_the_next_start(
    client: Any, small: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    folder = tempfile.mkdtemp(prefix="r-")  # short: sockets lie in it

    class Worker:
        async def work(self) -> int:
            from fastslow.sandbox import DockerSandbox, Limits

            self.session = await DockerSandbox(Limits(memory=256 << 20, disk=64 << 20)).session()
            await self.session.run(STOP)
            await asyncio.sleep(0.6)
            return os.getpid()

    def cluster() -> Owner:
        ray.init(
            num_cpus=1, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False, _temp_dir=folder
        )
        kept = {"lifetime": "detached", "name": "owner"}  # by nobody's reference: Ray has lost count of them once
        actor = ray.remote(Worker).options(num_cpus=0.1, **kept).remote()
        owner = of(ray.get(actor.work.remote(), timeout=60))
        assert len(owned(client, owner)) == 1
        os.kill(owner.pid, signal.SIGKILL)
        wait_for_death(owner)
        return owner

    try:
        owner = await asyncio.to_thread(cluster)
        assert len(owned(client, owner)) == 1
        await start_once(small)
        assert not owned(client, owner)
    finally:
        await asyncio.to_thread(ray.shutdown)
        shutil.rmtree(folder, ignore_errors=True)


@docker
async def test_labels_that_anybody_may_have_written(client: Any, make: Callable[..., str], small: Limits) -> None:
    me = Owner.me()
    now, later = str(int(time.time()) - 1), str(int(time.time()) + 10**9)
    gone = {
        "another process's pid": make(owner=f"{me.boot}/{me.namespace}/{os.getpid()}/1"),
        "out of time, and its owner lives": make(**{**_named(labels()), "deadline": now}),
        "out of time, elsewhere": make(owner=ELSEWHERE, deadline=now),
        "out of time, of nobody": make(owner="nonsense", deadline=now),
    }
    stay = {
        "ours": make(**_named(labels())),
        "elsewhere": make(owner=ELSEWHERE, deadline=later),
        "no deadline": make(owner=ELSEWHERE),
        "no number": make(owner=ELSEWHERE, deadline="²"),
        "no owner": make(owner="nonsense"),
        "no pid": make(owner=f"{me.boot}/{me.namespace}/²/1", deadline=later),
        "none of ours": make(deadline=now),
    }
    sandbox = DockerSandbox(small)
    try:
        await sandbox.prune()
        assert [name for name, container in gone.items() if there(client, container)] == []
        assert [name for name, container in stay.items() if not there(client, container)] == []
        assert all(info.alive for info in await sandbox.ls())
    finally:
        await sandbox.aclose()


def _named(told: dict[str, str]) -> dict[str, str]:
    return {name.removeprefix("fastslow."): value for name, value in told.items()}


class Refusing(Relay):
    """A daemon that cannot remove one container."""

    container = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        through = asyncio.StreamReader()
        task = asyncio.create_task(super()._serve(through, writer))
        while data := await reader.read(1 << 16):
            if data.startswith(b"DELETE") and self.container.encode() in data.split(b"\r\n")[0]:
                body = b'{"message": "device or resource busy"}'
                writer.write(b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            else:
                through.feed_data(data)
        through.feed_eof()
        await task


@docker
async def test_what_cannot_be_removed_keeps_nobody_from_starting(
    client: Any, make: Callable[..., str], small: Limits, caplog: pytest.LogCaptureFixture
) -> None:
    stuck, other = (make(owner=ELSEWHERE, deadline="1") for _ in range(2))
    relay = Refusing()
    relay.container = stuck
    await relay.start()
    sandbox = DockerSandbox(small, host=relay.host)
    try:
        session = await sandbox.session()
        assert (await session.run("6 * 7")).value == "42"
    finally:
        await sandbox.aclose()
        await relay.stop()
    assert "device or resource busy" in caplog.text
    assert (there(client, stuck), there(client, other)) == (True, False)


# --- folders -----------------------------------------------------------------------------------------


def test_folders_of_owners_that_are_gone_or_past_their_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    me = Owner.me()
    elsewhere = Owner("another", "pid:[1]", 7, "1")
    old = time.time() - LIFETIME - 60
    gone = [Owner(me.boot, me.namespace, os.getpid(), "1").folder(), elsewhere.folder()]
    stay = [me.folder(), elsewhere.folder()]
    for folder in (gone[1], stay[0]):
        os.utime(folder, (old, old))
    for name in ("fastslow-eval-a-b-c", "fastslow-1-²-1-x", f"fastslow-1-{'9' * 200}-1-x"):
        stay.append(tmp_path / name)
        stay[-1].mkdir()
    reap_folders(me)
    assert [folder for folder in gone if folder.exists()] == []
    assert [folder for folder in stay if not folder.exists()] == []
