"""Rows of a map on a real Ray cluster of this machine."""

from __future__ import annotations

import os
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.events import Exit
from fastslow.agent.flow.ray import LOCAL, OnRay, _places
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
