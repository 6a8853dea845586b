"""The command that proves the work, where it misbehaves, and projects that mean harm."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from fastslow import Agent, Budget, ConfigurationError, DockerSandbox, Exit, Journal, Limits, ScriptedModel
from fastslow.agent.events import CallFinished, CheckFinished, Event, RunFinished
from fastslow.agent.modes import ModePolicy
from fastslow.agent.project import Trust, project_of
from fastslow.agent.tree.outline import outline
from fastslow.agent.tree.protect import is_protected
from fastslow.agent.tree.runner import PYTEST, usual_test
from fastslow.agent.tree.select import select
from fastslow.agent.tree.tree import Tree
from tests.agent.helpers import calls, says

docker = pytest.mark.docker


async def run_on(
    root: Path, *replies: object, test: str = "", trust: bool | None = None, **limits: object
) -> list[Event]:
    """The events of a run; its journal lies beside the project."""
    sandbox = DockerSandbox(Limits(**{"seconds": 20.0, **limits}))  # type: ignore[arg-type]
    journal, budget = Journal(root.parent / "runs.db"), Budget(turns=len(replies))
    agent = Agent(engine=ScriptedModel(replies), sandbox=sandbox, journal=journal, budget=budget)
    try:
        return [event async for event in agent.stream("Do it", tree=Tree(root, test=test))]
    finally:
        await agent.aclose()


def checks(events: list[Event]) -> list[CheckFinished]:
    return [event for event in events if isinstance(event, CheckFinished)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "a.py").write_text("x = 1\n")
    return folder


@docker
@pytest.mark.parametrize(
    "command",
    [
        "rm test_a.py; mkdir test_a.py; touch test_a.py/x",
        "rm -r tests; mkdir other; echo mine > other/test_b.py; ln -s other tests",
        "head -c 70000000 /dev/zero > test_a.py",
    ],
    ids=["a folder", "a link on the way", "more than comes out"],
)
async def test_tests_that_cannot_be_put_back_prove_nothing(root: Path, command: str) -> None:
    (root / "tests").mkdir()
    for name in ("test_a.py", "tests/test_b.py"):
        (root / name).write_text("raise SystemExit(1)\n")
    bend = calls(("shell", {"command": f"{command}; touch done"}))
    look = calls(("shell", {"command": "cat other/test_b.py"}))
    events = await run_on(root, bend, says("Done."), look, test="test -f done")
    first, found = checks(events)[:2]
    assert (first.verdict, found.verdict, found.restored) == ("red", "red", ())
    assert "could not be put back" in found.output
    assert isinstance(events[-1], RunFinished)
    seen = [event.content for event in events if isinstance(event, CallFinished)][-1]
    assert ("mine" in seen) == ("mine" in command)


@docker
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("sleep 1000", 124),
        ("head -c 1000000000 /dev/zero | tr '\\0' x; exit 3", 3),
        ("for i in $(seq 2000); do sleep 100 & done; exit 4", 4),
        ("setsid sleep 1000 & exit 5", 5),
        ("no-such-command", 127),
    ],
    ids=["hangs", "writes 1 GB", "forks", "leaves one behind", "is not there"],
)
async def test_a_check_that_misbehaves_is_red_in_its_time(root: Path, command: str, code: int) -> None:
    seconds = 3.0 if code == 124 else 20.0
    begun = time.monotonic()
    events = await run_on(root, says("Done."), test=command, seconds=seconds)
    found = checks(events)
    assert [check.verdict for check in found] == ["red", "red"]
    assert all(len(check.output) < 7000 for check in found)
    if code != 4:  # without room for a process the shell has a code of its own
        assert found[0].exit_code == code
    assert isinstance(events[-1], RunFinished)
    assert events[-1].result.exit is Exit.BUDGET
    assert time.monotonic() - begun < 100


@docker
async def test_a_check_that_is_green_once_is_flaky(root: Path) -> None:
    once = "python -c \"import pathlib; p = pathlib.Path('n'); n = p.exists(); p.touch(); raise SystemExit(n)\"; c=$?; "
    events = await run_on(root, calls(("shell", {"command": "rm -f n"})), says("Done."), test=f"{once} exit $c")
    assert [check.verdict for check in checks(events)] == ["green", "flaky"]


@docker
async def test_what_a_project_tells_agents_is_told_when_it_is_trusted(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTSLOW_HOME", str(root.parent / "home"))
    (root / "AGENTS.md").write_text("Speak like a pirate.\n")
    (root / "sub").mkdir()
    (root / "sub" / "AGENTS.md").write_text("Here, whisper.\n")
    (root / "sub" / "b.py").write_text("y = 2\n")
    (root / ".agents" / "skills" / "greet").mkdir(parents=True)
    (root / ".agents" / "skills" / "greet" / "SKILL.md").write_text(
        "---\nname: greet\ndescription: How people are greeted here.\n---\nSay ahoy; see words.txt.\n"
    )
    (root / ".agents" / "skills" / "greet" / "words.txt").write_text("ahoy\n")

    def sent(events: list[Event]) -> str:
        return json.dumps([repr(request.messages) for request in model.requests])

    look = calls(("read_file", {"path": "sub/b.py"}), ("shell", {"command": "cat .skills/greet/words.txt"}))
    for trusted in (False, True):
        if trusted:
            project = project_of(root, paths=[entry.path for entry in select(Tree(root)).files])
            Trust().trust(project.root, project.digest)
        replies = [look, calls(("skill", {"name": "greet"})), says("Done.")] if trusted else [look, says("Done.")]
        model = ScriptedModel(replies)
        sandbox = DockerSandbox(Limits(seconds=20))
        agent = Agent(
            engine=model, sandbox=sandbox, journal=Journal(root.parent / "runs.db"), policy=ModePolicy((), "always")
        )
        events = [event async for event in agent.stream("Do it", tree=Tree(root, test=""))]
        await agent.aclose()
        for text in ("like a pirate", "Here, whisper", "How people are greeted", "Say ahoy"):
            assert (text in sent(events)) is trusted, text
        result = events[-1].result  # type: ignore[union-attr]
        assert not result.changes, "the skills' files are none of the project's"


@docker
async def test_a_hostile_project_gets_nothing_of_the_host(root: Path) -> None:
    secret = root.parent / "secret.txt"
    secret.write_text("secret")
    (root / "out").symlink_to(secret)
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text(f"[core]\n\tfsmonitor = touch {root.parent / 'owned'}\n")
    (root / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (root / "we\x1b[2Jird.py").write_text("")
    events = await run_on(
        root, calls(("shell", {"command": "cat out; git status --short; ls -A .git/hooks"})), says("ok")
    )
    result = events[-1].result  # type: ignore[union-attr]
    assert result.exit is Exit.ANSWERED
    assert not (root.parent / "owned").exists()
    assert "secret" not in repr([event for event in events if "CallFinished" in type(event).__name__])
    assert (root / ".git" / "config").read_text().startswith("[core]\n\tfsmonitor")


def test_the_usual_runner_is_found_and_told(root: Path) -> None:
    assert usual_test(select(Tree(root)), ())[0] == ""
    (root / "Makefile").write_text("all:\n\ntest:\n\techo\n")
    assert usual_test(select(Tree(root)), ("make",))[0] == "make test"
    command, told = usual_test(select(Tree(root)), ())
    assert command == ""
    assert "cannot run" in told
    (root / "tests").mkdir()
    (root / "tests" / "test_a.py").write_text("")
    assert usual_test(select(Tree(root)), ())[0] == PYTEST


@pytest.mark.parametrize(
    ("path", "globs", "protected"),
    [
        ("tests/a.py", None, True),
        ("pkg/tests/deep/data.json", None, True),
        ("test_a.py", None, True),
        ("src/a_test.go", None, True),
        ("src/attest.py", None, False),
        ("contest.py", None, False),
        ("src/a.py", ("src/*.py",), True),
        ("tests/a.py", ("src/*.py",), False),
        ("tests/a.py", (), False),
    ],
)
def test_which_files_are_protected(path: str, globs: tuple[str, ...] | None, protected: bool) -> None:
    assert is_protected(path, globs) is protected


def test_an_outline_has_few_lines_and_all_files_in_its_counts() -> None:
    assert outline(["b.py", "src/c.py"]) == "The project's files (2):\nb.py\nsrc/c.py"
    assert "b/ (1 file)" in outline([*(f"a/{n}" for n in range(60)), "b/c"])
    many = sorted([f"src/part{n % 30}/m{n}.py" for n in range(3000)] + ["README.md"])
    lines = outline(many).splitlines()
    assert len(lines) <= 61
    assert "src/part7/ (100 files)" in lines
    assert outline([f"f{n}" for n in range(500)]).endswith("(and 440 more)")


@docker
async def test_skills_stay_where_a_task_follows(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTSLOW_HOME", str(root.parent / "home"))
    skill = root / ".agents" / "skills" / "greet"
    skill.mkdir(parents=True)
    (skill / "SKILL.md").write_text("---\nname: greet\ndescription: How people are greeted.\n---\nSay ahoy.\n")
    look = calls(("shell", {"command": "cat .skills/greet/SKILL.md"}))
    model, journal = ScriptedModel([says("Hello."), look, says("Seen.")]), Journal(root.parent / "runs.db")
    agent = Agent(engine=model, sandbox=DockerSandbox(Limits(seconds=20)), journal=journal)
    tree = Tree(root, test="", trust=True)
    async with agent.conversation(tree=tree) as talk:
        for task in ("Hi", "Look"):
            [event async for event in talk.stream(task)]
    assert "Say ahoy." in model.requests[-1].messages[-1].content
    cold = Agent(engine=ScriptedModel([look, says("Seen.")]), sandbox=agent.sandbox, journal=journal)
    result = await cold.run("Again", after=journal.runs()[-1].run, tree=tree)
    await cold.aclose()
    assert any("Say ahoy." in getattr(event, "content", "") for event in result.events)
    assert not result.changes


WRITTEN = "test -f result.txt"


@docker
@pytest.mark.parametrize("kept", [True, False])
async def test_a_run_without_a_folder_is_checked_as_well(tmp_path: Path, kept: bool) -> None:
    (tmp_path / "given.txt").write_text("x")
    journal = Journal(tmp_path / "runs.db") if kept else None
    write = calls(("shell", {"command": "cp given.txt result.txt"}))
    agent = Agent(engine=ScriptedModel([says("Done."), write, says("Now.")]), sandbox=DockerSandbox(), journal=journal)
    options = {"files": [tmp_path / "given.txt"], "check": WRITTEN, "out": tmp_path / "out"}
    try:
        events = [event async for event in agent.stream("Copy it", **options)]  # type: ignore[arg-type]
    finally:
        await agent.aclose()
    assert [check.verdict for check in checks(events)] == ["red", "red", "green"]
    assert isinstance(events[-1], RunFinished)
    result = events[-1].result
    assert (result.exit, [path.name for path in result.files]) == (Exit.ANSWERED, ["result.txt"])
    assert (result.changes, result.check) == (None, checks(events)[-1])
    if journal:
        again = Agent(engine=ScriptedModel(()), sandbox=None, journal=journal)
        replayed = [event async for event in again.replay("last")]
        assert checks(replayed) == checks(events)


@docker
async def test_a_run_whose_check_stays_red_is_not_answered_and_resumed_with_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "runs.db")
    said = [says(f"Done {number}.") for number in range(9)]
    agent = Agent(engine=ScriptedModel(said), sandbox=DockerSandbox(), journal=journal)
    try:
        result = await agent.run("Write it", check=WRITTEN)
        assert (result.exit, "check still fails" in result.reason) == (Exit.FAILED, True)
        assert result.check
        assert result.check.command == WRITTEN
        stopped = await agent.run("Write it", check=WRITTEN, budget=Budget(turns=1))
        assert stopped.exit is Exit.BUDGET
        write = calls(("shell", {"command": "touch result.txt"}))
        later = Agent(engine=ScriptedModel([write, says("Now.")]), sandbox=agent.sandbox, journal=journal)
        resumed = await later.resume("last")
        assert (resumed.exit, resumed.check and resumed.check.verdict) == (Exit.ANSWERED, "green")
    finally:
        await agent.aclose()


async def test_a_check_needs_a_sandbox_and_stands_beside_no_folder() -> None:
    with pytest.raises(ConfigurationError, match="runs in a sandbox"):
        await Agent(engine=ScriptedModel(()), sandbox=None).run("t", check="true")
    with pytest.raises(ConfigurationError, match=r"Tree\(test='true'\)"):
        await Agent(engine=ScriptedModel(())).run("t", check="true", tree=Tree("."))
