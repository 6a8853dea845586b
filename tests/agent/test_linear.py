"""What reads a model's words takes linear time, whatever they are."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from fastslow.agent.compaction import compact
from fastslow.agent.engine.fenced import first_block
from fastslow.agent.engine.mend import mend
from fastslow.agent.engine.profiles import find_profile
from fastslow.agent.engine.received import Received
from fastslow.agent.engine.recover import lost_calls, recover_calls
from fastslow.agent.engine.types import Request
from fastslow.agent.serving.diagnose import explain_death
from fastslow.agent.transcript import Assistant, Message, System, ToolCall, ToolResult, User
from fastslow.tools.lenient import read_whole
from fastslow.tools.result import as_text, clip
from tests.agent.helpers import add
from tests.surfaces.cli.long import GROWTH, SHAPES, times_as_much, work

BEGUN = (
    '<tool_call>{"name":"f","arguments":{"x":',
    "<function=f><parameter=x>",
    '[{"name": ',
    '{"a": "\\',
    "x```\n",
    "````python\n",
    '```json\n{"name": "f"\n',
    "<|tool_call>call:f{a:",
    "  [f(x=(\n",
    "<|im_end|> ",
    '{"a":1,"a":1,',
    "MyError: ",
)
SHORT, LONG = 2_000, 16_000


def mended(text: str) -> None:
    received = Received()
    received.feed({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]})
    for profile in ("exaone4", "instruct"):
        mend(received, Request((User("x"),), (add,)), find_profile(profile), raw=text)


def compacted(text: str) -> None:
    part = text[: len(text) // 20]
    messages: list[Message] = [System("s"), User(text)]
    for n in range(20):
        messages += [Assistant(part, (ToolCall(str(n), "f", "{}"),), part), ToolResult(str(n), "f", part, n % 3 > 0)]
    compact(messages, len(text) // 2, len(text))


def read(text: str) -> None:
    with suppress(ValueError):
        read_whole(text)


READERS: dict[str, Callable[[str], object]] = {
    "hermes": lambda text: recover_calls(text, "hermes"),
    "pythonic": lambda text: recover_calls(text, "pythonic"),
    "json": lambda text: recover_calls(text, "llama3_json"),
    "lost": lambda text: lost_calls(text, "hermes"),
    "block": first_block,
    "mend": mended,
    "compact": compacted,
    "lenient": read,
    "death": lambda text: explain_death(1, text, "log"),
    "result": lambda text: clip(as_text(text), 1000),
}


@pytest.mark.parametrize("reader", READERS)
def test_eight_times_as_much_takes_about_eight_times_as_long(reader: str) -> None:
    makers = [*SHAPES.values(), *(lambda n, begun=begun: begun * (n // len(begun)) for begun in BEGUN)]
    for make in makers:
        long, short = (partial(READERS[reader], make(length)) for length in (LONG, SHORT))
        if work(long) > 0.05:
            assert times_as_much(long, short, 0.002) < GROWTH, make(60)
