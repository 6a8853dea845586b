"""A run on a copy of a folder: what it gets, what comes out, and the check that proves the work."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from fastslow import Agent, DockerSandbox, Event, Exit, Journal, Limits, ScriptedModel
from fastslow.agent.engine.types import Reply
from fastslow.agent.errors import ApplyFailed, ConfigurationError, Conflicted
from fastslow.agent.events import CheckFinished, Notice, RunFinished, RunStarted, TurnStarted
from fastslow.agent.modes import Kind
from fastslow.agent.record.changed import changes_of
from fastslow.agent.record.trees import KeptTree, is_kept
from fastslow.agent.transcript import ToolResult, User
from fastslow.agent.tree.select import select
from fastslow.agent.tree.tree import Tree
from tests.agent.helpers import WEAK, calls, says

pytestmark = pytest.mark.docker

TEST = "python -m unittest -q"
FILES = {
    "calc.py": "def mean(values):\n    return sum(values) // len(values)\n",
    "test_calc.py": (
        "import unittest\n\nfrom calc import mean\n\n\nclass TestMean(unittest.TestCase):\n"
        "    def test_mean(self):\n        self.assertEqual(mean([1, 2]), 1.5)\n"
    ),
    "run.sh": "#!/bin/sh\necho hello\n",
    ".hidden/notes.txt": "kept\n",
}
FIX = calls(("shell", {"command": "sed -i 's,//,/,' calc.py"}))


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "runs.db")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "run.sh").chmod(0o755)
    (root / "link").symlink_to("run.sh")
    return root


def agent(journal: Journal, *replies: Reply) -> Agent:
    return Agent(engine=ScriptedModel(replies), sandbox=DockerSandbox(Limits(seconds=60)), journal=journal)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def events_of(agent: Agent, task: str, tree: Tree) -> list[Event]:
    try:
        return [event async for event in agent.stream(task, tree=tree)]
    finally:
        await agent.aclose()


async def test_a_fix_is_proven_and_nothing_of_the_users_changes(journal: Journal, project: Path) -> None:
    before = contents(project)
    coder = agent(journal, FIX, says("Fixed the division."))
    events = await events_of(coder, "Fix the failing test", Tree(project, test=TEST))
    result = events[-1].result  # type: ignore[union-attr]
    assert (result.exit, result.check.verdict) == (Exit.ANSWERED, "green")
    assert [(change.path, change.kind) for change in result.changes] == [("calc.py", "modified")]
    assert b"-    return sum(values) // len(values)\n+    return sum(values) / len(values)\n" in result.changes.diff()
    assert contents(project) == before
    checks = [event for event in events if isinstance(event, CheckFinished)]
    assert [check.verdict for check in checks] == ["red", "green"]


async def test_the_model_sees_the_project_and_the_failure_before_its_first_turn(
    journal: Journal, project: Path
) -> None:
    coder = agent(journal, FIX, says("Done."))
    await events_of(coder, "Fix it", Tree(project, test=TEST))
    first = coder.engine.requests[0].messages[-1]  # type: ignore[attr-defined]
    assert isinstance(first, User)
    for said in ("Fix it", "The project's files (5):", ".hidden/notes.txt", f"`{TEST}`", "Exit code 1.", "1.5"):
        assert said in first.content


async def test_a_red_check_goes_back_and_the_next_turn_repairs(journal: Journal, project: Path) -> None:
    coder = agent(journal, says("It is fine already."), FIX, says("Fixed."))
    events = await events_of(coder, "Fix it", Tree(project, test=TEST))
    kinds = [event.kind for event in events if isinstance(event, TurnStarted)]
    assert kinds == [Kind.PLAN, Kind.REPAIR, Kind.CALL]
    told = coder.engine.requests[1].messages[-1].content  # type: ignore[attr-defined]
    assert "You said: It is fine already." in told
    assert "1 != 1.5" in told


async def test_the_same_failure_twice_comes_with_the_diff(journal: Journal, project: Path) -> None:
    worse = calls(("shell", {"command": "sed -i 's,//,//  ,' calc.py"}))
    coder = agent(journal, worse, says("Done."), FIX, says("Now."))
    events = await events_of(coder, "Fix it", Tree(project, test=TEST))
    assert events[-1].result.exit is Exit.ANSWERED  # type: ignore[union-attr]
    told = coder.engine.requests[2].messages[-1].content  # type: ignore[attr-defined]
    assert "+    return sum(values) //   len(values)" in told


async def test_a_check_that_stays_red_ends_the_run_with_its_changes(journal: Journal, project: Path) -> None:
    touch = calls(("shell", {"command": "echo '# tried' >> calc.py"}))
    coder = agent(journal, touch, *[says(f"Done {n}.") for n in range(6)])
    result = (await events_of(coder, "Fix it", Tree(project, test=TEST)))[-1].result  # type: ignore[union-attr]
    assert result.exit is Exit.FAILED
    assert "still fails with exit code 1" in result.reason
    assert [change.path for change in result.changes] == ["calc.py"]


async def test_bent_tests_prove_nothing(journal: Journal, project: Path) -> None:
    bend = calls(("shell", {"command": "sed -i 's/1.5/1/' test_calc.py"}))
    coder = agent(journal, bend, says("Fixed."), FIX, says("So be it."), *[says("Green.")] * 5)
    events = await events_of(coder, "Fix it", Tree(project, test=TEST))
    checks = [event for event in events if isinstance(event, CheckFinished)]
    assert [(check.verdict, check.restored) for check in checks[:2]] == [("red", ()), ("red", ("test_calc.py",))]
    assert checks[2].verdict == "red"  # as the model left them, they are wrong now
    assert "put back as they were given: test_calc.py" in coder.engine.requests[2].messages[-1].content  # type: ignore[attr-defined]


async def test_modes_links_deletions_and_new_folders_come_out(journal: Journal, project: Path) -> None:
    command = "chmod -x run.sh; rm link; ln -s calc.py other; mkdir -p a/b; printf '\\0\\1' > a/b/c.bin; rm -r .hidden"
    coder = agent(journal, calls(("shell", {"command": command})), says("Done."))
    result = (await events_of(coder, "Tidy", Tree(project, test="")))[-1].result  # type: ignore[union-attr]
    assert [(change.path, change.kind, change.after and change.after.mode) for change in result.changes] == [
        (".hidden/notes.txt", "deleted", None),
        ("a/b/c.bin", "added", "100644"),
        ("link", "deleted", None),
        ("other", "added", "120000"),
        ("run.sh", "mode", "100644"),
    ]


async def test_what_stays_in_the_sandbox_is_told(journal: Journal, project: Path) -> None:
    command = "head -c 70000000 /dev/zero | tee calc.py > new.bin; mkfifo pipe; touch \"$(printf 'a\\nb')\""
    coder = agent(journal, calls(("shell", {"command": command})), says("Done."))
    events = await events_of(coder, "Grow", Tree(project, test=""))
    assert [change.path for change in events[-1].result.changes] == []  # type: ignore[union-attr]
    told = "\n".join(event.text for event in events if isinstance(event, Notice))
    for said in ("did not come out: calc.py, new.bin (larger than", "pipe (a pipe", "its name has control characters"):
        assert said in told
    coder = agent(journal, calls(("shell", {"command": "ls"})), says("Seen."))
    [event async for event in coder.stream("Look", after="last", tree=Tree(project, test=""))]
    await coder.aclose()
    shown = coder.engine.requests[-1].messages[-1].content  # type: ignore[attr-defined]
    assert "are gone or as they were given: calc.py, new.bin" in shown


async def test_a_file_beside_the_folder_has_a_name_of_its_own(journal: Journal, project: Path, tmp_path: Path) -> None:
    (tmp_path / "calc.py").write_text("other\n")
    coder = agent(journal)
    with pytest.raises(ConfigurationError, match=r"a file 'calc\.py' of its own"):
        await coder.run("Look", tree=Tree(project, test=""), files=[tmp_path / "calc.py"])
    await coder.aclose()


async def test_caches_are_no_changes(journal: Journal, project: Path) -> None:
    coder = agent(
        journal,
        calls(("shell", {"command": "python -m compileall -q . ; mkdir .pytest_cache; touch .pytest_cache/x"})),
        says("Done."),
    )
    result = (await events_of(coder, "Look", Tree(project, test="")))[-1].result  # type: ignore[union-attr]
    assert not [change.path for change in result.changes if "pyc" in change.path]
    assert "Files written" not in coder.engine.requests[1].messages[-1].content  # type: ignore[attr-defined]


async def test_a_run_goes_on_from_the_copy_that_it_began_with(journal: Journal, project: Path) -> None:
    dies = agent(journal, FIX)
    with pytest.raises(AssertionError):  # its script has ended
        await events_of(dies, "Fix it", Tree(project, test=TEST))
    (project / "calc.py").write_text("changed meanwhile\n")
    (project / "link").unlink()
    coder = agent(journal, says("Fixed."))
    events = [event async for event in coder.resume_stream("last")]
    await coder.aclose()
    result = events[-1].result  # type: ignore[union-attr]
    assert (result.exit, result.check.verdict) == (Exit.ANSWERED, "green")
    assert [change.path for change in result.changes] == ["calc.py"]
    told = [event async for event in Agent(sandbox=None, journal=journal, engine=ScriptedModel(())).replay("last")]
    assert replace(told[-1].result, events=()) == replace(result, events=())  # type: ignore[union-attr]


async def test_a_follow_up_keeps_the_changes_and_takes_the_users(journal: Journal, project: Path) -> None:
    coder = agent(journal, FIX, says("Fixed."), calls(("shell", {"command": "cat calc.py run.sh"})), says("Seen."))
    async with coder.conversation(tree=Tree(project, test="")) as talk:
        [event async for event in talk.stream("Fix it")]
        (project / "run.sh").write_text("#!/bin/sh\necho changed\n")
        events = [event async for event in talk.stream("Look again")]
    await coder.aclose()
    shown = next(m for m in coder.engine.requests[-1].messages[::-1] if isinstance(m, ToolResult))  # type: ignore[attr-defined]
    assert "sum(values) / len(values)" in shown.content
    assert "echo changed" in shown.content
    result = events[-1].result  # type: ignore[union-attr]
    assert [change.path for change in result.changes] == ["calc.py"]
    assert isinstance(events[0], RunStarted)
    assert events[0].after
    os.stat(project)


async def test_a_cold_follow_up_does_the_same(journal: Journal, project: Path) -> None:
    coder = agent(journal, FIX, says("Fixed."))
    first = (await events_of(coder, "Fix it", Tree(project, test="")))[-1]
    assert isinstance(first, RunFinished)
    (project / "calc.py").write_text("# The mean.\n" + FILES["calc.py"])
    coder = agent(journal, calls(("shell", {"command": "cat calc.py; stat -c '%N %A' link run.sh"})), says("Seen."))
    events = [event async for event in coder.stream("Look", after="last", tree=Tree(project, test=""))]
    await coder.aclose()
    shown = coder.engine.requests[-1].messages[-1].content  # type: ignore[attr-defined]
    assert "# The mean.\ndef mean(values):\n    return sum(values) / len(values)" in shown
    assert "'link' -> 'run.sh' lrwxrwxrwx\n'run.sh' -rwxr-xr-x\n" in shown
    assert shown.endswith("(What ran in the background has ended, and empty folders are gone.)")
    assert [change.path for change in events[-1].result.changes] == ["calc.py"]  # type: ignore[union-attr]


async def test_a_follow_up_does_not_go_over_what_the_user_changed(journal: Journal, project: Path) -> None:
    made = "sed -i 's,//,/,' calc.py; echo run > new.txt; rm run.sh; echo run > place; rm .hidden/notes.txt"
    coder = agent(journal, calls(("shell", {"command": made})), says("Fixed."))
    await events_of(coder, "Fix it", Tree(project, test=""))
    (project / "calc.py").write_text("user\n")
    (project / "new.txt").write_text("user\n")
    (project / "run.sh").write_text("user\n")
    (project / "place").mkdir()
    (project / "place" / "x").write_text("user\n")
    before = contents(project)
    coder = agent(journal, calls(("shell", {"command": "cat calc.py new.txt run.sh place/x"})), *[says("Seen.")] * 3)
    async with coder.conversation(tree=Tree(project, test=""), after="last") as talk:
        first = [event async for event in talk.stream("Look")]
        again = [event async for event in talk.stream("Look")]  # it has that from the first
        for events in (first, again):
            changes = events[-1].result.changes  # type: ignore[union-attr]
            with pytest.raises(Conflicted) as raised:
                changes.apply()
            assert [path for path, _ in raised.value.conflicts] == ["calc.py", "new.txt"]
            assert [change.path for change in changes] == [".hidden/notes.txt", "calc.py", "new.txt"]
        assert contents(project) == before
        (project / "calc.py").write_text(FILES["calc.py"].replace("//", "/"))
        (project / "new.txt").unlink()
        result = [event async for event in talk.stream("Look")][-1].result  # type: ignore[union-attr]
    await coder.aclose()
    told = coder.engine.requests[1].messages[-1].content  # type: ignore[attr-defined]
    assert sum("changed these files in ways that do not go together" in str(event) for event in first) == 1
    assert "do not go with yours: calc.py, new.txt, run.sh, place. Look" in told
    assert [change.path for change in result.changes] == [".hidden/notes.txt", "new.txt"]


def small(journal: Journal, *replies: Reply) -> Agent:
    """With a model that must be led."""
    model = ScriptedModel(replies, profile=replace(WEAK, edit="whole"))
    return Agent(engine=model, sandbox=DockerSandbox(Limits(seconds=60)), journal=journal)


async def test_a_small_project_is_shown_whole(journal: Journal, project: Path) -> None:
    (project / "image.bin").write_bytes(b"\0\1")
    coder = agent(journal, says("Fine."))
    await events_of(coder, "Look", Tree(project, test=""))
    told = coder.engine.requests[0].messages[-1].content  # type: ignore[attr-defined]
    assert f"\ncalc.py\n```py\n{FILES['calc.py']}```\n" in told
    assert told.count("link") == told.count("image.bin") == 1  # in the list of files
    (project / "large.txt").write_text("x" * 12_000)
    coder = agent(journal, says("Fine."))
    await events_of(coder, "Look", Tree(project, test=""))
    assert "return sum" not in coder.engine.requests[0].messages[-1].content  # type: ignore[attr-defined]


async def test_a_very_small_model_writes_whole_files_until_the_check_is_green(journal: Journal, project: Path) -> None:
    wrong = calls(("write_file", {"path": "calc.py", "content": "def mean(values):\n    return 0\n"}))
    right = calls(("write_file", {"path": "calc.py", "content": FILES["calc.py"].replace("//", "/")}))
    coder = small(journal, wrong, right)
    events = await events_of(coder, "Fix it", Tree(project, test=TEST))
    result = events[-1].result  # type: ignore[union-attr]
    assert (result.exit, result.check.verdict) == (Exit.ANSWERED, "green")
    assert [change.path for change in result.changes] == ["calc.py"]
    first, second = coder.engine.requests  # type: ignore[attr-defined]
    assert [tool.name for tool in first.tools] == ["write_file"]
    assert "search" not in first.messages[0].content  # which it has not
    assert "0 != 1.5" in second.messages[-1].content
    told = [event async for event in Agent(sandbox=None, journal=journal, engine=ScriptedModel(())).replay("last")]
    assert replace(told[-1].result, events=()) == replace(result, events=())  # type: ignore[union-attr]


async def test_a_run_that_goes_on_is_shown_the_files_of_its_beginning(journal: Journal, project: Path) -> None:
    wrong = calls(("write_file", {"path": "calc.py", "content": "def mean(values):\n    return 0\n"}))
    right = calls(("write_file", {"path": "calc.py", "content": FILES["calc.py"].replace("//", "/")}))
    dies = small(journal, wrong)
    with pytest.raises(AssertionError):  # its script has ended
        await events_of(dies, "Fix it", Tree(project, test=TEST))
    (project / "calc.py").write_text("changed meanwhile\n")
    coder = small(journal, right)
    events = [event async for event in coder.resume_stream("last")]
    await coder.aclose()
    assert events[-1].result.check.verdict == "green"  # type: ignore[union-attr]
    told = [agent.engine.requests[0].messages[1] for agent in (dies, coder)]  # type: ignore[attr-defined]
    assert told[0] == told[1]


async def test_what_follows_a_run_is_not_shown_a_folder_that_lacks_its_changes(journal: Journal, project: Path) -> None:
    coder = small(journal, says("Fine."), says("Fine."))
    async with coder.conversation(tree=Tree(project, test="")) as talk:
        [event async for event in talk.stream("Look")]
        [event async for event in talk.stream("Look again")]
    await coder.aclose()
    shown = ["return sum" in request.messages[-1].content for request in coder.engine.requests]  # type: ignore[attr-defined]
    assert shown == [True, False]


async def test_a_run_whose_folder_is_gone_can_be_looked_at_and_goes_on(journal: Journal, project: Path) -> None:
    dies = agent(journal, FIX)
    with pytest.raises(AssertionError):  # its script has ended
        await events_of(dies, "Fix it", Tree(project, test=""))
    os.rename(project, project.with_name("moved"))
    [info] = journal.runs()
    assert b"+    return sum(values) / len(values)" in changes_of(journal, info.run).diff()
    coder = agent(journal, says("Fixed."))
    result = await coder.resume("last")
    await coder.aclose()
    assert (result.exit, len(result.changes or ())) == (Exit.ANSWERED, 1)
    with pytest.raises(ApplyFailed, match="nothing was changed"):
        result.changes.apply()  # type: ignore[union-attr]


async def test_the_changes_stay_what_they_were_at_the_end_of_the_run(journal: Journal, project: Path) -> None:
    coder = agent(journal, calls(("shell", {"command": "echo new > new.py; mkdir out; echo r > out/r"})), says("Done."))
    result = (await events_of(coder, "Write", Tree(project, test="")))[-1].result  # type: ignore[union-attr]
    (project / ".gitignore").write_text("*.py\nout/\n")
    assert changes_of(journal, result.run) == result.changes
    assert [change.path for change in result.changes] == ["new.py", "out/r"]
    result.changes.apply()
    assert (project / "out" / "r").read_text() == "r\n"


def test_a_tree_that_was_taken_in_part_is_taken_anew(journal: Journal, project: Path) -> None:
    selection = select(Tree(project, test=""))
    first = KeptTree(journal, "run", selection, frozenset())
    for file in first.files():
        if file.path == "run.sh":
            break
    with journal.transaction() as database:
        database.execute("INSERT INTO files VALUES ('run', 0, 'calc.py', 'stale', '100644')")
    assert not is_kept(journal, "run")
    (project / "calc.py").unlink()
    again = KeptTree(journal, "run", select(Tree(project, test="")), frozenset())
    assert {file.path for file in again.files()} == {entry.path for entry in selection.files} - {"calc.py"}
    assert is_kept(journal, "run")
    assert "calc.py" not in again.base()


async def test_what_was_applied_and_changed_since_is_in_nobodys_way(journal: Journal, project: Path) -> None:
    coder = agent(journal, FIX, calls(("shell", {"command": "echo new > new.txt"})), says("Done."))
    changes = (await events_of(coder, "Fix it", Tree(project, test="")))[-1].result.changes  # type: ignore[union-attr]
    changes.apply(["calc.py"])
    (project / "calc.py").write_text("def mean(values):\n    return sum(values) / len(values)  # not floor\n")
    plan = changes.apply()
    assert ([step.path for step in plan.steps], plan.done) == (["new.txt"], ("calc.py",))
    assert (project / "calc.py").read_text().endswith("# not floor\n")
    assert (project / "new.txt").read_text() == "new\n"
