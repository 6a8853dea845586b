"""A flow that asks: it ends, and goes on days later, in another process, with the journal alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastslow import ConfigurationError
from fastslow.agent.errors import RunBusy
from fastslow.agent.events import Exit
from fastslow.agent.record.jobs import Jobs
from tests.flow.flows import Flows

ASK = """
from pathlib import Path

def send(text: str) -> None:
    with open(Path(__file__).with_name("effects"), "a") as file:
        file.write(text + "\\n")

async def main(wf):
    said = await wf.agent("Draft", builtin=())
    try:
        answer = await wf.ask("Send it?", ["yes", "no"])
    except Exception:
        return "swallowed"
    if answer == "yes":
        await wf.step(send, "sent")
    return answer
"""


@pytest.fixture
def flows(tmp_path: Path) -> Flows:
    return Flows(tmp_path)


async def test_it_waits_and_goes_on_with_the_answer(flows: Flows) -> None:
    flows.write(ASK)
    end = await flows.run()
    assert (end.exit, flows.asked, [one.question for one in end.asked]) == (Exit.WAITING, 1, ["Send it?"])
    again = await flows.run()
    assert (again.exit, again.asked, flows.asked) == (Exit.WAITING, end.asked, 0), "the same question"
    flows.answer("yes")
    end = await flows.run()
    assert (end.exit, end.value, flows.asked, flows.effects()) == (Exit.ANSWERED, "yes", 0, ["sent"])
    assert (await flows.run()).told_again


async def test_an_answer_is_one_of_the_choices_and_given_once(flows: Flows) -> None:
    flows.write(ASK)
    await flows.run()
    with pytest.raises(ConfigurationError, match="expected one of yes, no, got 'maybe': Send it"):
        flows.answer("maybe")
    with pytest.raises(ConfigurationError, match="asked no question 2"):
        flows.answer("yes", 2)
    flows.answer("no", 1)
    with pytest.raises(ConfigurationError, match="it was answered 'no' before"):
        flows.answer("yes")
    with pytest.raises(ConfigurationError, match="it was answered 'no' before"):
        flows.answer("yes", 1)
    assert ((await flows.run()).value, flows.effects()) == ("no", [])


async def test_an_answer_is_for_what_it_was_given_for(flows: Flows) -> None:
    """A yes to one page sends no other one."""
    script = """
async def main(wf):
    page = wf.save("page.txt", "TEXT")
    return await wf.ask("Send it?", about=page)
"""
    flows.write(script.replace("TEXT", "first"))
    await flows.run()
    flows.answer("yes")
    assert (await flows.run()).value == "yes"
    flows.write(script.replace("TEXT", "second"))
    assert (await flows.run()).exit is Exit.WAITING
    flows.write(script.replace("TEXT", "first"))
    assert (await flows.run()).value == "yes"


async def test_two_questions_at_once_have_tokens_of_their_own(flows: Flows) -> None:
    flows.write(
        ASK
        + """
    # and now:

async def main(wf):
    async def one(name):
        if name == "c":
            return await wf.step(send, name)
        return await wf.ask(f"Send {name}?", ["yes", "no"])
    return await wf.map(one, ["a", "b", "c"], at_once=1)
"""
    )
    end = await flows.run()
    assert [(one.number, one.question) for one in end.asked] == [(1, "Send a?"), (2, "Send b?")]
    assert flows.effects() == ["c"], "what waits for no answer has come to its end"
    with pytest.raises(ConfigurationError, match=r"asks 2 questions; say which: .*:1 'Send a\?'; .*:2 'Send b\?'"):
        flows.answer("yes")
    flows.answer("no", 2)
    end = await flows.run()
    assert [one.number for one in end.asked] == [1], "a token is the same as long as its question is open"
    flows.answer("yes")
    assert (await flows.run()).value == ["yes", "no", None]
    assert flows.effects() == ["c"]


async def test_steps_beside_a_question_come_to_their_end(flows: Flows) -> None:
    flows.write(
        ASK
        + """
import asyncio, time

def slow(text: str) -> None:
    time.sleep(0.3)
    send(text)

async def main(wf):
    return await asyncio.gather(wf.step(slow, "slow"), wf.ask("Go?"))
"""
    )
    assert (await flows.run()).exit is Exit.WAITING
    assert flows.effects() == ["slow"]
    flows.answer("yes")
    assert (await flows.run()).value == [None, "yes"]
    assert flows.effects() == ["slow"]


async def test_a_question_that_code_swallows_is_waited_for_all_the_same(flows: Flows) -> None:
    flows.write(
        """
        async def main(wf):
            try:
                await wf.ask("Go?")
            except BaseException:
                return "done without"
        """
    )
    assert (await flows.run()).exit is Exit.WAITING


async def test_two_processes_do_not_carry_out_one_flow(flows: Flows) -> None:
    flows.write(ASK)
    await flows.run()
    [info] = Jobs(flows.journal).all()
    with Jobs(flows.journal).open("flow", "flow.py", info.key.partition("/")[2], {}), pytest.raises(RunBusy):
        await flows.run()


async def test_a_step_cut_off_that_returned_something_asks_what(flows: Flows) -> None:
    flows.write("def number() -> int:\n    return 5\n\nasync def main(wf):\n    return await wf.step(number)\n")
    await flows.run()
    journal = flows.journal
    [info] = Jobs(journal).all()
    with Jobs(journal).open("flow", "flow.py", info.key.partition("/")[2], {}) as job:
        [step] = [step for step in Jobs(journal).steps(job.id) if step.name == "number"]
        job.begin(step.key, "number", step.parent)  # as a crash in its midst leaves it
    end = await flows.run()
    assert end.exit is Exit.WAITING
    assert "number was cut off in its midst" in end.asked[0].question
    assert "--value JSON" in end.asked[0].question
    flows.answer("done")
    assert (await flows.run()).exit is Exit.WAITING, "None is no int"
    flows.answer("done", value=7)
    assert (await flows.run()).value == 7
