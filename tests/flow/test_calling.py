"""A row that needs no sandbox is one constrained call, asked again where the answer does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from fastslow.agent.budget import Budget
from fastslow.agent.engine.profiles import EXAONE4
from fastslow.agent.engine.scripted import Scripted, ScriptedModel
from fastslow.agent.engine.types import Reply, Request, Usage
from fastslow.agent.engine.wire import encode_request
from fastslow.agent.errors import ConfigurationError, ContextOverflow, EngineRefused, EngineUnreachable
from fastslow.agent.events import Exit
from fastslow.agent.flow.calling import VOTING_TEMPERATURE, Caller
from fastslow.agent.flow.row import Row
from fastslow.agent.flow.spec import MapSpec
from fastslow.agent.flow.votes import Votes
from fastslow.agent.modes import FAST
from fastslow.agent.record.jobs import StepResult
from fastslow.agent.transcript import User
from tests.flow.stub_server import SCHEMA

SPEC = MapSpec("job", "Measure {text}", SCHEMA)
ROW = Row(1, "1", "k", {"text": "hello"})
RIGHT = '{"size": "short", "letters": 5}'


async def asked(spec: MapSpec, *script: Scripted, row: Row = ROW) -> tuple[StepResult, Sequence[Request]]:
    model = ScriptedModel(script)
    result = await Caller(spec, model)(row)
    model.assert_complete()
    return result, model.requests


async def test_a_row_is_one_constrained_call_without_thinking() -> None:
    result, [request] = await asked(SPEC, Reply(RIGHT, usage=Usage(100, 80, 0, 12)))
    assert (result.exit, result.output, result.run) == (Exit.ANSWERED, {"size": "short", "letters": 5}, "")
    assert (result.turns, result.tokens, result.prompt, result.cached) == (1, 12, 100, 80)
    assert request.mode == FAST
    assert request.schema
    assert request.schema["properties"] == SCHEMA["properties"]


async def test_what_is_the_same_for_all_rows_comes_first() -> None:
    _, [one] = await asked(SPEC, Reply(RIGHT))
    _, [other] = await asked(SPEC, Reply(RIGHT), row=Row(2, "2", "l", {"text": "Measure {text}"}))
    assert one.messages[0] == other.messages[0]
    assert "Measure {text}" in one.messages[0].content
    assert '"short", "long"]}. of the text' in one.messages[0].content
    assert [message.content for message in one.messages[1:]] == ["<text>\nhello\n</text>"]


async def test_a_wrong_answer_is_asked_for_again_with_the_error() -> None:
    result, requests = await asked(
        SPEC, Reply('{"size": "huge", "letters": 5}'), Reply(RIGHT[:9], finish="length"), Reply(RIGHT)
    )
    assert (result.exit, result.turns) == (Exit.ANSWERED, 3)
    assert 'expected one of "short", "long", got "huge"' in requests[1].messages[-1].content
    assert "cut off" in requests[2].messages[-1].content


@pytest.mark.parametrize(
    ("reply", "failure"),
    [(Reply("no"), "invalid"), (Reply('{"size": "sh', finish="length"), "cut off")],
)
async def test_turns_are_bounded(reply: Reply, failure: str) -> None:
    result, _ = await asked(SPEC, *[reply] * 4)
    assert (result.exit, result.failure, result.turns, result.output) == (Exit.FAILED, failure, 4, None)
    assert result.reason


async def test_tokens_of_a_row_are_bounded() -> None:
    spec = replace(SPEC, each=Budget(turns=9, tokens=10))
    result, _ = await asked(spec, Reply("no", usage=Usage(answer=11)))
    assert (result.exit, result.failure) == (Exit.BUDGET, "budget")


def raising(error: Exception) -> Scripted:
    def answer(_: Request) -> Reply:
        raise error

    return answer


@pytest.mark.parametrize(
    ("error", "end", "failure"),
    [
        (ContextOverflow("too long"), Exit.FAILED, "overflow"),
        (EngineRefused("bad", status=400), Exit.SERVER, "refused 400"),
    ],
)
async def test_what_the_server_refuses_fails_the_row(error: Exception, end: Exit, failure: str) -> None:
    result, _ = await asked(SPEC, raising(error))
    assert (result.exit, result.failure, result.reason) == (end, failure, str(error))


async def test_a_server_that_is_gone_is_not_the_fault_of_the_row() -> None:
    with pytest.raises(EngineUnreachable):
        await asked(SPEC, raising(EngineUnreachable("gone")))


async def test_without_a_schema_the_answer_is_text() -> None:
    result, [request] = await asked(replace(SPEC, schema=None), Reply(" five letters\n"))
    assert (result.output, request.schema) == ("five letters", None)


@pytest.mark.parametrize(("think", "budget"), [("never", 0), ("auto", 0), (512, 512), ("always", 2048)])
async def test_a_call_thinks_where_it_is_told_to(think: Any, budget: int) -> None:
    _, [request] = await asked(replace(SPEC, think=think), Reply(RIGHT))
    assert request.mode.budget == budget


async def test_the_majority_of_an_enum_counts() -> None:
    script = [Reply(f'{{"size": "{size}", "letters": {n}}}') for size, n in [("long", 1), ("short", 2), ("short", 3)]]
    result, requests = await asked(replace(SPEC, votes=3), *script)
    assert result.output == {"size": "short", "letters": 2}  # what is no enum comes from the first that agrees
    assert result.votes == {"size": 0.667}
    assert sorted(request.seed or 0 for request in requests) == [0, 1, 2]
    assert {request.temperature for request in requests} == {VOTING_TEMPERATURE}  # the profile's own is 0


async def test_a_server_that_is_gone_while_samples_vote_is_not_the_row_s_fault() -> None:
    def gone(request: Request) -> Reply:
        raise EngineUnreachable("nothing answers")

    with pytest.raises(EngineUnreachable):
        await Caller(replace(SPEC, votes=3), ScriptedModel([Reply(RIGHT), gone, Reply(RIGHT)]))(ROW)


def test_values_of_any_kind_are_voted_on() -> None:
    votes = Votes.of({"type": "object", "properties": {"pair": {"enum": [["a", "b"], ["c", "d"], None]}}})
    output, shares = votes.counted([{"pair": ["c", "d"]}, {"pair": ["a", "b"]}, {"pair": ["a", "b"]}], of=4)
    assert (output, shares) == ({"pair": ["a", "b"]}, {"pair": 0.5})


def test_votes_need_an_enum() -> None:
    with pytest.raises(ConfigurationError, match="of the type object"):
        Votes.of({"properties": {"size": {"enum": ["a"]}}})  # an answer could be no object then
    schema = {"type": "object", "properties": {"letters": {"type": "integer"}}}
    with pytest.raises(ConfigurationError, match="enum"):
        Caller(replace(SPEC, schema=schema, votes=3), ScriptedModel([]))


def test_temperature_and_seed_reach_the_server() -> None:
    request = Request((User("x"),))
    plain = encode_request(request, EXAONE4, "m", 100, True)
    assert "seed" not in plain
    body = encode_request(replace(request, temperature=0.7, seed=0), EXAONE4, "m", 100, True)
    assert (body["temperature"], body["seed"]) == (0.7, 0)


def test_a_spec_goes_through_json() -> None:
    spec = replace(
        SPEC, think=100, votes=3, base_urls=("http://a/v1",), packages=("duckdb==1.0",), each=Budget(turns=7)
    )
    assert MapSpec.from_json(spec.to_json()) == spec
