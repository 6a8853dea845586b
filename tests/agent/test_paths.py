"""Rules about paths: whatever a path is spelled like, it is judged by where it leads."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, BaseModel, Field, SecretStr, StringConstraints

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
from fastslow.agent.events import CallFinished
from fastslow.tools import ArgumentError, Tool, ToolError, tool
from fastslow.tools.builtin import builtin_tools
from tests.agent.helpers import Dies, calls, says

OPEN = {"type": "object"}


def made(**schema: Any) -> Tool:
    return Tool.from_schema("use", "Uses.", {"type": "object", **schema}, lambda **_: "used", effect="outside")


def decides(rule: ApprovalRule, arguments: Mapping[str, Any], one: Tool | None = None) -> str:
    return Approval((rule,)).judge(one or made(), arguments, attended=True).decide


def denies(pattern: str, arguments: Mapping[str, Any], one: Tool | None = None) -> bool:
    return decides(ApprovalRule("deny", path=pattern), arguments, one) == "deny"


def allows(pattern: str, arguments: Mapping[str, Any]) -> bool:
    return decides(ApprovalRule("allow", path=pattern), arguments) == "allow"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, beside a folder `secret` that is denied; the home is the folder above both."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("k")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def spellings(root: Path) -> list[str]:
    """Ways to write `<root>/secret/key`, as one of `<root>/here`."""
    whole = f"{root}/secret/key"
    return [
        whole,
        "../secret/key",
        "./.././secret//key",
        f"/{whole}",
        f"//{whole}",
        f"{whole}/",
        f"{root}/here/../secret/key",
        "~/secret/key",
        "$HOME/secret/key",
        "..\\secret\\key",
        f"  {whole}",
        f"file://{whole}",
        f"FILE://localhost{whole}",
        f"file:{whole}",
        f"file://elsewhere{whole}",
        f"file://{whole.replace('s', '%73')}",
        "file:../secret/key",
        f"{whole}\n",
        whole.replace("secret", "SECRET"),
        whole.replace("/secret", "\uff0fsecret"),
    ]


@pytest.mark.parametrize("number", range(20))
def test_a_denied_path_is_denied_in_every_spelling(place: Path, number: int) -> None:
    path = spellings(place)[number]
    assert denies(f"{place}/secret/*", {"path": path}), path
    assert not allows(f"{place}/here/*", {"path": path}), path


def test_the_denied_folder_itself_is_denied(place: Path) -> None:
    assert denies(f"{place}/secret/*", {"path": "../secret"})
    assert denies(f"{place}/secret/*", {"path": f"{place}/secret/"})
    assert denies(f"{place}/secret", {"path": "../secret/inner/key"}), "and what is in it"
    assert denies(f"{place}/secret/", {"path": "../secret/inner/key"})
    assert denies(f"{place}/s*t/", {"path": "../secret/inner/key"})
    assert denies(f"{place}/**/secret/*", {"path": "../secret/key"}), "any folder, or none"
    assert denies("/", {"path": "../secret/key"})
    assert not denies(f"{place}/sec", {"path": "../secret"})


def test_relative_patterns_and_the_home_are_read_as_paths_are(place: Path) -> None:
    assert denies("../secret/*", {"path": f"{place}/secret/key"})
    assert denies("~/secret/*", {"path": f"{place}/secret/key"})
    assert denies("$HOME/secret/*", {"path": f"{place}/secret/key"})
    assert allows("*.txt", {"path": f"{place}/here/a.txt"})
    assert allows(f"{place}/here/*", {"path": "a.txt"})
    assert allows("./*", {"path": "a.txt"})


def test_links_are_seen_through_in_paths_and_in_patterns(place: Path) -> None:
    (place / "here" / "link").symlink_to(place / "secret")
    (place / "alias").symlink_to(place / "secret")
    assert denies(f"{place}/secret/*", {"path": "link/key"})
    assert denies(f"{place}/secret/*", {"path": "link/../secret/key"}), "as the kernel reads it"
    assert denies(f"{place}/alias/*", {"path": f"{place}/secret/key"}), "the pattern goes through a link"
    assert not allows(f"{place}/here/*", {"path": "link/key"})
    (place / "here" / "deep").mkdir()
    (place / "here" / "jump").symlink_to(place / "here" / "deep")
    assert denies(f"{place}/here/a", {"path": "jump/../a"})


@pytest.mark.parametrize(
    "name",
    [
        *("path", "paths", "file", "files", "filename", "dir", "directory", "folder", "src", "source", "dst", "dest"),
        *("destination", "target", "input", "output", "cwd", "root"),
        *("filePath", "output_dir", "save-path", "FILE", "inputFiles", "workdir", "project_root"),
        *(
            "path1",
            "file_2",
            "file_a",
            "src2",
            "infile",
            "logfile",
            "basedir",
            "dirname",
            "folder_name",
            "file_list",
            "index_path",
        ),
    ],
)
def test_names_under_which_a_path_is_looked_for(place: Path, name: str) -> None:
    assert denies("/etc/*", {name: "/etc/passwd"})
    assert denies("/etc/*", {name: ["a", ["b", "/etc/passwd"]]})


@pytest.mark.parametrize("name", ["profile", "user_profile", "xpath", "name", "list", "n", "path_count"])
def test_names_under_which_none_is_looked_for(name: str) -> None:
    assert not denies("/etc/*", {name: "/etc/passwd"})


@pytest.mark.parametrize("pattern", ["", " ", "file:///etc/*"])
def test_a_pattern_that_no_path_fits_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigurationError, match="a pattern of paths"):
        ApprovalRule("deny", path=pattern)


def test_a_rule_lists_names_of_its_own() -> None:
    rule = ApprovalRule("deny", path="/etc/*", path_names=("where", "at_*"))
    assert decides(rule, {"where": "/etc/passwd"}) == "deny"
    assert decides(rule, {"at_first": "/etc/passwd"}) == "deny"
    assert decides(rule, {"path": "/etc/passwd"}) == "deny", "besides the usual ones"
    assert decides(rule, {"text": "/etc/passwd"}) == "ask"


class Job(BaseModel):
    source: Path = Field(exclude=True)
    note: str = ""


@dataclass
class Move:
    src: str
    note: str = ""


class Place(Enum):
    PASSWORDS = "/etc/passwd"


@pytest.mark.parametrize(
    "arguments",
    [
        {"job": Job(source=Path("/etc/passwd"))},
        {"jobs": [Job(source=Path("/etc/passwd"))]},
        {"move": Move("/etc/passwd")},
        {"path": Place.PASSWORDS},
        {"path": b"/etc/passwd"},
        {"path": SecretStr("/etc/passwd")},
        {"paths": ("a", Path("/etc/passwd"))},
        {"paths": {"/etc/passwd"}},
        {"files": {"/etc/passwd": "content"}},
        {"options": {"deep": [{"target": "/etc/passwd"}]}},
        {"url": "file:///etc/passwd"},
        {"anything": ["file:///etc/passwd"]},
        {"cwd": "/etc", "file": "passwd"},
        {"folder": "/", "name": "x", "filename": "etc/passwd"},
    ],
)
def test_paths_are_found_wherever_they_stand(arguments: dict[str, Any]) -> None:
    assert denies("/etc/passwd", arguments)
    assert not allows("/srv/*", arguments)


def test_tools_in_the_sandbox_run_in_work(place: Path) -> None:
    [write] = [one for one in builtin_tools() if one.name == "write_file"]
    for path in ("a.txt", "./a.txt", "/work/a.txt", "x/../a.txt", "//work/a.txt"):
        assert denies("/work/a.txt", {"path": path, "content": ""}, write), path
        assert denies("a.txt", {"path": path, "content": ""}, write), path
    assert not denies(f"{place}/here/*", {"path": "a.txt", "content": ""}, write)
    assert denies("/tmp/*", {"path": "~/x", "content": ""}, write), "the sandbox's home"
    assert denies("/work/*", {"path": "/etc/../work/x", "content": ""}, write)


def special(root: Path) -> dict[str, str]:
    """What is no file and no folder, and what cannot be looked at."""
    os.mkfifo(root / "pipe")
    bound = socket.socket(socket.AF_UNIX)
    try:
        bound.bind("socket")
    finally:
        bound.close()
    (root / "round").symlink_to("round")
    return {
        "a\0b": "NUL",
        "~nosuchuser/x": "no user",
        str(root / "pipe"): "a pipe",
        "socket": "a socket",
        "/dev/zero": "a device",
        "x" * 300: "too long",
        "x/" * 3000: "too long",
        str(root / "round"): "links",
        "\udc00\ud800": "Unicode",
    }


def test_a_path_that_cannot_be_judged_is_an_error_in_the_arguments(place: Path) -> None:
    for path, why in special(place / "here").items():
        for decide in ("allow", "deny"):
            with pytest.raises(ArgumentError, match=why):
                decides(ApprovalRule(decide, path="/srv/*"), {"paths": ["fine", path]})


def test_a_folder_that_may_not_be_entered_is_an_error_in_the_arguments(place: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may enter everything")
    (place / "secret").chmod(0)
    try:
        with pytest.raises(ArgumentError, match="Permission denied"):
            denies("/srv/*", {"path": f"{place}/secret/key"})
    finally:
        (place / "secret").chmod(0o755)


def test_text_under_a_name_that_may_hold_anything_is_not_refused() -> None:
    assert not denies("/etc/*", {"input": "a long text\0" * 2000, "files": {"a.bin": "\0" * 9000}})
    assert denies("/etc/*", {"input": "/etc/" + "./" * 3000 + "passwd"})


def test_an_allowed_path_has_a_reading(place: Path) -> None:
    assert not allows("/srv/*", {"src": "~nosuchuser/x"})
    assert not allows("/srv/*", {"src": "file:"})
    assert allows("/srv/*", {"path": "file:///srv/x"})
    assert allows("~/here/*", {"path": "~/here/x"})


def test_many_paths_are_told(place: Path) -> None:
    with pytest.raises(ArgumentError, match="at most"):
        denies("/etc/*", {"paths": [f"{n}.txt" for n in range(100_000)]})


def test_leaves_of_nested_values_are_judged(place: Path) -> None:
    rule = ApprovalRule("deny", arguments={"to": "*@example.org"})
    for value in (
        ["a@example.com", "b@example.org"],
        {"name": "b", "mail": "b@example.org"},
        SecretStr("b@example.org"),
    ):
        assert decides(rule, {"to": value}) == "deny"
    assert decides(ApprovalRule("deny", arguments={"day": "2026-*"}), {"day": date(2026, 1, 2)}) == "deny"


# --- what the function receives ------------------------------------------------------------------------


class World:
    def __init__(self) -> None:
        self.received: list[Any] = []
        self.asked: list[Question] = []

    async def ask(self, question: Question) -> Answer:
        self.asked.append(question)
        return Answer("allow")

    async def run(self, one: Tool, arguments: dict[str, Any], *rules: ApprovalRule, **options: Any) -> Result:
        script = [calls((one.name, arguments)), says("done")]
        agent = Agent(
            engine=ScriptedModel(script), tools=[one], sandbox=None, approval=Approval(rules), ask=self.ask, **options
        )
        return await agent.run("the task")

    @property
    def questions(self) -> int:
        return len(self.asked)


def finished(result: Result) -> CallFinished:
    [event] = [event for event in result.events if isinstance(event, CallFinished)]
    return event


async def test_defaults_are_filled_in_before_rules_are_judged() -> None:
    world = World()

    @tool(effect="outside")
    def send(text: str, to: str = "boss@example.org") -> str:
        """Send.

        Args:
            text: What.
            to: Whom.
        """
        world.received.append(to)
        return "sent"

    result = await world.run(send, {"text": "hi"}, ApprovalRule("deny", arguments={"to": "*@example.org"}))
    assert finished(result).status == "denied"
    assert world.received == []


async def test_a_default_path_is_judged() -> None:
    @tool(effect="outside")
    def read(path: str = "/etc/passwd") -> str:
        """Read.

        Args:
            path: What.
        """
        return Path(path).read_text()

    assert finished(await World().run(read, {}, ApprovalRule("deny", path="/etc/*"))).status == "denied"


async def test_a_stream_of_paths_is_judged_and_still_there_for_the_function() -> None:
    world = World()

    @tool(effect="outside")
    def read(paths: Iterable[str]) -> str:
        """Read.

        Args:
            paths: What.
        """
        world.received += paths
        return "read"

    deny = ApprovalRule("deny", path="/etc/*")
    assert finished(await world.run(read, {"paths": ["a", "/etc/passwd"]}, deny)).status == "denied"
    assert finished(await world.run(read, {"paths": ["a", "b"]}, deny)).status == "ok"
    assert world.received == ["a", "b"]


@pytest.mark.parametrize(
    "schema", [{"type": "string", "default": "boss@example.org"}, {"type": "string"}], ids=["schema", "signature"]
)
async def test_defaults_of_a_schema_and_of_a_handler_are_judged(schema: dict[str, Any]) -> None:
    world = World()

    def handler(to: str = "boss@example.org") -> str:
        world.received.append(to)
        return "sent"

    send = Tool.from_schema("send", "Send.", {"type": "object", "properties": {"to": schema}}, handler)
    result = await world.run(send, {}, ApprovalRule("deny", arguments={"to": "*@example.org"}))
    assert finished(result).status == "denied"
    assert world.received == []


async def test_nested_defaults_of_a_schema_are_judged() -> None:
    mail = {"type": "object", "properties": {"to": {"type": "string", "default": "boss@example.org"}}}
    schema = {"type": "object", "properties": {"mails": {"type": "array", "items": {"$ref": "#/$defs/mail"}}}}
    send = Tool.from_schema("send", "Send.", {**schema, "$defs": {"mail": mail}}, lambda **_: "sent")
    rule = ApprovalRule("deny", arguments={"mails": "*@example.org"})
    assert finished(await World().run(send, {"mails": [{}]}, rule)).status == "denied"


async def test_rules_judge_what_the_function_receives() -> None:
    world = World()

    @tool(effect="outside")
    def use(
        path: Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True)],
        coded: Annotated[str, AfterValidator(lambda text: bytes.fromhex(text).decode())] = "",
        count: int = 1,
    ) -> str:
        """Use.

        Args:
            path: Where.
            coded: What.
            count: How often.
        """
        world.received.append((path, coded, count))
        return "used"

    denied = ApprovalRule("deny", path="/etc/*", path_names=("coded",))
    assert finished(await world.run(use, {"path": " /ETC/passwd "}, denied)).status == "denied"
    assert finished(await world.run(use, {"path": "a", "coded": b"/etc/x".hex()}, denied)).status == "denied"
    twelve = ApprovalRule("deny", arguments={"count": "12"})
    assert finished(await world.run(use, {"path": "a", "count": "12"}, twelve)).status == "denied"
    assert world.received == []
    assert finished(await world.run(use, {"path": "a", "extra": "/etc/x"}, denied)).status == "refused"


_seen: list[str] = []


def _counted(text: str) -> str:
    _seen.append(text)
    return f"{text}{len(_seen)}"


def _broken(kind: str) -> str:
    raise {"KeyError": KeyError, "ToolError": ToolError, "SystemExit": SystemExit}[kind]("x")


async def test_arguments_are_validated_once() -> None:
    world = World()

    @tool(effect="outside")
    def use(path: Annotated[str, AfterValidator(_counted)]) -> str:
        """Use.

        Args:
            path: Where.
        """
        world.received.append(path)
        return "used"

    await world.run(use, {"path": "a"}, ApprovalRule("allow", path="*/a1"))
    assert (world.received, world.questions) == (["a1"], 0)


@pytest.mark.parametrize("kind", ["KeyError", "ToolError", "SystemExit"])
async def test_a_validator_that_raises_anything_is_the_tools_own(kind: str) -> None:
    @tool(effect="outside")
    def use(path: Annotated[str, AfterValidator(_broken)]) -> str:
        """Use.

        Args:
            path: Where.
        """
        return path

    result = await World().run(use, {"path": kind})
    assert result.exit is Exit.ANSWERED
    assert finished(result).status == "refused"
    assert f"{kind}: " in finished(result).content


# --- a run is never ended by a path --------------------------------------------------------------------


async def test_no_path_ends_a_run_or_blocks_the_loop(place: Path, tmp_path: Path) -> None:
    world = World()

    @tool(effect="outside")
    async def write(path: str, content: str) -> str:
        """Write.

        Args:
            path: Where.
            content: What.
        """
        world.received.append(path)
        return "written"

    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)

    watching = asyncio.create_task(watch())
    for number, path in enumerate(special(place / "here")):
        if path.isascii():
            journal = Journal(tmp_path / f"{number}.db")
            async with asyncio.timeout(20):
                result = await world.run(write, {"path": path, "content": "x"}, journal=journal)
                assert (result.exit, finished(result).status) == (Exit.ANSWERED, "refused"), (path, finished(result))
                agent = Agent(engine=ScriptedModel([]), tools=[write], sandbox=None, journal=journal, ask=world.ask)
                assert (await agent.resume(result.run)).exit is Exit.ANSWERED
    watching.cancel()
    assert world.received == []
    assert longest < 1


async def test_a_path_that_became_a_pipe_poisons_no_resume(place: Path, tmp_path: Path) -> None:
    asked: list[Question] = []

    @tool(effect="outside")
    def write(path: str, content: str) -> str:
        """Write.

        Args:
            path: Where.
            content: What.
        """
        return "written"

    async def ask(question: Question) -> Answer:
        asked.append(question)
        return Answer("allow")

    for rule, status in ((ApprovalRule("allow"), "ok"), (ApprovalRule("allow", path=f"{place}/*"), "refused")):
        path, rules = tmp_path / f"{status}.db", Approval((rule,))
        script = [calls(("write", {"path": "x", "content": "y"}))]
        first = Agent(
            engine=ScriptedModel(script), tools=[write], sandbox=None, approval=rules, journal=Dies(path, CallFinished)
        )
        with pytest.raises(SystemError):
            await first.run("the task")
        os.mkfifo("x")
        again = Agent(
            engine=ScriptedModel([says("done")]),
            tools=[write],
            sandbox=None,
            approval=rules,
            ask=ask,
            journal=Journal(path),
        )
        async with asyncio.timeout(20):
            result = await again.resume("last")
        assert (result.exit, finished(result).status) == (Exit.ANSWERED, status)
        os.unlink("x")
    [question] = asked
    assert "a pipe" in question.preview
