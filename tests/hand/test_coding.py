"""Projects that a strong model changed, its replies written by hand: what comes out, and what is at risk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pygments
import pytest

from fastslow import Agent, CallFinished, DockerSandbox, Event, Journal, Limits, RunFinished, TurnStarted
from fastslow.agent.engine.client import VLLM
from fastslow.agent.errors import Conflicted
from fastslow.agent.events import CheckFinished, Compacted, Result
from fastslow.agent.tree.tree import Tree
from tests.engine.fake_server import Answer, FakeServer, Seen, serving
from tests.hand.fleet import WRONG, fleet
from tests.hand.projects import PARCELS, PYGMENTS, SHELF
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


class Counting(FakeServer):
    """Counts four characters of a prompt as a token."""

    def answer(self, seen: Seen) -> Answer:
        if seen.path == "/tokenize":
            return Answer(body={"count": len(json.dumps(seen.json)) // 4})
        return super().answer(seen)


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
        async with serving(Counting()) as server:
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
    [tested] = [event.content for event in events if isinstance(event, CallFinished) and event.name == "shell"]
    assert "5 passed" in tested  # it waits for the edits before it in the same turn
    assert "tests/test_cli.py" not in tested  # which it did not write
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


async def test_a_change_in_a_copy_of_an_installed_library(project: Path) -> None:
    shutil.copytree(
        Path(pygments.__file__).parent, project / "pygments", ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
    )
    laid_out(project, PYGMENTS)
    before = contents(project)
    assert len(before) > 300
    played = Played("library", project, QWEN)
    events, result = await played.run()
    assert (result.exit, verdicts(events)) == ("answered", ["green", "green"])
    assert set(statuses(events)) == {"ok"}
    assert changed(result) == {
        "pygments/lexers/_mapping.py": "modified",
        "pygments/lexers/configs.py": "modified",
        "tests/test_dotenv.py": "added",
    }
    assert len(played.chats[0]["messages"][-1]["content"]) < 3000  # an outline, not 345 names
    assert "pygments/lexers/ (" in played.chats[0]["messages"][-1]["content"]
    assert contents(project) == before
    result.changes.apply()
    after = contents(project)
    assert {path for path in after if after[path] != before.get(path)} == set(changed(result))
    result.changes.undo()
    assert contents(project) == before


async def test_much_to_read_in_a_thousand_files_and_a_context_of_40k(project: Path) -> None:
    laid_out(project, fleet())
    played = Played("fleet", project, QWEN)
    events, result = await played.run()
    assert (result.exit, verdicts(events)) == ("answered", ["red", "green"])
    assert set(statuses(events)) == {"ok"}
    assert len([event for event in events if isinstance(event, Compacted)]) == 2
    assert max(len(json.dumps(chat["messages"])) for chat in played.chats) < 4 * 40960
    last = played.chats[-1]["messages"][2:]  # behind the task, which names all of them
    named = {path for path in fleet() if "/stages/" in path and path in json.dumps(last)}
    assert len(named) == 10  # what it has read and changed is told still, though the texts of most are gone
    calls = [call["function"]["name"] for message in last for call in message.get("tool_calls", ())]
    assert calls.count("edit_file") == 3
    again = [
        event for event in events if isinstance(event, CallFinished) and "have read these lines 2" in event.content
    ]
    assert len(again) == 5  # four documents and a stage, and not the three stages that had changed meanwhile
    result.changes.apply()
    after = contents(project)
    assert {path for path in after if after[path] != fleet()[path]} == {
        f"fleet/stages/{stage}.py" for stage, _ in WRONG
    }


async def test_refused_edits_and_changes_of_the_users_own(project: Path) -> None:
    laid_out(project, PARCELS)
    events, result = await Played("refused", project, QWEN).run()
    assert (result.exit, verdicts(events)) == ("answered", ["green", "green"])
    assert statuses(events) == ["error", "error", "ok", "ok", "ok"]
    refused = [event.content for event in events if isinstance(event, CallFinished)][:2]
    assert "old_text of edit 1 is not in the file" in refused[0]
    assert "README.md was not written: it exists, and was not read" in refused[1]
    assert changed(result) == {"README.md": "modified", "parcels/zones.py": "modified"}

    zones, readme = project / "parcels/zones.py", project / "README.md"
    zones.write_text(zones.read_text("utf-8").replace('"FR": 2,', '"FR": 2, "BE": 2,'), "utf-8")
    mine = contents(project)
    plan = result.changes.apply(dry_run=True)
    assert [(conflict.path, conflict.reason) for conflict in plan.conflicts] == [
        ("parcels/zones.py", "both changed the same lines")
    ]
    with pytest.raises(Conflicted, match=r"parcels/zones\.py: both changed the same lines"):
        result.changes.apply()
    assert contents(project) == mine
    result.changes.apply(["README.md"])
    assert {path for path, text in contents(project).items() if text != mine[path]} == {"README.md"}

    applied = readme.read_text("utf-8")
    readme.write_text("Mine.\n\n" + applied, "utf-8")
    result.changes.undo()
    assert readme.read_text("utf-8") == "Mine.\n\n" + PARCELS["README.md"]  # what the user wrote since then stays

    zones.write_text(PARCELS["parcels/zones.py"], "utf-8")
    result.changes.apply()
    readme.write_text(readme.read_text("utf-8").replace("It ends with", "It stops with"), "utf-8")
    mine = contents(project)
    with pytest.raises(Conflicted, match=r"README\.md: both changed the same lines"):
        result.changes.undo()
    assert contents(project) == mine
