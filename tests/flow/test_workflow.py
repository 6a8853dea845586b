"""What a workflow does with its steps: each is remembered by its content, and done once."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fastslow import Budget, DummySandbox, Journal
from fastslow.agent.engine.types import Reply, Request, Usage
from fastslow.agent.events import Exit
from fastslow.agent.flow.progress import Logged, StepEnded
from fastslow.agent.record.jobs import Jobs
from fastslow.agent.transcript import ToolCall
from fastslow.sandbox import Execution
from tests.flow.flows import Flows

NOTE = """
from pathlib import Path

def note(text: str) -> str:
    with open(Path(__file__).with_name("effects"), "a") as file:
        file.write(text + "\\n")
    return text
"""


@pytest.fixture
def flows(tmp_path: Path) -> Flows:
    return Flows(tmp_path)


def answering(request: Request) -> Reply:
    """Gives an answer of the form that is asked for: the number in the task."""
    asked = request.messages[-1].content
    [number] = re.findall(r"\d+", asked)[:1] or ["0"]
    call = ToolCall("c1", "answer", json.dumps({"value": int(number)}))
    return Reply(calls=(call,), usage=Usage(prompt=10, answer=5))


async def test_what_is_done_is_told_again_until_something_changes(flows: Flows) -> None:
    flows.write(
        """
        async def main(wf, who: str = "you") -> str:
            said = await wf.agent(f"Greet {who}", builtin=())
            return await wf.agent(f"Shorten {said}", builtin=())
        """
    )
    first = await flows.run()
    assert (first.exit, first.value, flows.asked) == (Exit.ANSWERED, "<Shorten <Greet you>>", 2), first.reason
    again = await flows.run()
    assert (again.value, again.told_again, flows.asked) == (first.value, True, 0)
    other = await flows.run("--who", "me")
    assert (other.value, flows.asked) == ("<Shorten <Greet me>>", 2)


async def test_an_answered_flow_is_gone_through_again_when_a_module_beside_it_changed(flows: Flows) -> None:
    (flows.folder / "beside_flow.py").write_text("WORD = 'a'\n")
    flows.write("import beside_flow\n\nasync def main(wf):\n    return beside_flow.WORD\n")
    assert (await flows.run()).value == "a"
    assert (await flows.run()).told_again
    (flows.folder / "beside_flow.py").write_text("WORD = 'bcd'\n")
    assert not (await flows.run()).told_again


NINE = (
    NOTE
    + """
def third(text: str) -> str:
    return note("3" + text){third}

async def main(wf):
    value = await wf.step(note, "1")
    value = await wf.step(note, value + "2")
    value = await wf.step(third, value)
    for number in range(4, 10):
        value = await wf.step(note, f"{{value}}{{number}}")
    return value
"""
)


async def test_editing_step_three_runs_it_and_what_receives_another_value(flows: Flows) -> None:
    flows.write(NINE.format(third=""))
    first = await flows.run()
    assert first.value == "312456789", first.reason
    assert len(flows.effects()) == 9
    flows.write(NINE.format(third=" + 'x'"))
    assert (await flows.run()).value == "312x456789"
    assert len(flows.effects()) == 9 + 7


async def test_an_equal_output_stops_the_wave(flows: Flows) -> None:
    flows.write(NINE.format(third=""))
    await flows.run()
    flows.write(NINE.format(third="[:]"))
    end = await flows.run()
    assert (end.value, end.told_again) == ("312456789", False)
    assert len(flows.effects()) == 9 + 1


async def test_a_changed_file_changes_the_step_that_reads_it(flows: Flows) -> None:
    (flows.folder / "in.txt").write_text("one")
    flows.write(
        NOTE
        + """
def read(path: Path) -> str:
    return note(path.read_text())

async def main(wf, path: Path):
    return await wf.step(read, path)
"""
    )
    assert (await flows.run("--path", "in.txt")).value == "one"
    assert (await flows.run("--path", "in.txt")).told_again
    (flows.folder / "in.txt").write_text("two")
    assert (await flows.run("--path", "in.txt")).value == "two"
    (flows.folder / "in.txt").write_text("one")
    await flows.run("--path", "in.txt")
    assert flows.effects() == ["one", "two"], "what was known of the first content is known still"


async def test_equal_calls_are_steps_of_their_own_and_keep_their_values(flows: Flows) -> None:
    numbers = iter(range(100))

    def model(request: Request) -> Reply:
        return Reply(f"joke {next(numbers)}")

    flows.model = model
    flows.write(
        """
        async def main(wf):
            two = [await wf.agent("Joke", builtin=()), await wf.agent("Joke", builtin=())]
            three = await wf.map(lambda number: wf.agent("Joke", builtin=()), range(3), at_once=3)
            if {stop}:
                raise ValueError("stop")
            return two + three
        """.replace("{stop}", "True")
    )
    assert (await flows.run()).exit is Exit.FAILED
    text = flows.script.read_text()
    flows.script.write_text(text.replace("if True", "if False"))
    end = await flows.run()
    assert (end.value, flows.asked) == ([f"joke {number}" for number in range(5)], 0)


async def test_map_keeps_what_failed_in_its_place(flows: Flows) -> None:
    flows.write(
        NOTE
        + """
def odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError(f"{number} is even")
    note(str(number))
    return number

async def main(wf):
    got = await wf.map(lambda number: wf.step(odd, number), range(4), at_once=2)
    return [str(one) for one in got]
"""
    )
    end = await flows.run()
    assert end.value == ["odd: ValueError: 0 is even", "1", "odd: ValueError: 2 is even", "3"]
    assert (end.exit, end.failed) == (Exit.ANSWERED, 2)
    flows.script.write_text(flows.script.read_text().replace("% 2 == 0", "== 2"))
    await flows.run()
    again = await flows.run()
    assert not again.told_again, "what failed is tried again"
    assert flows.effects() == ["1", "3", "0", "1", "3"], "the function is another one now, but no run was done twice"


async def test_map_raises_the_first_failure_once_what_began_has_ended(flows: Flows) -> None:
    flows.write(
        NOTE
        + """
import time

def odd(number: int) -> int:
    if number == 0:
        raise ValueError("zero")
    time.sleep(0.1)
    note(str(number))
    return number

async def main(wf):
    return await wf.map(lambda number: wf.step(odd, number), range(4), at_once=2, on_error="raise")
"""
    )
    end = await flows.run()
    assert (end.exit, end.reason) == (Exit.FAILED, "flow.py, line 20, in main: odd: ValueError: zero")
    assert flows.effects() == ["1"], "the second had begun, the others were not"


async def test_until_asks_again_with_what_the_judge_said(flows: Flows) -> None:
    flows.write(
        """
        async def main(wf, enough: int = 3):
            async def write(feedback):
                return await wf.agent(f"Write. {feedback or ''}", builtin=())

            def judge(text):
                return len(text) >= enough * 10, f"longer than {len(text)}"

            return await wf.until(write, judge, tries=3)
        """
    )
    end = await flows.run()
    assert end.exit is Exit.FAILED
    assert "not good after 3 tries: longer than" in end.reason
    assert (await flows.run("--enough", "2")).value.startswith("<Write. longer than")


async def test_one_budget_for_the_whole_tree_in_all_lives(flows: Flows) -> None:
    flows.budget = Budget(turns=3)
    flows.write(
        """
        async def main(wf):
            got = await wf.map(lambda n: wf.agent(f"Count {n}", builtin=()), range(5), at_once=1)
            wf.log(f"{wf.budget.spent['turns']} of {wf.budget.limits['turns']}, {wf.budget.remaining['turns']} left")
            return [str(one) for one in got]
        """
    )
    end = await flows.run()
    assert (end.exit, flows.asked) == (Exit.BUDGET, 3)
    assert end.value[:3] == ["<Count 0>", "<Count 1>", "<Count 2>"]
    assert "the budget of 3 turns is spent" in end.value[3]
    assert Logged("3 of 3, 0 left") in flows.said
    assert (await flows.run()).exit is Exit.BUDGET
    assert flows.asked == 0, "what earlier lives spent counts"
    flows.budget = Budget(turns=5)
    end = await flows.run()
    assert (end.exit, flows.asked) == (Exit.ANSWERED, 2), end.reason
    assert Logged("5 of 5, 0 left") in flows.said


async def test_a_typed_answer_comes_back_typed(flows: Flows) -> None:
    flows.model = answering
    flows.write(
        """
        async def main(wf, again: bool = False):
            value = await wf.agent("Give 7", output=int, builtin=())
            assert isinstance(value, int)
            return value + again
        """
    )
    assert (await flows.run()).value == 7
    flows.script.write_text(flows.script.read_text().replace("value + again", "value + 1"))
    assert ((await flows.run()).value, flows.asked) == (8, 0)


async def test_files_that_an_agent_makes_come_out_in_the_flows_folder(flows: Flows) -> None:
    (flows.folder / "a.csv").write_text("x\n1\n")
    flows.write(
        """
        async def main(wf, path: Path):
            done = await wf.run("Look", files=[path], name="look")
            where = wf.save("report.txt", done.answer)
            return [done.answer, done.run != "", where.name]
        """.replace("async def", "from pathlib import Path\n\n        async def")
    )
    end = await flows.run("--path", "a.csv", sandbox=DummySandbox())
    assert end.value is not None, end.reason
    assert end.value[1:] == [True, "report.txt"]
    assert end.files == (str(flows.folder / "out" / "report.txt"),)
    flows.script.write_text(flows.script.read_text().replace('"report.txt", done', '"report.txt", "new" + done'))
    await flows.run("--path", "a.csv", sandbox=DummySandbox())
    assert sorted(path.name for path in (flows.folder / "out").iterdir()) == ["report.txt"], "it replaces its own"
    assert (flows.folder / "out" / "report.txt").read_text().startswith("new<")


async def test_a_check_is_run_once_for_the_same_content(flows: Flows) -> None:
    flows.write(
        """
        async def main(wf):
            found = await wf.check("pytest -q")
            again = await wf.check("pytest -q x")
            return [found.ok, found.exit_code, found.output, again.ok]
        """
    )
    sandbox = DummySandbox([Execution("error", "1 failed\n", exit_code=1), Execution("ok")])
    assert (await flows.run(sandbox=sandbox)).value == [False, 1, "1 failed", True]
    flows.script.write_text(flows.script.read_text() + "# edited\n")
    assert (await flows.run(sandbox=DummySandbox())).value == [False, 1, "1 failed", True]


async def test_an_error_is_told_by_the_users_own_line_and_the_same_command_goes_on(flows: Flows) -> None:
    flows.write(NOTE + "\nasync def main(wf):\n    await wf.step(note, 'a')\n    return {}['x']\n")
    end = await flows.run()
    assert (end.exit, end.reason) == (Exit.FAILED, "flow.py, line 12, in main: KeyError: 'x'")
    flows.script.write_text(flows.script.read_text().replace("{}['x']", "1"))
    assert (await flows.run()).value == 1
    assert flows.effects() == ["a"]


async def test_a_step_is_tried_again_as_often_as_asked(flows: Flows) -> None:
    flows.write(
        NOTE
        + """
async def flaky(text: str) -> int:
    note(text)
    if len(Path(__file__).with_name("effects").read_text().split()) < 3:
        raise OSError("not yet")
    return 3

async def main(wf):
    return await wf.step(flaky, "try", retries=2)
"""
    )
    assert (await flows.run()).value == 3
    assert flows.effects() == ["try"] * 3


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("await wf.step(len, [1])", "the source of len is not to be had"),
        ("await wf.step(give, object())", "a step receives a object, and nobody can tell when that changes"),
        ("await wf.step(give, 1)", "that cannot be remembered"),
        ("await wf.agent('x', files=['gone.csv'])", "no file 'gone.csv'"),
        ("await wf.ask('Go?', [])", "choices: expected texts that differ"),
        ("await wf.ask('Go?', 'yes')", "choices: expected texts that differ"),
        ("await wf.step(give, 1, effect='none')", "effect: expected 'read' or 'outside', got 'none'"),
        ("await wf.step(give, 1, retries=-1)", "retries: expected 0 or more, got -1"),
        ("await wf.map(give, [1], at_once=0)", "at_once: expected 1 or more, got 0"),
        ("await wf.map(give, [1], on_error='skip')", "on_error: expected 'keep' or 'raise', got 'skip'"),
        ("await wf.until(give, give, tries=0)", "tries: expected 1 or more, got 0"),
        ("wf.save('/tmp/elsewhere.txt', '')", "name: expected a path below the flow's folder"),
        ("wf.save('', '')", "name: expected a path below the flow's folder"),
    ],
)
async def test_what_cannot_be_a_step(flows: Flows, body: str, said: str) -> None:
    flows.write(f"def give(value):\n    return object()\n\nasync def main(wf):\n    return {body}\n")
    end = await flows.run(sandbox=DummySandbox())
    assert end.exit is Exit.FAILED
    assert said in end.reason
    assert "flow.py, line 6" in end.reason


async def test_every_step_is_in_the_journal_with_what_it_took(flows: Flows) -> None:
    flows.write("async def main(wf):\n    return await wf.agent('Hello', builtin=())\n")
    end = await flows.run()
    [step] = [step for step in Jobs(Journal(flows.folder / "runs.db")).steps(end.job) if step.key != "end"]
    assert step.result is not None
    assert (step.name, step.result.tokens, step.result.turns, bool(step.result.run)) == ("Hello", 5, 1, True)
    [said] = [event for event in flows.said if isinstance(event, StepEnded)]
    assert said.result.key == step.key


async def test_a_step_that_leaves_has_failed(flows: Flows) -> None:
    flows.write(
        """
        import sys
        async def main(wf):
            await wf.step(leave)
        def leave():
            sys.exit(0)
        """
    )
    end = await flows.run()
    assert (end.exit, end.reason) == (Exit.FAILED, "flow.py, line 5, in main: leave: SystemExit: 0")


LEDGER = """
from pathlib import Path

LEDGER = Path(__file__).with_name("ledger")

def add(file: Path, text: str) -> None:
    with open(file, "a") as opened:
        print(text, file=opened)

def fail():
    raise ValueError("at the end")
"""


async def test_a_file_that_steps_add_to_is_added_to_once(flows: Flows) -> None:
    flows.write(
        LEDGER
        + """
async def main(wf):
    await wf.step(add, LEDGER, "one")
    await wf.step(lambda: add(LEDGER, "two"))
    await wf.map(lambda text: wf.step(add, LEDGER, text), ["three", "four"])
    await wf.step(add, LEDGER, "one")
    await wf.step(fail)
"""
    )
    for _ in range(3):
        assert (await flows.run()).exit is Exit.FAILED
    assert sorted((flows.folder / "ledger").read_text().split()) == ["four", "one", "one", "three", "two"]


async def test_a_file_that_others_changed_goes_through_its_steps_again(flows: Flows) -> None:
    flows.write(
        LEDGER
        + """
def clean(file: Path) -> None:
    file.write_text(file.read_text().strip().upper())

async def main(wf):
    await wf.step(clean, LEDGER)
    await wf.step(fail)
"""
    )
    ledger = flows.folder / "ledger"
    for text in ("one ", "two "):
        ledger.write_text(text)
        for _ in range(2):
            await flows.run()
        assert ledger.read_text() == text.strip().upper()


async def test_an_edited_step_has_those_behind_it_go_over_its_file_again(flows: Flows) -> None:
    script = (
        LEDGER
        + """
async def main(wf):
    await wf.step(begin, LEDGER)
    await wf.step(clean, LEDGER)
    await wf.step(fail)

def begin(file: Path) -> None:
    file.write_text("one")

def clean(file: Path) -> None:
    file.write_text(file.read_text().upper())
"""
    )
    flows.write(script)
    await flows.run()
    flows.write(script.replace('"one"', '"two"'))
    await flows.run()
    assert (flows.folder / "ledger").read_text() == "TWO"


async def test_what_was_written_anew_is_sent_though_its_sending_was_cut_off(flows: Flows) -> None:
    """In the third life nobody has sent the second report, though the flow itself wrote it."""
    script = (
        LEDGER
        + """
async def main(wf):
    await wf.step(begin, LEDGER)
    await wf.step(fail)
    await wf.step(send, LEDGER)

def begin(file: Path) -> None:
    file.write_text("one")

def send(file: Path) -> None:
    add(file.with_name("effects"), file.read_text())
"""
    )
    sends = script.replace("    await wf.step(fail)\n", "")
    for text in (sends, script.replace('"one"', '"two"'), sends.replace('"one"', '"two"')):
        flows.write(text)
        await flows.run()
    assert flows.effects() == ["one", "two"]


async def test_files_that_steps_read_by_themselves_count_for_an_answered_flow(flows: Flows) -> None:
    flows.write(
        """
        from pathlib import Path
        def read(file: Path) -> str:
            return file.read_text()
        async def main(wf):
            return await wf.step(read, Path(__file__).with_name("in.txt"), effect="read")
        """
    )
    for text in ("one", "two"):
        (flows.folder / "in.txt").write_text(text)
        ends = [await flows.run(), await flows.run()]
        assert [(end.value, end.told_again) for end in ends] == [(text, False), (text, True)]


async def test_what_is_edited_while_a_flow_goes_on_has_changed_for_the_next_command(flows: Flows) -> None:
    (flows.folder / "in.txt").write_text("one")
    flows.write(
        """
        from pathlib import Path
        def edit() -> None:
            script = Path(__file__)
            script.write_text(script.read_text().replace('"old"', '"new"'))
            script.with_name("in.txt").write_text("two")
        def value() -> str:
            return "old"
        async def main(wf, file: Path):
            read = file.read_text()
            await wf.step(edit)
            return [await wf.step(value), read]
        """
    )
    assert (await flows.run("--file", "in.txt")).value == ["old", "one"]
    assert (await flows.run("--file", "in.txt")).value == ["new", "two"]


@pytest.mark.parametrize("call", ['wf.step(note, "x")', "wf.map(lambda one: wf.step(note, one), ['x'])", 'wf.ask("x")'])
async def test_a_call_that_nobody_awaits_is_no_success(flows: Flows, call: str) -> None:
    flows.write(NOTE + f"async def main(wf):\n    {call}\n")
    end = await flows.run()
    assert end.exit is Exit.FAILED
    assert f"{call.partition('(')[0]} was called without `await`" in end.reason


async def test_a_task_that_main_does_not_wait_for_is_waited_for(flows: Flows) -> None:
    flows.write(NOTE + "async def main(wf):\n    import asyncio\n    asyncio.create_task(wf.step(note, 'x'))\n")
    assert ((await flows.run()).exit, flows.effects()) == (Exit.ANSWERED, ["x"])


async def test_values_that_are_false_come_back_as_they_were(flows: Flows) -> None:
    flows.write(
        """
        def give(value):
            return value
        def count() -> int:
            return 0
        async def main(wf):
            values = [0, False, "", [], {}, 0.0, None]
            first = [repr(await wf.step(give, value)) for value in values]
            return [*first, await wf.step(count)]
        """
    )
    first = await flows.run()
    flows.script.write_text(flows.script.read_text() + "#")
    assert ((await flows.run()).value, first.value[0], first.value[-1]) == (first.value, "0", 0)


async def test_a_spent_budget_is_told_though_main_returns_what_failed(flows: Flows) -> None:
    flows.budget = Budget(turns=1)
    flows.write("async def main(wf):\n    return await wf.map(lambda n: wf.agent(str(n), builtin=()), range(3))\n")
    assert (await flows.run()).exit is Exit.BUDGET


async def test_a_lambda_is_no_other_one_when_something_else_of_its_line_is_edited(flows: Flows) -> None:
    line = "    return await wf.step(lambda: note('ä' if wf else 'b'), retries=1), await wf.step(lambda: note('c'))\n"
    flows.write(NOTE + "async def main(wf):\n" + line)
    await flows.run()
    flows.write(NOTE + "async def main(wf):\n" + line.replace("retries=1", "retries=20"))
    assert ((await flows.run()).told_again, flows.effects()) == (False, ["ä", "c"])
    flows.write(NOTE + "async def main(wf):\n" + line.replace("'c'", "'d'"))
    assert ((await flows.run()).value, flows.effects()) == (["ä", "d"], ["ä", "c", "d"])


async def test_a_lambda_of_several_lines_is_known_by_all_of_them(flows: Flows) -> None:
    text = (
        NOTE
        + "async def main(wf):\n    return await wf.step(\n        lambda: note(\n            'a'\n        ),\n    )\n"
    )
    for word in ("'a'", "'b'"):
        flows.write(text.replace("'a'", word))
        await flows.run()
    assert flows.effects() == ["a", "b"]
