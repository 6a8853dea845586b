import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastslow.sandbox import (
    DockerSandbox,
    DockerSession,
    DummySandbox,
    Execution,
    Limits,
    OutOfScript,
    Sandbox,
    Session,
    TreeFile,
)
from fastslow.sandbox.dummy import DummySession
from fastslow.sandbox.sandbox import Display, HostFunction


async def test_executions_come_in_order_and_then_no_more() -> None:
    sandbox = DummySandbox([Execution("ok", stdout="1\n"), Execution("error", error="no", exit_code=1)])
    session = await sandbox.session()
    heard: list[tuple[str, str]] = []
    assert (await session.run("a", on_output=lambda *said: heard.append(said))).stdout == "1\n"
    assert (await session.shell("b")).status == "error"
    assert heard == [("stdout", "1\n")]
    with pytest.raises(OutOfScript, match="after 2 executions"):
        await session.run("c")
    assert sandbox.ran == ["a", "b", "c"]


async def test_files(tmp_path: Path) -> None:
    session = await DummySandbox(limits=Limits(upload=10)).session()
    (tmp_path / "b").write_bytes(b"two")
    await session.put("z", b"one")
    info = await session.put("a/../b", tmp_path / "b")
    assert (info.path, info.size) == ("b", 3)
    assert [file.path for file in await session.files()] == ["b", "z"]
    assert await session.get("/work/b") == b"two"
    with pytest.raises(FileNotFoundError):
        await session.get("none")
    with pytest.raises(ValueError, match="11 bytes"):
        await session.put("c", b"x" * 11)
    with pytest.raises(ValueError, match="path"):
        await session.put("../c", b"")


async def test_a_tree_with_modes_and_links(tmp_path: Path) -> None:
    session = await DummySandbox(limits=Limits(files=3)).session()
    (tmp_path / "run.sh").write_bytes(b"#!/bin/sh\n")
    tree = [TreeFile("run.sh", tmp_path / "run.sh", "100755"), TreeFile("link", b"run.sh", "120000")]
    infos = await session.put_tree(iter(tree))
    assert [(info.path, info.mode) for info in infos] == [("run.sh", "100755"), ("link", "120000")]
    assert {info.path: info for info in await session.files()} == {info.path: info for info in infos}
    assert await session.get("link") == b"run.sh"
    assert (await session.put("run.sh", b"another")).mode == "100755"
    assert (await session.put("run.sh", b"another", "100644")).mode == "100644"
    assert (await session.put("link", b"a file now")).mode == "100644"
    await session.put(".git/config", b"[core]")
    assert [info.path for info in await session.files()] == ["link", "run.sh"]
    with pytest.raises(ValueError, match="comes twice"):
        await session.put_tree([TreeFile("a"), TreeFile("a")])
    with pytest.raises(ValueError, match="file number 4"):
        await session.put_tree(TreeFile(str(n)) for n in range(10))
    with pytest.raises(ValueError, match="leads through a file or a link"):
        await session.put("link/below", b"")


async def test_displays_are_handed_on() -> None:
    display = Display({"text/plain": "1"})
    session = await DummySandbox([Execution("ok", displays=(display,))]).session()
    seen: list[Display] = []
    await session.run("a", on_display=seen.append)
    assert seen == [display]


async def test_forks_and_checkpoints() -> None:
    session = await DummySandbox([Execution("ok", value="1")]).session()
    await session.offer([HostFunction("f", "One.")])
    await session.put("a", b"one")
    copy = await session.fork()
    assert await copy.get("a") == b"one"
    assert copy.offered == session.offered
    assert (await copy.run("x")).value == "1"
    with pytest.raises(ValueError, match="no checkpoint"):
        await session.rollback()
    number = await session.checkpoint()
    await session.rollback(number)
    await session.rollback()
    with pytest.raises(ValueError, match="no checkpoint 2"):
        await session.rollback(2)


def _asked(function: Callable[..., Any]) -> list[tuple[str, object]]:
    """Names and defaults of what a method takes."""
    return [(one.name, one.default) for one in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize(
    ("protocol", "made"),
    [(Sandbox, DummySandbox), (Sandbox, DockerSandbox), (Session, DummySession), (Session, DockerSession)],
)
def test_the_double_and_the_real_one_take_what_the_interface_says(protocol: type, made: type) -> None:
    methods = {name: value for name, value in vars(protocol).items() if inspect.isfunction(value) and name[0] != "_"}
    assert len(methods) >= 2
    for name, method in methods.items():
        assert _asked(getattr(made, name)) == _asked(method), name
