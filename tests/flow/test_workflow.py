"""What a workflow does with its steps: each is remembered by its content, and done once."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastslow.agent.events import Exit
from tests.flow.flows import Flows

STEPS = """
    from pathlib import Path

    def note(text: str) -> str:
        with open(Path(__file__).with_name("effects"), "a") as file:
            file.write(text + "\\n")
        return text

    async def main(wf):
        value = "a"
        for number in range(9):
            value = await wf.step(note, f"{number}")
        return value
"""


@pytest.fixture
def flows(tmp_path: Path) -> Flows:
    return Flows(tmp_path)


async def test_agents_and_steps_are_remembered(flows: Flows) -> None:
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


async def test_plain_steps_run_once(flows: Flows) -> None:
    flows.write(STEPS)
    assert (await flows.run()).value == "8"
    flows.write(STEPS + "    # changed\n")
    end = await flows.run()
    assert (end.value, end.told_again) == ("8", False)
    assert flows.effects() == list("012345678")
