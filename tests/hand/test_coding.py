"""Projects that a strong model changed, its replies written by hand: what comes out, and what is at risk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastslow import Agent, CallFinished, DockerSandbox, Event, Journal, Limits, RunFinished, TurnStarted
from fastslow.agent.engine.client import VLLM
from fastslow.agent.events import CheckFinished, Result
from fastslow.agent.tree.tree import Tree
from tests.engine.fake_server import FakeServer, serving
from tests.hand.projects import PARCELS, SHELF
from tests.hand.test_hand import HERE, MODELS, answer

pytestmark = pytest.mark.docker
QWEN, EXAONE = MODELS


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def laid_out(folder: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, "utf-8")


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()}


class Played:
    """A recording on a project in a folder. Each of its runs but the first goes on from the one before."""

    def __init__(self, name: str, folder: Path, model: str) -> None:
        self.recorded: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text("utf-8"))
        self.folder, self.model = folder, model
        self.tree = Tree(folder, test=self.recorded["test"], trust=True)
        self.journal = Journal(folder.parent / "runs.db")
        self.chats: list[dict[str, Any]] = []
        self.last: str | None = None

    async def run(self, number: int = 0) -> tuple[list[Event], Result]:
        replies = self.recorded["runs"][number]["replies"]
        async with serving(FakeServer()) as server:
            server.models = [{"id": self.model, "root": self.model, "max_model_len": 40960}]
            server.answers = [answer(n, reply) for n, reply in enumerate(replies)]
            agent = Agent(
                engine=VLLM(server.url, probe=False), sandbox=DockerSandbox(Limits(seconds=120)), journal=self.journal
            )
            task = self.recorded["runs"][number]["task"]
            try:
                events = [event async for event in agent.stream(task, tree=self.tree, after=self.last)]
            finally:
                await agent.aclose()
            assert not server.answers
            self.chats = server.chats
        assert isinstance(events[-1], RunFinished)
        self.last = events[-1].result.run
        return events, events[-1].result


def verdicts(events: list[Event]) -> list[str]:
    return [event.verdict for event in events if isinstance(event, CheckFinished)]


def statuses(events: list[Event]) -> list[str]:
    return [event.status for event in events if isinstance(event, CallFinished)]


def thoughts(events: list[Event]) -> list[bool]:
    return [event.mode.thinks for event in events if isinstance(event, TurnStarted)]


def changed(result: Result) -> dict[str, str]:
    return {change.path: change.kind for change in result.changes}


async def test_a_bug_over_two_files_of_which_one_hides_the_other(project: Path) -> None:
    laid_out(project, PARCELS)
    events, result = await Played("bug", project, QWEN).run()
    assert (result.exit, result.check and result.check.verdict) == ("answered", "green")
    assert verdicts(events) == ["red", "red", "green"]  # before; with one bug mended, which shows the other; with both
    assert thoughts(events) == [True, False, False, True, False]  # the first turn, and the one that repairs
    assert set(statuses(events)) == {"ok"}
    assert changed(result) == {"parcels/tariff.py": "modified", "parcels/weight.py": "modified"}
    assert contents(project) == PARCELS
    result.changes.apply()
    assert contents(project) == PARCELS | {
        "parcels/tariff.py": PARCELS["parcels/tariff.py"].replace("kg < limit", "kg <= limit"),
        "parcels/weight.py": PARCELS["parcels/weight.py"].replace("//", "/"),
    }
    result.changes.undo()
    assert contents(project) == PARCELS


async def test_a_feature_with_tests_and_a_follow_up(project: Path) -> None:
    laid_out(project, SHELF)
    played = Played("feature", project, EXAONE)
    events, result = await played.run()
    assert (result.exit, verdicts(events)) == ("answered", ["green", "green"])  # `pytest -q` finds the package
    assert set(statuses(events)) == {"ok"}
    assert thoughts(events) == [True] + [False] * 7
    feature = ["shelf/book.py", "shelf/cli.py", "shelf/store.py", "tests/test_cli.py", "tests/test_store.py"]
    assert sorted(changed(result)) == feature
    assert contents(project) == SHELF
    events, further = await played.run(1)
    assert (further.exit, verdicts(events)) == ("answered", ["green", "green"])
    assert "5 passed" in played.chats[0]["messages"][-1]["content"]  # in the copy as the first run left it
    assert set(statuses(events)) == {"ok"}
    assert sorted(changed(further)) == feature  # both runs' together
    further.changes.apply()
    assert "--lent" in contents(project)["shelf/cli.py"]
    assert "def lend" in contents(project)["shelf/store.py"]
    further.changes.undo()
    assert contents(project) == SHELF
