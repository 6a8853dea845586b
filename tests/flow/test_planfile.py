"""Plans as files: what is written is read again, and what is wrong is told with its line."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastslow.agent.flow.places import escaped, filled, names
from fastslow.agent.flow.planfile import PlanFile
from fastslow.agent.flow.yamlfile import LARGEST, PARTS, FileWrong, parse, read_text
from fastslow.agent.plan import Plan, Step
from fastslow.agent.quoting import CONTROLS

PLAN = """\
task: Report on {month}
files:
- orders.csv
parameters:
  month: 2026-10
  region: ''
goal: A report of {region}
steps:
- Load orders.csv
- do: Plot {month} as {{month}}.png
  after: [1]
"""
TEXT = st.text(st.characters(codec="utf-8"), min_size=1)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    steps = []
    for number in range(1, draw(st.integers(2, 5))):
        after = draw(st.none() | st.lists(st.integers(1, number - 1), max_size=3) if number > 1 else st.none())
        steps.append(Step(do=draw(TEXT), after=after))
    return Plan(goal=draw(TEXT), steps=tuple(steps))


@given(plans(), TEXT)
@example(Plan(goal="{a}}", steps=(Step(do="- no\n"),)), "{{a} {'b': {c}}")
@example(Plan(goal="\n  two\nlines ", steps=(Step(do="\x85\u2028\ufeff"), Step(do="null"), Step(do="a: b # c"))), "~")
@settings(max_examples=150, deadline=None)
def test_a_plan_comes_back_from_its_file_as_it_was(plan: Plan, task: str) -> None:
    written = PlanFile.of(task, plan, [Path("a b.csv"), Path("/data/orders.csv"), Path("in/x.csv")])
    read = PlanFile.read(written.to_yaml(), "plan.yaml")
    assert read == written
    assert read.filled({}) == (task, plan)
    assert read.files == ("a b.csv", "orders.csv", "in/x.csv")


@given(TEXT | st.from_regex(r"[{}]{0,4}[ab]?[{}]{0,4}[ab]?[{}]{0,4}", fullmatch=True))
def test_an_escaped_text_has_no_place_and_comes_back(text: str) -> None:
    assert names(escaped(text)) == ()
    assert filled(escaped(text), {}) == text


def test_what_a_person_reads_and_edits() -> None:
    plan = Plan(goal="Report", steps=(Step(do="Load orders.csv"), Step(do="Plot\nand save", after=(1,))))
    assert PlanFile.of("Sum up", plan, [Path("orders.csv")]).to_yaml() == (
        "task: Sum up\nfiles:\n- orders.csv\ngoal: Report\nsteps:\n- do: Load orders.csv\n"
        "- do: |-\n    Plot\n    and save\n  after: [1]\n"
    )


def test_parameters_are_filled_once() -> None:
    read = PlanFile.read(PLAN, "plan.yaml")
    task, plan = read.filled({"region": "{month}"})
    assert (task, plan.goal) == ("Report on 2026-10", "A report of {month}")
    assert [step.do for step in plan.steps] == ["Load orders.csv", "Plot 2026-10 as {month}.png"]
    assert read.filled({"region": "x", "month": "May"})[0] == "Report on May"


@pytest.mark.parametrize(
    ("plan", "given", "told"),
    [
        (PLAN, {}, "parameter region: it has no value; give --set"),
        (PLAN, {"region": "x", "year": "1"}, "parameter year: the plan has no such parameter; it has month, region"),
        (PLAN.replace("Report on {month}", "Report").replace("{month} as", ""), {"region": "x"}, "parameter month: "),
    ],
)
def test_parameters_that_do_not_fit_are_named(plan: str, given: dict[str, str], told: str) -> None:
    with pytest.raises(FileWrong, match=told):
        PlanFile.read(plan, "plan.yaml").filled(given)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("goal:", "goals:", "line 1, goal: this is missing\nplan.yaml, line 7, goals: there is no such field"),
        ("after: [1]", "after: [x]", "line 11, steps.2.after.1: "),
        ("after: [1]", "after: [2]", "step 2 can only come after earlier steps"),
        ("  after: [1]", "  needs: [1]", "line 11, steps.2.needs: there is no such field"),
        ("A report of {region}", "[", "line 9: this is no YAML"),
        ("A report of {region}", "''", "line 7, goal: String should have at least 1 character"),
        ("goal: A report of {region}", "goal: a\ngoal: b", "line 8: 'goal' stands twice"),
        ("- orders.csv", "- {a: b}", "line 3, files.1: "),
        ("A report", "&a report", "line 7: anchors"),
        ("A report", "!!python/object:os.system report", "line 7: anchors"),
        ("goal:", "? [a]\n: b\ngoal:", "line 7: expected a name before the colon"),
        (PLAN, "- a list", "line 1: expected fields"),
        (PLAN, "", "expected fields"),
        (PLAN, "task: a\x00b", "no YAML"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(old: str, new: str, told: str) -> None:
    with pytest.raises(FileWrong) as raised:
        PlanFile.read(PLAN.replace(old, new), "plan.yaml")
    assert str(raised.value).startswith("plan.yaml")
    assert told in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        "a: " + "[" * 200_000,
        "a: " + "[\n" * 100_000,
        "a: {" * 60_000,
        "- " * 100_000,
        "a:\n" + "- b\n" * (PARTS + 1),
        "? " * 100_000,
    ],
    ids=["aliases", "brackets", "lines", "braces", "dashes", "parts", "keys"],
)
def test_hostile_yaml_is_refused_at_once(text: str) -> None:
    began = time.monotonic()
    with pytest.raises(FileWrong):
        parse(text, "plan.yaml")
    assert time.monotonic() - began < 2


def test_a_file_is_a_text_of_some_size(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: b\r\n")
    assert read_text(file) == "a: b\n"
    file.write_bytes(b"\xff")
    with pytest.raises(FileWrong, match="no text in UTF-8"):
        read_text(file)
    file.write_bytes(b"x" * (LARGEST + 1))
    with pytest.raises(FileWrong, match="larger than 256 KiB"):
        read_text(file)


def test_a_plan_of_a_hostile_model_moves_nothing_on_a_terminal() -> None:
    plan = Plan(goal="g\x1b]0;x\x07", steps=(Step(do="a\u202eb \u200f c"),))
    written = PlanFile.of("t\x1b[31m", plan).to_yaml()
    assert not CONTROLS.search(written)
    assert PlanFile.read(written, "plan.yaml").filled({}) == ("t\x1b[31m", plan)
