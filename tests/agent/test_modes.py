"""Which turns think: the rules, the evidence, and the one token that looks at a task."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from fastslow import Agent, Kind, ModePolicy, ModeRule, Result, ScriptedModel
from fastslow.agent.engine.profiles import Profile
from fastslow.agent.engine.scripted import SCRIPTED, Scripted
from fastslow.agent.engine.types import ANY, NO_CALL, Reply, Request
from fastslow.agent.engine.wire import encode_choice, logprobs_of
from fastslow.agent.events import TurnStarted
from fastslow.agent.modes import DEFAULT_RULES, FAST, Evidence, Mode
from fastslow.agent.transcript import System, User
from fastslow.sandbox import DummySandbox
from tests.agent.helpers import WEAK, add, calls, fail, plan, says

LOOKS = replace(WEAK, block=("<calls>", "</calls>"))


def modes(policy: ModePolicy, *evidence: Evidence) -> list[int]:
    return [policy.mode(Kind.CALL, each)[0].budget for each in evidence]


def test_every_kind_has_a_rule_that_says_what_set_it() -> None:
    assert {rule.kind for rule in DEFAULT_RULES} == set(Kind)
    assert all(rule.because for rule in DEFAULT_RULES)


def test_the_first_rule_that_holds_decides() -> None:
    policy = ModePolicy((ModeRule(Kind.CALL, 512, failures=3), ModeRule(Kind.CALL, 64, failures=1)))
    assert modes(policy, Evidence(), Evidence(failures=1), Evidence(failures=3)) == [0, 64, 512]


def test_each_kind_of_evidence_can_decide() -> None:
    assert modes(ModePolicy((ModeRule(Kind.CALL, 9, prompt=100),)), Evidence(prompt=99), Evidence(prompt=100)) == [0, 9]
    assert modes(ModePolicy((ModeRule(Kind.CALL, 9, risk=True),)), Evidence(), Evidence(risk=True)) == [0, 9]
    surprised = ModePolicy((ModeRule(Kind.CALL, 9, surprise=True),))
    assert modes(surprised, Evidence(), Evidence(surprise=True)) == [0, 9]
    exhausted = ModePolicy((ModeRule(Kind.CALL, 9, exhausted=True),))
    assert modes(exhausted, Evidence(), Evidence(exhausted=True)) == [0, 9]
    unsure = ModePolicy((ModeRule(Kind.CALL, 9, unsure=0.5),))
    assert modes(unsure, Evidence(), Evidence(confidence=0.5), Evidence(confidence=0.49)) == [0, 0, 9]


def test_never_and_always_say_so() -> None:
    assert ModePolicy(think="never").mode(Kind.PLAN) == (FAST, "never thinks")
    assert ModePolicy(think="always").mode(Kind.CALL) == (Mode(2048), "always thinks")
    assert ModePolicy(think=99).mode(Kind.PLAN) == (Mode(99), "")
    assert ModePolicy(think="always").mode(Kind.TRIAGE) == (FAST, "")


async def run(
    *script: Scripted, policy: ModePolicy | None = None, profile: Profile = SCRIPTED
) -> tuple[Result, list[TurnStarted], ScriptedModel]:
    model = ScriptedModel(script, profile=profile)
    agent = Agent(engine=model, tools=[add, fail], sandbox=None, journal=None, policy=policy)
    result = await agent.run("What is 2 + 3?")
    return result, [event for event in result.events if isinstance(event, TurnStarted)], model


async def test_thinking_about_what_went_wrong_is_bounded_for_a_run() -> None:
    script = [calls(("fail", {"why": str(n)})) for n in range(7)]
    _, turns, _ = await run(*script, says("It does not work."), policy=ModePolicy(repairs=2))
    assert [turn.mode.thinks for turn in turns] == [True, False, True, True, False, False, False, False]
    assert turns[4].reason == "4 turns in a row failed; thought 2 times about what went wrong"


async def test_a_turn_after_it_works_again_is_fast() -> None:
    good = calls(("add", {"a": 2, "b": 3}))
    script = [calls(("fail", {"why": "1"})), calls(("fail", {"why": "2"})), good, says("5")]
    _, turns, _ = await run(*script)
    assert [turn.kind for turn in turns] == [Kind.PLAN, Kind.CALL, Kind.REPAIR, Kind.CALL]
    assert [turn.mode.thinks for turn in turns] == [True, False, True, False]


async def test_a_plan_that_had_trouble_is_looked_at_again() -> None:
    step = [calls(("fail", {"why": "1"})), calls(("add", {"a": 2, "b": 3})), says("5")]
    _, turns, _ = await run(plan("Add."), *step, says("5"))
    assert (turns[-1].kind, turns[-1].mode.budget) == (Kind.REVIEW, 1024)


async def test_a_plan_that_the_thoughts_swallowed_is_made_in_a_fast_turn() -> None:
    """Qwen3 does so in 3 of 5 tries: https://github.com/QwenLM/Qwen3/issues/1817"""

    def quoted(request: Request) -> Reply:
        assert "I should call plan with one step" in request.messages[-1].content
        assert not request.mode.thinks
        return plan("Add.")

    swallowed = Reply(reasoning="I should call plan with one step: add.")
    result, turns, _ = await run(swallowed, quoted, calls(("add", {"a": 2, "b": 3})), says("5"), says("5"))
    assert result.plan is not None
    assert result.answer == "5"
    assert [turn.kind for turn in turns[:2]] == [Kind.PLAN, Kind.CALL]


async def test_a_plan_without_steps_is_thought_about_again() -> None:
    empty = calls(("plan", {"goal": "Add.", "steps": []}))
    _, turns, _ = await run(empty, plan("Add."), calls(("add", {"a": 2, "b": 3})), says("5"), says("5"))
    assert [(turn.kind, turn.mode.thinks) for turn in turns[:2]] == [(Kind.PLAN, True), (Kind.PLAN, True)]


async def test_a_surprise_lasts_until_a_call_succeeds() -> None:
    bad, good = calls(("fail", {"why": "1"})), calls(("add", {"a": 2, "b": 3}))
    script = plan("a step"), calls(("give_up", {"why": "no"})), bad, bad, good, says("5")
    policy = ModePolicy((ModeRule(Kind.CALL, 7, surprise=True), ModeRule(Kind.REPAIR, 9)))
    _, turns, _ = await run(*script, policy=policy)
    told = [(turn.kind, turn.mode.budget) for turn in turns if not turn.branch]
    assert told[1:] == [(Kind.REPAIR, 9), (Kind.REPAIR, 9), (Kind.REPAIR, 9), (Kind.CALL, 0)]


async def test_a_file_name_in_a_question_is_no_order_to_make_it() -> None:
    model = ScriptedModel([says("Yes, it is.")])
    result = await Agent(engine=model, sandbox=DummySandbox(), journal=None).run("Is report.md a good name?")
    assert (result.answer, len(model.requests)) == ("Yes, it is.", 1)


async def test_a_plan_that_is_through_is_known() -> None:
    rules = (ModeRule(Kind.ANSWER, 5, exhausted=True),)
    steps = calls(("add", {"a": 2, "b": 3})), says("5")
    _, turns, _ = await run(plan("Add."), *steps, says("5"), policy=ModePolicy(rules))
    assert (turns[-1].kind, turns[-1].mode.budget) == (Kind.ANSWER, 5)


async def test_a_file_that_was_made_is_not_asked_for() -> None:
    script = [calls(("write_file", {"path": "notes.md", "content": "x"})), says("Done.")]
    agent = Agent(engine=ScriptedModel(script), sandbox=DummySandbox(), journal=None)
    result = await agent.run("Write notes.md.")
    assert result.answer == "Done."
    assert [file.name for file in result.files] == ["notes.md"]


# --- triage ------------------------------------------------------------------------------------------


def looked(**logprobs: float) -> Reply:
    return Reply(max(logprobs, key=lambda name: logprobs[name]), logprobs=logprobs)


async def test_a_model_that_is_not_sure_of_a_tool_answers() -> None:
    result, turns, model = await run(looked(add=-1.0, fail=-2.0), says("Hello."), profile=LOOKS)
    assert result.answer == "Hello."
    assert [turn.kind for turn in turns] == [Kind.TRIAGE, Kind.ANSWER]
    assert turns[1].reason == "50.3% sure of a tool, so it answers"
    assert model.requests[1].force == NO_CALL


async def test_one_that_is_sure_must_call() -> None:
    script = looked(add=-0.01, fail=-9.0), calls(("add", {"a": 2, "b": 3})), says("5")
    result, turns, model = await run(*script, profile=LOOKS)
    assert result.answer == "5"
    assert [turn.kind for turn in turns] == [Kind.TRIAGE, Kind.CALL, Kind.CALL]
    assert turns[1].reason == "99.0% sure of a tool"
    assert [request.force for request in model.requests] == [None, ANY, None]


async def test_a_server_without_log_probabilities_leaves_it_to_the_model() -> None:
    _, turns, model = await run(Reply(notes=("cannot",)), says("5"), profile=LOOKS)
    assert [(turn.kind, turn.reason) for turn in turns][1] == (Kind.CALL, "the server gives no probabilities")
    assert model.requests[1].force is None


async def test_the_first_look_is_a_prefix_of_the_next_turn() -> None:
    script = looked(add=-0.01, fail=-9.0), calls(("add", {"a": 2, "b": 3})), says("5")
    _, _, model = await run(*script, profile=LOOKS)
    first, second, _ = model.requests
    assert (first.messages, first.tools) == (second.messages, second.tools)


def test_the_request_for_one_token() -> None:
    request = Request((System("s"), User("u")), (add,))
    body = encode_choice(request, LOOKS, {"none": 7, "add": 9, "addition": 9, "odd": 0})
    assert body["messages"][-1] == {"role": "assistant", "content": '<calls>\n{"name": "'}
    assert (body["max_tokens"], body["logprob_token_ids"]) == (1, [7, 9])
    assert body["continue_final_message"] is True
    assert body["add_generation_prompt"] is False
    assert json.dumps(body)


@pytest.mark.parametrize(
    ("told", "logprobs"),
    [
        ([("none", -1.0), ("add", -2.0)], {"none": -1.0, "add_numbers": -2.0}),
        ([("n", -0.1), ("none", -1.0), ("add", -2.0), ("a", -9.0)], {"none": -1.0, "add_numbers": -2.0}),
        ([("none", -1.0)], {}),
        ([], {}),
    ],
)
def test_log_probabilities_in_an_answer(told: list[tuple[str, float]], logprobs: dict[str, float]) -> None:
    listed = [{"token": text, "logprob": chance} for text, chance in told]
    answer = {"choices": [{"logprobs": {"content": [{"top_logprobs": listed}]}}]}
    assert logprobs_of(answer, {"none": 7, "add_numbers": 9}) == logprobs
    assert logprobs_of(answer, {"none": 7, "add_numbers": 9, "add_words": 9}) == logprobs  # they begin alike
    assert logprobs_of({"choices": []}, {"none": 7}) == {}
    assert not math.isnan(sum(logprobs.values()))
