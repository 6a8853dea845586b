"""Rows of a map on a real Ray cluster of this machine."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from socket import gethostname

import psutil
import pytest

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.events import Exit
from fastslow.agent.flow.crew import Do
from fastslow.agent.flow.ray import LOCAL, OnRay, _places, _Remote
from fastslow.agent.flow.row import Row
from fastslow.agent.flow.spec import MapSpec
from fastslow.agent.flow.words import Asked, Said, asked_line, read_said
from fastslow.agent.record.jobs import StepResult
from tests.engine.fake_server import serving
from tests.flow.echo import Echo, rows, spec_for

NAME = "ray::_Remote"  # what Ray calls the process of an actor


def actors() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if _name(child).startswith(NAME)]


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


async def test_each_row_once_though_an_actor_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FASTSLOW_API_KEY", "sesame")
    ended: list[StepResult] = []
    async with serving(Echo(delay=0.1)) as server:
        spec = spec_for(server, at_once=4)
        async with OnRay(spec, LOCAL) as crew, aclosing(crew.carry_out(rows(20))) as results:
            killed = actors()
            assert len(killed) == min(4, os.cpu_count() or 1)
            async for result in results:
                ended.append(result)
                if len(ended) == 5:
                    killed[0].kill()
            assert len(actors()) == len(killed)  # another one has its place
    assert sorted(int(result.name) for result in ended) == list(range(1, 21))
    assert all(result.output == {"n": f"v{result.name}"} and result.exit is Exit.ANSWERED for result in ended)
    assert not any("ray" in _name(child) for child in psutil.Process().children(recursive=True))
    assert ".ray" not in os.listdir(tmp_path)  # where Ray would keep its token
    assert server.keys == {"Bearer sesame"}
    assert not capfd.readouterr().out  # Ray says what died; results may stand on standard output


async def test_a_cluster_that_is_not_there() -> None:
    with pytest.raises(ConfigurationError, match=r"the Ray cluster at 127.0.0.1:9 cannot be used"):
        async with OnRay(spec_for(Echo()), "127.0.0.1:9"):
            pass


async def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'fastslow\[ray\]'"):
        async with OnRay(spec_for(Echo()), LOCAL):
            pass


def node(name: str, alive: bool = True, **resources: float) -> dict[str, object]:
    return {"NodeID": name, "Alive": alive, "Resources": resources}


def test_an_actor_on_each_machine_or_where_it_is_declared() -> None:
    assert _places([node("a", CPU=4.0), node("b"), node("c", alive=False)]) == ["a", "b"]
    assert _places([node("a", sandbox=1.0), node("b"), node("c", sandbox=2.0)]) == ["a", "c", "c"]
    assert _places([]) == []


async def answered(remote: _Remote) -> str:
    said = read_said(await remote.do(asked_line(Asked(1, rows(1)[0])).decode()))
    assert said.done
    return said.done.run


async def test_a_run_on_another_machine_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def opened(spec: MapSpec) -> AsyncIterator[Do]:
        async def do(row: Row) -> StepResult:
            return StepResult(row.key, row.id, Exit.ANSWERED, run="20261128-abc")

        yield do

    monkeypatch.setattr("fastslow.agent.flow.ray.opened", opened)
    for coordinator, run in [("elsewhere", f"20261128-abc@{gethostname()}"), (gethostname(), "20261128-abc")]:
        remote = _Remote()
        assert read_said(await remote.open(spec_for(Echo()).to_json(), version("fastslow"), coordinator)) == Said()
        assert await answered(remote) == run
        await remote.leave()


async def test_two_versions_do_not_work_together() -> None:
    said = read_said(await _Remote().open(spec_for(Echo()).to_json(), "0.0.1", "elsewhere"))
    assert said.failure
    assert "the coordinator 0.0.1; install the same on both" in said.failure.message
