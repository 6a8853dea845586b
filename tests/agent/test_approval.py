"""Who may run what: rules, questions, and what becomes of the answers."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastslow import (
    Agent,
    Answer,
    Approval,
    ApprovalRule,
    ConfigurationError,
    Exit,
    Journal,
    Question,
    Result,
    ScriptedModel,
)
from fastslow.agent.approval import Ask, unattended
from fastslow.agent.engine.types import Reply
from fastslow.agent.events import CallFinished, CallStarted, Consent
from fastslow.agent.question import BAR
from fastslow.tools import Effect, Tool, tool
from tests.agent.helpers import Dies, calls, plan, says


def made(effect: Effect, name: str = "post") -> Tool:
    schema = {"type": "object", "properties": {}}
    return Tool.from_schema(name, "Does something.", schema, lambda **_: "done", effect=effect)


def decides(
    rules: list[ApprovalRule], arguments: dict[str, Any], effect: Effect = "sandbox", attended: bool = True
) -> str:
    return Approval(tuple(rules)).judge(made(effect), arguments, attended=attended).decide


# --- rules -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("effect", "decide"), [("read", "allow"), ("sandbox", "allow"), ("outside", "ask")])
def test_without_rules_only_what_reaches_outside_is_asked_about(effect: Effect, decide: str) -> None:
    assert decides([], {}, effect) == decide


def test_the_strictest_rule_counts_whatever_their_order() -> None:
    allow, ask, deny = ApprovalRule("allow"), ApprovalRule("ask"), ApprovalRule("deny", tool="po*")
    assert decides([allow, ask, deny], {}) == decides([deny, ask, allow], {}) == "deny"
    assert decides([allow, ask], {}) == "ask"
    assert decides([ApprovalRule("deny", tool="other"), allow], {}, "outside") == "allow"


@pytest.mark.parametrize(
    ("rule", "arguments", "matches"),
    [
        (ApprovalRule("deny", effect="outside"), {}, False),
        (ApprovalRule("deny", attended=True), {}, True),
        (ApprovalRule("deny", attended=False), {}, False),
        (ApprovalRule("deny", arguments={"to": "*@example.org"}), {"to": "a@example.org"}, True),
        (ApprovalRule("deny", arguments={"to": "*@example.org"}), {"to": "a@example.com"}, False),
        (ApprovalRule("deny", arguments={"to": "*"}), {}, False),
        (ApprovalRule("deny", arguments={"count": "1[0-9]"}), {"count": 12}, True),
        (ApprovalRule("deny", path="/etc/*"), {"path": "/work/../etc/passwd"}, True),
        (ApprovalRule("deny", path="/etc/*"), {"text": "/etc/passwd"}, False),
        (ApprovalRule("deny", path="*"), {"path": 3}, False),
    ],
)
def test_what_a_rule_matches(rule: ApprovalRule, arguments: dict[str, Any], matches: bool) -> None:
    assert (decides([rule], arguments) == "deny") is matches


@pytest.mark.parametrize(
    "path", ["../secret", "data/../../secret", "/etc/passwd", "~/.ssh/id_rsa", "/data/../etc/passwd", "", "."]
)
def test_an_allowed_folder_is_not_left(path: str) -> None:
    rules = [ApprovalRule("ask"), ApprovalRule("allow", path="/data/*")]
    assert decides([ApprovalRule("allow", path="/data/*")], {"path": path}, "outside") == "ask"
    assert decides(rules, {"path": path}) == "ask"


def test_a_link_out_of_an_allowed_folder_is_seen_through(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    rule = ApprovalRule("allow", path=f"{tmp_path}/*")
    assert decides([rule], {"path": f"{tmp_path}/a"}, "outside") == "allow"
    assert decides([rule], {"path": f"{tmp_path}/link/passwd"}, "outside") == "ask"
    both = {"source": f"{tmp_path}/a", "target": "/etc/a"}
    assert decides([rule], both, "outside") == "ask", "all paths must fit what allows"
    assert decides([ApprovalRule("deny", path="/etc/*")], both) == "deny", "one that fits is enough for what denies"


HOSTILE = [
    "git status && rm -rf /",
    "git status; rm -rf /",
    "git status | sh",
    "git status & rm x",
    "git status\nrm x",
    "git status `rm x`",
    "git status $(rm x)",
    "git status <(rm x)",
    "git status > /etc/passwd",
    "git status {rm,x}",
    "git status\trm",
    "git status 'a\nb'",
    'git log --format="$(id)"',
    "git status \\\nrm",
    "git status #\nrm",
]


@pytest.mark.parametrize("command", HOSTILE)
def test_an_allowed_command_allows_nothing_else_beside_it(command: str) -> None:
    rule = ApprovalRule("allow", arguments={"command": "git *"})
    assert decides([rule], {"command": "git status -sb"}, "outside") == "allow"
    assert decides([rule], {"command": command}, "outside") == "ask"


@pytest.mark.parametrize("command", ["rm -rf x", "true && rm -rf x", "echo $(rm -rf x)", "(rm  -rf x)", "a|rm -rf x;b"])
def test_a_denied_command_is_denied_in_any_part(command: str) -> None:
    assert decides([ApprovalRule("deny", arguments={"command": "rm -rf*"})], {"command": command}) == "deny"


@settings(deadline=None)  # it starts a shell, which waits where the machine is busy
@given(st.text(alphabet="git ;&|<>`$(){}!'\"\\\n\t#*?[]~ax-./=", max_size=20))
def test_what_an_allow_rule_lets_through_is_one_command_for_a_real_shell(rest: str) -> None:
    command = f"git {rest}"
    if decides([ApprovalRule("allow", arguments={"command": "git *"})], {"command": command}, "outside") != "allow":
        return
    # The shell is asked what it would run: `git` is a function that counts itself, all else is not found.
    script = f"PATH=; git() {{ echo ran; }}; set -o noglob\n{command}\n"
    done = subprocess.run(["/bin/bash", "-c", script], capture_output=True, text=True, check=False, cwd="/")
    assert (done.stdout, done.stderr) == ("ran\n", "")


# --- the file ----------------------------------------------------------------------------------------


def test_rules_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(
        '[[rule]]\ndecide = "deny"\ntool = "send_*"\nreason = "no mail"\n\n'
        '[[rule]]\ndecide = "ask"\narguments = { command = "git push*" }\nattended = true\n'
    )
    assert Approval.load(path) == Approval(
        (
            ApprovalRule("deny", tool="send_*", reason="no mail"),
            ApprovalRule("ask", arguments={"command": "git push*"}, attended=True),
        )
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[rule]", "cannot be read"),
        ('[[rules]]\ndecide = "deny"', r"expected tables \[\[rule\]\] and nothing else, got rules"),
        ("rule = 3", "nothing else, got rule = 3"),
        ('[[rule]]\ntool = "x"', "rule 1: decide: "),
        ('[[rule]]\ndecide = "deny"\n[[rule]]\ndecide = "maybe"', "rule 2: decide: .* got 'maybe'"),
        ('[[rule]]\ndecide = "deny"\ntools = "x"', "rule 1: tools: .*did you mean tool?"),
        ('[[rule]]\ndecide = "deny"\neffect = "none"', "rule 1: effect: "),
    ],
)
def test_a_wrong_file_is_told_with_rule_and_key(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=said) as caught:
        Approval.load(path)
    assert str(path) in str(caught.value)


def test_an_absent_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Approval.load(tmp_path / "absent.toml")


# --- questions ---------------------------------------------------------------------------------------


class World:
    """A tool that changes it, and a person who is asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[Question] = []
        self.posted: list[str] = []

        @tool(effect="outside")
        def post(line: str) -> str:
            """Post a line.

            Args:
                line: What to post.
            """
            self.posted.append(line)
            return "posted"

        self.tool = post

    async def ask(self, question: Question) -> Answer:
        self.asked.append(question)
        await asyncio.sleep(0)
        return self.answers.pop(0)

    async def run(self, *script: Reply, ask: Ask | None = None, **options: Any) -> Result:
        agent = Agent(engine=ScriptedModel(script), tools=[self.tool], sandbox=None, ask=ask, **options)
        task = {} if "resume" in options else {"task": "the task"}
        return await agent.run(**task)


def told(result: Result) -> list[str]:
    return [event.content for event in result.events if isinstance(event, CallFinished)]


def post(line: str) -> tuple[str, dict[str, Any]]:
    return "post", {"line": line}


async def test_a_call_is_asked_about_and_runs_when_it_is_allowed() -> None:
    world = World(Answer("allow"), Answer("deny", note="Not on Sundays."))
    result = await world.run(calls(post("a")), calls(post("b")), says("done"), ask=world.ask)
    assert world.posted == ["a"]
    assert [question.preview for question in world.asked] == ['line = "a"', 'line = "b"']
    assert told(result)[0] == "posted"
    assert told(result)[1].startswith("The user did not allow this call. It was not run. They say: Not on Sundays.")
    consents = [event for event in result.events if isinstance(event, Consent)]
    assert [(event.decide, event.by) for event in consents] == [("allow", "person"), ("deny", "person")]
    kinds = [type(event) for event in result.events if isinstance(event, Consent | CallStarted)]
    assert kinds == [Consent, CallStarted] * 2, "what waits for an answer has not begun"


async def test_nobody_there_means_no_and_says_how_to_allow_it() -> None:
    world = World()
    result = await world.run(calls(post("a")), says("It could not be done."))
    assert world.posted == []
    [content] = told(result)
    assert "This call is not allowed: post may reach outside of the sandbox" in content
    assert '@tool(effect="read")' in content
    assert 'decide = "allow", tool = "post"' in content
    allowed = Approval((ApprovalRule("allow", tool="post"),))
    await world.run(calls(post("a")), says("done"), approval=allowed)
    assert world.posted == ["a"]


async def test_where_a_question_may_not_be_denied_in_silence_it_ends_the_run(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "runs.db")
    world = World(Answer("allow"))
    result = await world.run(calls(post("a")), says("not reached"), ask=unattended, journal=journal)
    assert (result.exit, world.posted) == (Exit.STOPPED, [])
    for said in ("post needs somebody's consent", "--approval FILE", '[[rule]] decide = "allow", tool = "post"'):
        assert said in result.reason
    [consent] = [event for event in journal.read(result.run).events if isinstance(event, Consent)]
    assert (consent.decide, consent.by) == ("stop", "rule")
    assert not told(result), "the call was neither carried out nor denied"
    again = Agent(engine=ScriptedModel([]), tools=[world.tool], sandbox=None, ask=unattended, journal=journal)
    assert (await again.resume("last")).exit is Exit.STOPPED
    agent = Agent(
        engine=ScriptedModel([says("done")]), tools=[world.tool], sandbox=None, ask=world.ask, journal=journal
    )
    assert ((await agent.resume("last")).exit, world.posted) == (Exit.ANSWERED, ["a"])
    assert len(world.asked) == 1


async def test_rules_for_where_nobody_is_there_hold_where_a_question_ends_the_run() -> None:
    world, rule = World(), ApprovalRule("deny", attended=False, reason="not at night")
    result = await world.run(calls(post("a")), says("no"), ask=unattended, approval=Approval((rule,)))
    assert (result.exit, world.posted) == (Exit.ANSWERED, [])
    assert "not at night" in told(result)[0]


async def test_a_run_that_was_only_denied_did_nothing() -> None:
    deny = Approval((ApprovalRule("deny", tool="post"),))
    world = World()
    assert (await world.run(calls(post("a")), says("could not"), approval=deny)).only_denied
    assert (await world.run(calls(post("a")), plan("post it"), calls(post("a")), says("x"), says("y"))).only_denied
    assert not (await world.run(says("hello"), approval=deny)).only_denied
    partly = Approval((ApprovalRule("deny", arguments={"line": "a"}), ApprovalRule("allow")))
    assert not (await world.run(calls(post("a")), calls(post("b")), says("one"), approval=partly)).only_denied


async def test_always_holds_for_the_same_call_of_this_run_only() -> None:
    world = World(Answer("allow", always=True), Answer("deny"), Answer("deny"))
    await world.run(calls(post("a")), calls(post("a")), calls(post("b")), says("done"), ask=world.ask)
    assert [question.arguments["line"] for question in world.asked] == ["a", "b"]
    assert world.posted == ["a", "a"]
    await world.run(calls(post("a")), says("done"), ask=world.ask)
    assert len(world.asked) == 3


async def test_questions_of_calls_side_by_side_come_one_after_the_other() -> None:
    world = World(Answer("allow"), Answer("allow"))
    asking = 0

    async def ask(question: Question) -> Answer:
        nonlocal asking
        asking += 1
        assert asking == 1
        await asyncio.sleep(0.01)
        asking -= 1
        return await world.ask(question)

    await world.run(calls(post("a"), post("b")), says("done"), ask=ask)
    assert sorted(world.posted) == ["a", "b"]


async def test_a_stopped_run_asks_again_and_an_answer_outlives_a_crash(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "runs.db")
    world = World(Answer("allow"), Answer("stop"), Answer("allow"))
    stopped = await world.run(calls(post("a")), calls(post("b")), ask=world.ask, journal=journal)
    assert (stopped.exit, world.posted) == (Exit.STOPPED, ["a"])
    assert "stopped at a question about post" in stopped.reason
    agent = Agent(
        engine=ScriptedModel([says("done")]), tools=[world.tool], sandbox=None, ask=world.ask, journal=journal
    )
    result = await agent.resume("last")
    assert (result.exit, world.posted) == (Exit.ANSWERED, ["a", "b"])
    assert [question.arguments["line"] for question in world.asked] == ["a", "b", "b"]


async def test_a_call_that_was_allowed_before_a_crash_is_not_asked_about_again(tmp_path: Path) -> None:
    world = World(Answer("allow"))
    with pytest.raises(SystemError):
        await world.run(calls(post("a")), ask=world.ask, journal=Dies(tmp_path / "runs.db", CallStarted))
    journal = Journal(tmp_path / "runs.db")
    agent = Agent(engine=ScriptedModel([says("done")]), tools=[world.tool], sandbox=None, journal=journal)
    assert (await agent.resume("last")).exit is Exit.ANSWERED
    assert (len(world.asked), world.posted) == (1, ["a"])


async def test_a_person_decides_on_a_call_in_doubt(tmp_path: Path) -> None:
    for answer, posted in ((Answer("allow"), ["a", "a"]), (Answer("deny"), ["a"])):
        path = tmp_path / answer.decide / "runs.db"
        world = World(Answer("allow"), answer)
        with pytest.raises(SystemError):
            await world.run(calls(post("a")), ask=world.ask, journal=Dies(path, CallFinished))
        agent = Agent(
            engine=ScriptedModel([says("done")]), tools=[world.tool], sandbox=None, ask=world.ask, journal=Journal(path)
        )
        await agent.resume("last")
        assert world.posted == posted
        assert "may have taken effect already" in world.asked[1].reason


async def test_a_rule_denies_without_a_question() -> None:
    world = World()
    rules = Approval((ApprovalRule("deny", arguments={"line": "*secret*"}, reason="no secrets"), ApprovalRule("allow")))
    result = await world.run(calls(post("my secret")), calls(post("b")), says("x"), ask=world.ask, approval=rules)
    assert world.posted == ["b"]
    assert told(result)[0].startswith("This call is not allowed: no secrets. It was not run.")
    assert world.asked == []


async def test_a_person_sees_what_would_change_in_a_file(tmp_path: Path) -> None:
    there = tmp_path / "notes.txt"
    there.write_text("one\ntwo\n")

    @tool(effect="outside")
    def write(path: str, content: str) -> str:
        """Write a file.

        Args:
            path: Where.
            content: What.
        """
        return "written"

    world = World(Answer("deny"), Answer("deny"))
    world.tool = write
    old, new = (calls(("write", {"path": str(p), "content": "one\nthree\n"})) for p in (there, tmp_path / "new.txt"))
    await world.run(old, new, says("done"), ask=world.ask)
    changed = [line.rows()[0].strip() for line in world.asked[0].lines if line.bar]
    assert changed[:2] == ["- | two", "+ | three"]
    assert "nothing is there yet" in world.asked[1].preview.replace(f"\n{BAR}", "")
    assert "2 | three" in world.asked[1].preview


@pytest.mark.docker
async def test_calls_of_code_pass_the_same_gate() -> None:
    from fastslow.sandbox import DockerSandbox

    world = World(Answer("deny"), Answer("stop"))
    code = "try:\n    tools.post(line='a')\nexcept tools.ToolError as error:\n    print(error)\n"
    script = [calls(("python", {"code": code})), calls(("python", {"code": code}))]
    agent = Agent(engine=ScriptedModel(script), tools=[world.tool], sandbox=DockerSandbox(), ask=world.ask)
    try:
        result = await agent.run("the task")
    finally:
        await agent.aclose()
    assert result.exit is Exit.STOPPED, result.reason
    assert world.posted == []
    assert "The user did not allow this call" in told(result)[1]


@pytest.mark.docker
async def test_calls_of_code_are_written_down_before_they_are_carried_out(tmp_path: Path) -> None:
    from fastslow.sandbox import DockerSandbox

    world, journal = World(Answer("allow")), Journal(tmp_path / "runs.db")
    script = [calls(("python", {"code": "print(tools.post(line='a'))"})), says("done")]
    sandbox = DockerSandbox()
    agent = Agent(engine=ScriptedModel(script), tools=[world.tool], sandbox=sandbox, ask=world.ask, journal=journal)
    try:
        result = await agent.run("the task")
    finally:
        await agent.aclose()
    assert world.posted == ["a"]
    kept = [
        event for event in journal.read(result.run).events if isinstance(event, CallStarted | Consent | CallFinished)
    ]
    code, *inside, ended = kept
    assert [type(event) for event in inside] == [Consent, CallStarted, CallFinished]
    started = inside[1]
    assert isinstance(code, CallStarted)
    assert isinstance(started, CallStarted)
    assert (started.call.name, started.parent) == ("post", code.call.id)
    assert isinstance(ended, CallFinished)
    assert (ended.call_id, ended.ok) == (code.call.id, True)
