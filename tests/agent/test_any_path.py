"""Any spelling of a denied path, anywhere in the arguments of any shape: the function never receives it.

What a function may do with what it receives is written here once more, apart from the code that judges it.
"""

from __future__ import annotations

import os
import random
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from fastslow import Agent, Approval, ApprovalRule, Exit, ScriptedModel
from fastslow.agent.events import CallFinished
from fastslow.agent.paths import CallPaths
from fastslow.agent.question import described
from fastslow.tools import ArgumentError, Tool
from tests.agent.helpers import calls, says

NAMES = ["path", "paths", "file", "files", "filename", "dir", "folder", "src", "dst", "target", "input", "output"]
NAMES += ["root", "cwd", "filePath", "out_dir", "where"]
WHERE = ("where",)  # a name that the rules list


class Model(BaseModel):
    path: Any
    note: str = ""


@dataclass
class Record:
    source: Any


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`secret` is denied; `here` is where the tool runs. Links lead from one to the other, and into a deeper folder."""
    root = tmp_path_factory.mktemp("any").resolve()
    for folder in ("secret/inner", "here/deep/er"):
        (root / folder).mkdir(parents=True)
    (root / "secret" / "key").write_text("k")
    (root / "here" / "link").symlink_to(root / "secret")
    (root / "here" / "up").symlink_to("..")
    (root / "here" / "jump").symlink_to("deep/er")
    before, home = Path.cwd(), os.environ.get("HOME", "")
    os.chdir(root / "here")
    os.environ["HOME"] = str(root)
    yield root
    os.chdir(before)
    os.environ["HOME"] = home


# --- what a function may make of what it receives ------------------------------------------------------


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str | bytes | Path):
        yield os.fsdecode(value)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from (*texts_in(key), *texts_in(part))
    elif isinstance(value, BaseModel | Record):
        yield from texts_in(list(vars(value).values()))
    elif isinstance(value, list | tuple | set):
        for part in value:
            yield from texts_in(part)


def opened(text: str) -> Iterator[str]:
    """What a function may open that is given one text."""
    yield text
    yield text.strip()
    yield os.path.expanduser(text)
    yield os.path.expandvars(text)
    yield os.path.expandvars(os.path.expanduser(text.strip()))
    yield os.path.normpath(text)
    yield PureWindowsPath(text).as_posix()
    yield text.replace("\\", "/")
    if text.strip().lower().startswith("file:"):
        path = urlsplit(text.strip()).path
        yield from (path, unquote(path), urllib.request.url2pathname(path), os.path.expanduser(unquote(path)))
        yield unquote(path).replace("\\", "/")
        for scheme in ("file:", "file:/", "file://"):
            if text.strip().lower().startswith(scheme):
                yield from (text.strip()[len(scheme) :], unquote(text.strip()[len(scheme) :]))


def reached(arguments: dict[str, Any], secret: Path) -> str:
    """A place in the denied folder that a function may come to with these arguments; nothing where there is none."""
    every = list(texts_in([value for name, value in arguments.items() if name != "text"]))
    bases = ["", *texts_in([arguments.get(name) for name in ("root", "cwd", "dir", "folder", "out_dir")])]
    for text in every:
        for base in bases:
            if base == text:
                continue  # nothing is relative to itself
            for one in opened(text):
                try:
                    real = os.path.realpath(os.path.join(base, one))
                except (OSError, ValueError):
                    continue
                if real == str(secret) or real.startswith(f"{secret}/"):
                    return real
    return ""


# --- arguments -----------------------------------------------------------------------------------------


def spelled(root: Path, seed: int) -> str:
    """A way to write a path into the denied folder, or nearly one."""
    dice = random.Random(seed)
    target = dice.choice(["secret", "secret/key", "secret/inner/x", "secret/new", "secrets", "here/a", ""])
    start = dice.choice(
        [f"{root}/", "../", "~/", "$HOME/", "${HOME}/", "up/", "./up/", "jump/../../../", "", "deep/../../"]
    )
    parts: list[str] = []
    for part in target.split("/"):
        parts += dice.choice([[], [], ["."], [""], ["x", ".."], ["..", "here", ".."]])
        parts.append(part)
    text = start + "/".join(parts) + dice.choice(["", "", "/", "/.", "//", "/x/.."])
    if dice.random() < 0.1:
        text = dice.choice(["link", "link/key", "link/../secret", "jump/../../../secret/key", "link/inner/../key"])
    if dice.random() < 0.2:
        text = text.replace("/", "\\", dice.choice([1, 2, -1]))
    if dice.random() < 0.1:
        text = "/" * dice.randint(1, 3) + text if text.startswith("/") else text
    if dice.random() < 0.35:
        if dice.random() < 0.6:
            text = "".join(f"%{ord(char):02x}" if dice.random() < 0.2 else quote(char, safe="/~$") for char in text)
        text = dice.choice(["file:", "file://", "file:///", "FILE://", "file://localhost", "File://host"]) + text
        text += dice.choice(["", "", "?q", "#f"])
    if dice.random() < 0.1:
        text = dice.choice([" ", "\t", "\n", "  "]) + text + dice.choice(["", " ", "\n"])
    return text


def shaped(text: str, seed: int) -> dict[str, Any]:
    """Arguments with a text somewhere in them."""
    dice = random.Random(seed)
    name = dice.choice(NAMES)
    value: Any = text
    for _ in range(dice.choice([0, 0, 1, 1, 2])):
        value = dice.choice(
            [
                [value],
                ["a.txt", value],
                {"any": value},
                {dice.choice(NAMES): [value]},
                (value,),
                Model(path=value),
                Record(value),
            ]
        )
    if value is text:
        value = dice.choice([value, value, os.fsencode(value), Path(value), {value: "x"}, {value}])
    arguments = {name: value, "text": "hello", "count": 3}
    if dice.random() < 0.25 and isinstance(value, str) and "/" in value:
        head, _, tail = value.rpartition("/")
        arguments = {dice.choice(["cwd", "root", "dir"]): head or "/", dice.choice(["file", "filename", "src"]): tail}
    return arguments


TOOL = Tool.from_schema("use", "Uses.", {"type": "object"}, lambda **_: "used")
COUNTS = {"denied": 0, "refused": 0, "let through": 0, "leads there": 0}


def play(root: Path, seed: int, deny: str) -> None:
    arguments = shaped(spelled(root, seed), seed + 1)
    rules = Approval((ApprovalRule("deny", path=deny, path_names=WHERE),))
    leads = reached(arguments, root / "secret")
    COUNTS["leads there"] += bool(leads)
    try:
        decided = rules.judge(TOOL, arguments, attended=True).decide
    except ArgumentError:
        COUNTS["refused"] += 1
    else:
        COUNTS["denied" if decided == "deny" else "let through"] += 1
        assert decided == "deny" or not leads, (arguments, leads)
    assert all(row.isprintable() for line in described(TOOL, arguments, arguments) for row in line.rows())


FAST = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=250)
FORMS = ["{root}/secret/*", "../secret/*", "~/secret/*", "{root}/here/link/*", "*/secret*"]


@FAST
@given(seed=st.integers(0, 1 << 32), form=st.sampled_from(FORMS))
def test_no_function_receives_a_denied_path(root: Path, seed: int, form: str) -> None:
    play(root, seed, form.format(root=root))


@FAST
@given(seed=st.integers(0, 1 << 32))
def test_what_is_allowed_stays_inside(root: Path, seed: int) -> None:
    arguments = shaped(spelled(root, seed), seed + 1)
    rule = ApprovalRule("allow", path=f"{root}/here/*", path_names=WHERE)
    try:
        decided = Approval((rule, ApprovalRule("ask"))).judge(TOOL, arguments, attended=True).decide
        inside = CallPaths("host", arguments).fit(rule.path or "", WHERE, every=True)
    except ArgumentError:
        return
    assert decided == "ask"
    assert not (inside and reached(arguments, root / "secret")), arguments


hostile = st.text(max_size=30) | st.text(alphabet="~/.\\\0%:file$HOME{}", max_size=30) | st.binary(max_size=20)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | hostile,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), anything, max_size=5))
def test_nothing_but_an_error_in_the_arguments_is_raised(arguments: dict[str, Any]) -> None:
    rules = Approval((ApprovalRule("deny", path="/etc/*", path_names=WHERE), ApprovalRule("allow", path="~/*")))
    for place in ("host", "sandbox"):
        one = Tool.from_schema("use", "Uses.", {"type": "object"}, lambda **_: "used")
        object.__setattr__(one, "place", place)
        try:
            rules.judge(one, arguments, attended=True)
        except ArgumentError as error:
            told = str(error)
        else:
            told = ""
        assert told.isprintable()
        assert all(row.isprintable() for line in described(one, arguments, ()) for row in line.rows())


async def test_no_path_in_a_run_reaches_the_function_or_ends_the_run(root: Path) -> None:
    """The same, by the way that a model's calls go."""
    received: list[dict[str, Any]] = []

    def use(**arguments: Any) -> str:
        received.append(arguments)
        return "used"

    one = Tool.from_schema("use", "Uses.", {"type": "object"}, use, effect="read")
    wanted = [spelled(root, seed) for seed in range(200)]
    odd = ["a\0b", "~nosuch/x", "\ud800", "x" * 5000, "/dev/zero", "\u202e"]
    script = [calls(*(("use", {"paths": [text]}) for text in wanted[at : at + 20])) for at in range(0, 200, 20)]
    script += [calls(("use", {"path": text}), ("use", {"path": "fine"})) for text in odd]
    rules = Approval((ApprovalRule("deny", path=f"{root}/secret/*"),))
    agent = Agent(engine=ScriptedModel([*script, says("done")]), tools=[one], sandbox=None, approval=rules)
    result = await agent.run("the task")
    assert result.exit is Exit.ANSWERED, result.reason
    statuses = [event.status for event in result.events if isinstance(event, CallFinished)]
    assert len(statuses) == 212
    assert set(statuses) == {"ok", "denied", "refused"}
    assert received
    assert not [arguments for arguments in received if reached(arguments, root / "secret")]
