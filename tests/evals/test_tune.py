"""Fitting the rules to a model: candidates, how sure a difference is, and the file that keeps what paid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fastslow import ConfigurationError
from fastslow.agent.engine.profiles import find_profile
from fastslow.agent.engine.profiles.instruct import INSTRUCT
from fastslow.agent.engine.profiles.overlay import load_rules, save_rules
from fastslow.agent.evals.rows import Row, sign_test
from fastslow.agent.evals.tune import BASE, arms, candidates, chosen_rules, comparisons
from fastslow.agent.modes import Kind, ModePolicy, ModeRule

ROW = Row(
    suite="workflows",
    group="join",
    case="",
    arm="",
    repeat=0,
    seed=1,
    model="m",
    right=True,
    wrong="",
    exit="answered",
    turns=3,
    think_turns=1,
    prompt=900,
    cached=800,
    thinking=40,
    answer=160,
    tool_turns=2,
    tool_tokens=90,
    calls=2,
    valid=2,
    seconds=9.0,
)


def ran(arm: str, right: str, tokens: int = 200) -> list[Row]:
    """A row a case: `1` where it was right."""
    return [
        replace(ROW, arm=arm, case=f"c{n}", right=each == "1", answer=tokens - ROW.thinking)
        for n, each in enumerate(right)
    ]


def test_candidates_vary_one_rule_each_beside_the_profiles_own() -> None:
    tried = candidates(INSTRUCT)
    assert tried[BASE] is None
    assert set(tried) == {BASE, "plan=0", "plan=30", "plan=120", "call=32", "repair=0"}
    policies = {arm.name: arm.policy for arm in arms(INSTRUCT)}
    assert policies["plan=120"] is not None
    assert policies["plan=120"].mode(Kind.PLAN)[0].budget == 120
    assert policies["plan=120"].mode(Kind.REPAIR)[0].budget == 28  # the rest stays


def test_a_family_that_sets_nothing_is_tried_around_the_default() -> None:
    assert {"plan=0", "plan=2048", "plan=8192"} <= set(candidates(find_profile("exaone4")))


def test_what_is_better_beyond_chance_is_taken_with_its_figures() -> None:
    base, better = "0" * 12, "1" * 8 + "0" * 4
    found = comparisons(INSTRUCT, [*ran(BASE, base), *ran("plan=120", better, 400)])
    assert [(each.rule.budget, each.taken, each.better, each.worse) for each in found] == [(120, True, 8, 0)]
    (rule,) = chosen_rules(found)
    assert (rule.kind, rule.budget) == (Kind.PLAN, 120)
    assert "8 of 12 right at 400 tokens" in rule.because


def test_what_chance_may_have_made_is_left_and_told_how_much_would_tell() -> None:
    (found,) = comparisons(INSTRUCT, [*ran(BASE, "1000"), *ran("plan=120", "1110", 400)])
    assert not found.taken
    assert found.p_value == 0.5
    assert found.cases_needed is not None
    assert found.cases_needed > 4
    assert f"{found.cases_needed} cases would tell" in found.summary


def test_as_good_for_fewer_tokens_is_taken_and_one_rule_a_kind() -> None:
    rows = [*ran(BASE, "1100"), *ran("plan=0", "1100", 100), *ran("plan=30", "1100", 120)]
    assert [(each.rule.budget, each.taken) for each in comparisons(INSTRUCT, rows)] == [(0, True), (30, False)]


def test_the_sign_test() -> None:
    assert sign_test(0, 0) == 1.0
    assert sign_test(10, 0) == pytest.approx(2 / 1024)
    assert sign_test(0, 10) == sign_test(10, 0)


def test_rules_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "modes" / "m.toml"
    rules = (ModeRule(Kind.PLAN, 80, 'said "so"', unsure=0.5), ModeRule(Kind.CALL, 32, failures=1, risk=True))
    save_rules(path, rules, "Made by hand.\nTwice.")
    assert load_rules(path) == rules
    assert path.read_text().startswith("# Made by hand.\n# Twice.\n")
    assert ModePolicy((*load_rules(path), *INSTRUCT.rules)).mode(Kind.PLAN)[0].budget == 60  # where nobody was unsure


@pytest.mark.parametrize(
    "text",
    [
        "not toml",
        "x = 1",
        '[[rule]]\nkind = "plan"\n',
        '[[rule]]\nkind = "plan"\nbudget = -1\n',
        '[[rule]]\nkind = "plan"\nbudget = true\n',
        '[[rule]]\nkind = "dream"\nbudget = 1\n',
        '[[rule]]\nkind = "plan"\nbudget = 1\nwhen = "often"\n',
        "rule = 5\n",
    ],
)
def test_a_damaged_file_is_told_by_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"m\.toml holds no rules of modes"):
        load_rules(path)
