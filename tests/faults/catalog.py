"""The faults, each as the answers of a server or the doings of a tool, with what must come of it and what peers do.

What peers do was measured on 23 November 2026 with the default settings of smolagents 1.26.0, openai-agents 0.24.0,
pydantic-ai 2.68.0, langchain 1.4.7 (langgraph 1.2.22), strands 1.62.0, agno 3.1.10, qwen-agent 0.0.34.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from tests.engine.fake_server import Answer, call, delta, usage

GOOD = '{"city": "Seoul"}'
KNOWN = "20 degrees"
HANG_SECONDS = 0.2
FINAL = "It is 20 degrees in Seoul."
DIES = {"error": {"message": "engine dead", "code": 500}}
HALF = "It is 2"


@dataclass(frozen=True)
class Said:
    """What the model says in one turn, as the server's parsers give it; sent as a stream or as one body."""

    content: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str | None, str], ...] = ()  # id, name, arguments
    finish: str = "stop"

    def streamed(self) -> list[dict[str, Any]]:
        chunks = [delta(role="assistant", content="")]
        chunks += [delta([7], reasoning=piece) for piece in _pieces(self.reasoning)]
        chunks += [delta([8], content=piece) for piece in _pieces(self.content)]
        for index, (id_, name, arguments) in enumerate(self.calls):
            chunks.append(delta([9], tool_calls=[call(index, id_, name)]))
            chunks += [delta([9], tool_calls=[call(index, arguments=piece)]) for piece in _pieces(arguments)]
        return [*chunks, delta(finish=self.finish), usage()]

    def whole(self) -> dict[str, Any]:
        calls = [call(n, *parts) for n, parts in enumerate(self.calls)]
        message = {"role": "assistant", "content": self.content or None, "reasoning": self.reasoning or None}
        choice = {"index": 0, "message": message | {"tool_calls": calls}, "finish_reason": self.finish}
        return {"choices": [choice], "usage": usage()["usage"]}


def _pieces(text: str) -> list[str]:
    """A text as a model's tokens bring it, so that no tag, name or bracket comes in one piece."""
    return [text[n : n + 5] for n in range(0, len(text), 5)]


Played: TypeAlias = Said | Answer


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    plays: comes first; after it the model calls `weather`, and answers once a tool has told it. ran: the tools' bodies
    that must have run, in order. ends: the answer is right, or the run ended otherwise and this is part of the reason
    that it gives. tells: part of what the model or the user must be told on the way. peers: what others do with it.
    ways: of sending it: `"stream"`, or `"body"` for a server, or a proxy before it, that does not stream.
    """

    name: str
    plays: tuple[Played, ...]
    ran: tuple[str, ...] = ("weather(Seoul)",)
    ends: str = "right"
    tells: str = ""
    peers: str = ""
    think: Literal["auto", "never"] = "auto"
    ways: tuple[str, ...] = ("stream", "body")
    timeout: float = 20.0


def weather(arguments: str = GOOD, name: str | None = "weather", id_: str = "c1", **fields: Any) -> Said:
    return Said(calls=((id_, name, arguments),), **fields)


def streamed(*pieces: tuple[int | None, str, str | None, str]) -> Answer:
    """Pieces of calls as some proxy sends them: index, id, name, arguments."""
    calls = [call(0, *piece) | {"index": index} for index, *piece in pieces]
    return Answer([*(delta([9], tool_calls=[each]) for each in calls), delta(finish="stop"), usage()])


CALL = weather(id_="good")
NATIVE = '<tool_call>\n{"name": "weather", "arguments": {"city": "Seoul"}}\n</tool_call>'

# The call is right but lost or bent on its way: it is carried out, without another turn.
MENDED = (
    Fault("a trailing comma", (weather('{"city": "Seoul",}'),)),
    Fault("the last brace is missing", (weather('{"city": "Seoul"'),)),
    Fault("single quotes, as Python writes", (weather("{'city': 'Seoul'}"),)),
    Fault(
        "a bare string for the only property",
        (weather('"Seoul"'),),
        peers="smolagents and inspect run the tool with it as the first argument; openai-agents, agno, qwen-agent, "
        "strands send it back in the history; langchain ends with a ValidationError",
    ),
    Fault("an object in a string", (weather(json.dumps(GOOD)),)),
    Fault("a number in quotes", (weather('{"city": "Seoul", "days": "3"}', "forecast"),), ran=("forecast(Seoul, 3)",)),
    Fault("no arguments at all", (weather("", "clock"),), ran=("clock()",)),
    Fault(
        "`<tool_call>` left in the text",
        (Said(NATIVE),),
        peers="openai-agents, pydantic-ai, langchain, strands and agno end with it as the answer",
    ),
    Fault(
        "a call in a JSON block",
        (Said('```json\n{"name": "weather", "arguments": {"city": "Seoul"}}\n```'),),
        peers="openai-agents, pydantic-ai, langchain, strands, agno, qwen-agent end with it as the answer",
    ),
    Fault("no opening tag", (Said(NATIVE.removeprefix("<tool_call>\n")),)),
    Fault("no closing tag", (Said(NATIVE.removesuffix("\n</tool_call>")),)),
    Fault(
        "`arguments` before `name`, as `parameters`",
        (Said('<tool_call>{"parameters": {"city": "Seoul"}, "name": "weather"}</tool_call>'),),
    ),
    Fault(
        "a closing tag inside a string",
        (Said('<tool_call>{"name": "weather", "arguments": {"city": "</tool_call>"}}</tool_call>'),),
        ran=("weather(</tool_call>)",),
    ),
    Fault(
        "the XML of another family",
        (Said("<tool_call>\n<function=weather>\n<parameter=city>\nSeoul\n</parameter>\n</function>\n</tool_call>"),),
    ),
    Fault("text behind the call", (Said(NATIVE + "\nI wait for the result."),)),
    Fault("a call in the reasoning", (Said(reasoning=f"I need the weather. {NATIVE}"),)),
    Fault("a call inside thoughts that never close", (Said(f"<think>I need the weather. {NATIVE}"),)),
    Fault("the answer in the reasoning field", (Said(reasoning=FINAL),), ran=(), think="never"),
    Fault("thoughts in the content", (CALL, Said(f"<think>Now I know.</think>{FINAL}"))),
    Fault(
        "two calls under one id",
        (Said(calls=(("c1", "weather", GOOD), ("c1", "weather", '{"city": "Busan"}'))),),
        ran=("weather(Seoul)", "weather(Busan)"),
        peers="openai-agents and pydantic-ai end with an exception; smolagents loses the first call; qwen-agent "
        "merges both into `get_weatherget_weather`",
    ),
    Fault("a call without an id", (weather(id_=""),)),
    Fault(
        "id and name again in each chunk",
        (streamed(*((0, "c1", "weather", part) for part in _pieces(GOOD))),),
        ways=("stream",),
    ),
    Fault(
        "the whole call again", (streamed((0, "c1", "weather", GOOD), (0, "c1", "weather", GOOD)),), ways=("stream",)
    ),
    Fault(
        "all arguments again at the end",
        (streamed((0, "c1", "weather", GOOD[:9]), (0, "", None, GOOD)),),
        ways=("stream",),
    ),
    Fault(
        "two calls, of index 0 both",
        (streamed((0, "c1", "weather", GOOD), (0, "c2", "weather", '{"city": "Busan"}')),),
        ran=("weather(Seoul)", "weather(Busan)"),
        ways=("stream",),
    ),
    Fault(
        "pieces without an index",
        (streamed((None, "c1", "weather", GOOD[:9]), (None, "", None, GOOD[9:])),),
        ways=("stream",),
    ),
    Fault("`args` for `arguments`", (Said('<tool_call>{"name": "weather", "args": {"city": "Seoul"}}</tool_call>'),)),
    Fault("a name as Kimi writes it", (weather(name="functions.weather:0"),)),
)

# The call cannot be known for sure: it is not run, the model is told what was wrong, and goes on.
TAUGHT = (
    Fault(
        "arguments that stop in the middle",
        (weather('{"city": "Seo'),),
        tells="The arguments were cut off",
        peers="smolagents runs the tool with the broken text as its first argument; langchain ends with an empty "
        "answer, or, streaming, runs it with `Seo`; openai-agents and agno send the broken text back in the history",
    ),
    Fault("a value of the wrong type", (weather('{"city": ["Seoul"]}'),), tells="city: expected a string"),
    Fault("a required argument is missing", (weather("{}"),), tells="city"),
    Fault("an argument that does not exist", (weather('{"town": "Seoul"}'),), tells="town"),
    Fault("NaN for a number", (weather('{"city": "Seoul", "days": NaN}', "forecast"),), tells="days"),
    Fault("nested 20,000 deep", (weather('{"city": ' + "[" * 20_000 + "]" * 20_000 + "}"),), tells="nested"),
    Fault("half a surrogate pair", (weather('{"city": "Seoul\\ud800", "x": 1}'),), tells="x"),
    Fault(
        "a tool that does not exist",
        (weather(name="get_wether"),),
        tells="weather",
        peers="openai-agents ends with ModelBehaviorError",
    ),
    Fault(
        "`<tool_call>` in the text, that cannot be read",
        (Said('<tool_call>\n{"name": "weather", "arguments": {"city": Seoul!}}\n</tool_call>'),),
        tells="expected a value, got 'Seoul!",
    ),
    Fault(
        "`<tool_call>` in the text, that was cut off",
        (Said('<tool_call>\n{"name": "weather", "arguments": {"city": "Seo'),),
        tells="The arguments were cut off",
    ),
    Fault(
        "`<tool_call>` in the text, of a tool that does not exist",
        (Said(NATIVE.replace('"weather"', '"get_wether"')),),
        tells="Did you mean weather?",
    ),
    Fault(
        "one good `<tool_call>` in the text and one that cannot be read",
        (Said(f'{NATIVE}\n<tool_call>\n{{"name": "weather", "arguments": {{"city": "Bus\n</tool_call>'),),
        tells="The arguments were cut off",
    ),
    Fault("a call without a name", (weather(name=""),), tells="did not run"),
    Fault("a call without a name, behind words", (weather(name="", content="Let me look."),), tells="did not run"),
    Fault(
        "one good call and one bad",
        (Said(calls=(("c1", "weather", GOOD), ("c2", "weather", '{"city": 5'))),),
        tells="c",
    ),
    Fault(
        "an empty answer",
        (Said(),),
        tells="no answer and no call",
        peers="openai-agents, langchain, strands and agno end with '' as the answer",
    ),
    Fault("a code fence around nothing", (Said("```python\n```"),), tells="no answer and no call"),
    Fault("thoughts and nothing else", (Said(reasoning="I should look."),), tells="I should look."),
    Fault(
        "cut off for its length inside a call",
        (weather('{"city": "Seo', finish="length"),),
        tells="cut off",
        peers="smolagents runs the tool with the broken text, langchain, streaming, with `Seo`; strands ends with "
        "MaxTokensReached; openai-agents, agno and qwen-agent send the broken text back in the history",
    ),
    Fault("cut off for its length inside the text", (CALL, Said(HALF, finish="length")), tells="cut off"),
    Fault(
        "a bad call, again and again",
        tuple(weather('{"town": "Seoul"}', id_=f"c{n}") for n in range(12)),
        ran=(),
        ends="gave up after 10 turns in a row failed",
        tells="town",
        peers="langchain, strands and agno have no limit",
    ),
    Fault("an empty answer, again and again", (Said(),) * 9, ran=(), ends="no usable answer"),
    Fault("going round in circles", (Said("and " * 30, finish="repetition"),), tells="circles"),
    Fault(
        "the same failing call, word for word",
        (
            weather("{}"),
            weather("{}", id_="c2"),
        ),
        tells="expected the property",
    ),
)

# The server or the wire fails: asked again where that is safe, else one clear reason.
SERVER = (
    Fault(
        "500 twice",
        (
            Answer(body=DIES, status=500),
            Answer(body=DIES, status=500),
        ),
        ways=("body",),
    ),
    Fault(
        "500 for good",
        (Answer(body=DIES, status=500),) * 9,
        ran=(),
        ends="answered 500: engine dead",
        ways=("body",),
        peers="agno gives the error's text as the answer; the others end with an exception after 3 tries",
    ),
    Fault("429 with Retry-After", (Answer(body=DIES, status=429, headers={"Retry-After": "0.01"}),), ways=("body",)),
    Fault("503 while it loads", (*(Answer(body=DIES, status=503),) * 9,), ways=("body",)),
    Fault(
        "400, which no retry mends",
        (Answer(body={"error": {"message": "no"}}, status=400),),
        ran=(),
        ends="400: no",
        ways=("body",),
    ),
    Fault("401", (Answer(body=DIES, status=401),), ran=(), ends="FASTSLOW_API_KEY", ways=("body",)),
    Fault("the connection closes before the answer", (Answer(raw=b""),), ways=("body",)),
    Fault("what is not HTTP", (Answer(raw=b"\0garbage\r\n\r\n"),), ways=("body",)),
    Fault(
        "a proxy's page instead of JSON",
        (Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\nBusy"),),
        ways=("body",),
    ),
    Fault(
        "dropped in the middle of the text",
        (CALL, Answer([delta([1], content=HALF)], drop=True)),
        tells="broke off",
        peers="openai-agents, pydantic-ai, langchain, smolagents, strands and qwen-agent end with an exception; agno "
        'answers "Connection error."',
        ways=("stream",),
    ),
    Fault(
        "dropped in the middle of a call",
        (Answer(weather('{"city": "Se').streamed()[:-2], drop=True),),
        tells="broke off",
        ways=("stream",),
    ),
    Fault(
        "the body ends too early",
        (
            Answer(
                raw=b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"choices": [{"me'
            ),
        ),
        ways=("body",),
    ),
    Fault(
        "the stream ends politely, but too early",
        (CALL, Answer([delta([1], content=HALF)], polite=True)),
        tells="broke off",
        ways=("stream",),
    ),
    Fault(
        "an error in the middle of the stream",
        (CALL, Answer([delta([1], content=HALF), DIES])),
        tells="broke off",
        ways=("stream",),
    ),
    Fault(
        "an event of broken JSON",
        (CALL, Answer([delta([1], content=HALF), 'data: {"choices": [{"del\n\n'])),
        tells="broke off",
        ways=("stream",),
    ),
    Fault("shut down in the middle (`abort`)", (CALL, Said(HALF, finish="abort")), tells="broke off"),
    Fault(
        "comments between the events",
        (Answer([": ping\n\n", *CALL.streamed()[:2], ": ping\n\n", *CALL.streamed()[2:]]),),
        ways=("stream",),
    ),
    Fault(
        "silence before the answer",
        (Answer(hold=True),),
        ran=(),
        ends="said nothing for 0.3 s",
        timeout=0.3,
        ways=("stream",),
    ),
    Fault(
        "silence in the middle of the answer",
        (CALL, Answer([delta([1], content=HALF)], hold=True)),
        tells="broke off",
        timeout=0.3,
        ways=("stream",),
    ),
    Fault(
        "only comments, for ever",
        (Answer([delta([1], content=HALF)], hold=True, pings=True),),
        tells="broke off",
        timeout=0.3,
        ways=("stream",),
    ),
    Fault(
        "fields of the wrong type",
        (Answer([{"choices": "x"}, {"choices": [{"delta": 5}]}, {"usage": []}, *CALL.streamed()]),),
        ways=("stream",),
    ),
)

# The tool fails: the model is told, and goes on.
TOOLS = (
    Fault(
        "the tool raises",
        (weather('{"how": "raise"}', "bad"),),
        ran=("bad(raise)", "weather(Seoul)"),
        tells="no such station",
        peers="pydantic-ai and langchain end with the tool's exception; openai-agents does not tell the model why",
    ),
    Fault(
        "the tool hangs",
        (weather('{"how": "hang"}', "bad"),),
        ran=("bad(hang)", "weather(Seoul)"),
        tells="0.2 s",
        peers="all but mini-swe-agent wait for as long as it takes",
    ),
    Fault(
        "the tool returns 5 MB",
        (weather('{"how": "flood"}', "bad"),),
        ran=("bad(flood)", "weather(Seoul)"),
        tells="characters cut",
        peers="smolagents, openai-agents, pydantic-ai, langchain, strands and agno send all of it to the model",
    ),
    Fault(
        "the tool returns what no JSON holds",
        (weather('{"how": "object"}', "bad"),),
        ran=("bad(object)", "weather(Seoul)"),
    ),
    Fault(
        "the tool returns half a surrogate pair",
        (weather('{"how": "surrogate"}', "bad"),),
        ran=("bad(surrogate)", "weather(Seoul)"),
    ),
    Fault(
        "the tool calls sys.exit",
        (weather('{"how": "exit"}', "bad"),),
        ran=("bad(exit)", "weather(Seoul)"),
        tells="SystemExit",
    ),
)

GROUPS = {
    "Calls that came bent": MENDED,
    "Answers that cannot be used": TAUGHT,
    "The server and the wire": SERVER,
    "Tools": TOOLS,
}
FAULTS = tuple(fault for group in GROUPS.values() for fault in group)
