"""Programs that mean harm (`hostile/<kind>/<name>.py`): each ends as it may, the host is unharmed, the next one works.

A program's first line says how it may end. All of a kind run in one container, one after the other, unless one of them
manages to end it: then only its own session is over, and the next gets another.
"""

import os
import resource
import tempfile
from pathlib import Path

import psutil
import pytest

from fastslow.sandbox import DockerSandbox, DockerSession, Execution, Limits, SessionDied

PROGRAMS = sorted((Path(__file__).parent / "hostile").glob("*/*.py"))
KINDS = sorted({path.parent.name for path in PROGRAMS})
STAINED = ("disk", "memory", "files", "interpreter")  # what these leave is theirs: full disks, broken modules
LIMITS = Limits(memory=384 << 20, disk=64 << 20, pids=64, output=20_000, upload=8 << 20, seconds=1.0)


def test_there_are_enough() -> None:
    assert len(PROGRAMS) >= 40
    assert len(KINDS) >= 8


async def attack(session: DockerSession, path: Path) -> Execution | None:
    """What became of it; None when it ended its own container."""
    with path.open(encoding="utf-8") as file:
        code = file.read()
    allowed = code.splitlines()[0].removeprefix("# expect: ").split()
    try:
        execution = await session.run(code)
    except SessionDied:
        return None
    assert execution.status in allowed, f"{path.stem}: {execution.status}, {execution.error[:500]}"
    assert len(execution.stdout) + len(execution.stderr) < 4 * LIMITS.output
    assert len(execution.error) < 2 * LIMITS.output
    try:
        files = await session.files()
    except ValueError:  # too many, or taken away: refused in words
        files = ()
    for info in files:
        assert not os.path.isabs(info.path)
        assert ".." not in info.path.split("/")
    return execution


async def works(session: DockerSession) -> bool:
    """Whether the session does what a session does. One that is over says so at once.

    Code that garbled its own interpreter's wire may lose or forge the next runs with it, and no more.
    """
    try:
        for _ in range(3):
            first = await session.run("1 + 1")
            if first.value == "2":
                break
        assert first.value == "2", first
        assert (await session.shell("echo fine")).stdout == "fine\n"
        return True
    except SessionDied:
        return False


def harm(before: set[str], descriptors: int, memory: int) -> str:
    """What changed on the host that should not have."""
    me = psutil.Process()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    if grown > 200 << 10:
        return f"our memory grew by {grown >> 10} MiB"
    if me.num_fds() > descriptors + 40:
        return f"{me.num_fds() - descriptors} descriptors more"
    made = {name for name in os.listdir(tempfile.gettempdir()) if name.startswith(("evil", "owned"))} - before
    return f"files appeared: {made}" if made else ""


@pytest.mark.docker
@pytest.mark.parametrize("kind", KINDS)
async def test_held(client: object, kind: str) -> None:
    sandbox = DockerSandbox(LIMITS)
    bystander = await sandbox.session()
    await bystander.run("x = 'untouched'")
    before = set(os.listdir(tempfile.gettempdir()))
    descriptors, memory = psutil.Process().num_fds(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        session = await sandbox.session()
        for path in PROGRAMS:
            if path.parent.name != kind:
                continue
            survived = await attack(session, path) is not None and (kind in STAINED or await works(session))
            if not survived or kind in STAINED:
                await session.aclose()
                session = await sandbox.session()
                assert await works(session), f"after {path.stem}"
            assert harm(before, descriptors, memory) == "", path.stem
        assert (await bystander.run("x")).value == "'untouched'"
    finally:
        await sandbox.aclose()
