"""Skills: folders with a SKILL.md that says when it is of use, and what to do then (https://agentskills.io).

The model is told of each in one line, opens one with the tool `skill`, and finds its files in the sandbox. A skill
grants no rights: what it lists as `allowed-tools` is told here, and may only ever narrow what a run may call.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeAlias

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.project.files import Refused, digest_of, names, one_line, opened, read, read_tree, text_of
from fastslow.agent.project.frontmatter import split
from fastslow.agent.project.instructions import folder_of, home_of
from fastslow.agent.quoting import visible
from fastslow.tools import Tool
from fastslow.tools.result import LIMIT

Source: TypeAlias = Literal["project", "user"]

PLACES = (".agents/skills", ".claude/skills")  # of what has one name in both, the first counts
SANDBOX = ".skills"  # the folder of the workspace that holds the files of each skill, below its name
FILE = "SKILL.md"
SKILL = 64 << 10  # bytes of one
MOST = 100  # skills
DESCRIPTION = 1024  # characters of one
CATALOGUE = 16 << 10  # characters of all of them together
OTHER, FIELDS = 500, 50  # characters of any other field, and fields or values in one
LISTED = 100  # files that the model is told
NOTICES = 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_TOOL = re.compile(r"[^\s,()]+(?:\([^()]*\))?")


@dataclass(frozen=True, slots=True)
class Skill:
    """description: when it is of use, on one line. folder: where it lies on this machine. body: what to do, as the
    model reads it. files: what lies beside its SKILL.md, by paths in the folder. digest: of its name and of all these
    contents. allowed_tools: may narrow what a run calls, and never widen it."""

    name: str
    description: str
    folder: Path
    body: str
    files: tuple[str, ...]
    digest: str
    source: Source
    license: str = ""
    compatibility: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    allowed_tools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Skills:
    """Skills by name, each name once. notices: which were skipped, mended or stand behind another one, for people."""

    listed: tuple[Skill, ...] = ()
    notices: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Skill]:
        return iter(self.listed)

    def __len__(self) -> int:
        return len(self.listed)


def find_skills(root: Path, home: Path | None = None) -> Skills:
    """The skills of the project in a folder and, behind them, those of the user.

    home: the user's, by itself that of whoever runs this. Raises ConfigurationError where root is no folder.
    """
    return together(project_skills(root, home), user_skills(home))


def project_skills(root: Path, home: Path | None = None) -> Skills:
    """Those of the project alone, of which nothing is to be used before a person trusts it. There are none where the
    folder is the user's home: they are the user's there."""
    root = folder_of(root)
    if root == home_of(home):
        return Skills()
    return _found(root, "project")


def user_skills(home: Path | None = None) -> Skills:
    """Those in the user's home, which need no trust: the user put them there, as links too."""
    at = home_of(home)
    return _found(at, "user") if at else Skills()


def together(*groups: Skills) -> Skills:
    """The skills of some groups, those of the first before all others."""
    listed: dict[str, Skill] = {}
    notices = [notice for group in groups for notice in group.notices]
    for skill in (skill for group in groups for skill in group):
        first = listed.setdefault(skill.name, skill)
        if first.digest != skill.digest:
            notices.append(f"the skill {_shown(skill.folder)} stands behind {_shown(first.folder)}, which has its name")
    if len(listed) > MOST:
        notices.append(f"{len(listed) - MOST} of {len(listed)} skills are left out: {MOST} is the limit")
    if len(notices) > NOTICES:
        notices[NOTICES:] = [f"and {len(notices) - NOTICES} more of such notices on skills"]
    kept = list(listed.values())[:MOST]
    return Skills(tuple(sorted(kept, key=lambda skill: skill.name)), tuple(notices))


def catalogue(skills: Iterable[Skill]) -> str:
    """A line for each skill, for the model: its name, and when it is of use. All lines are of a bounded length."""
    listed = list(skills)
    width = min(DESCRIPTION, CATALOGUE // max(len(listed), 1))
    return "\n".join(f"- {skill.name}: {_cut(skill.description, width)}" for skill in listed)


def skill_tool(skills: Iterable[Skill]) -> Tool | None:
    """The tool that gives the model what a skill says to do; None where there are no skills.

    It reads what was found, and nothing else. The skill's files must be in the workspace by then, below
    `.skills/<name>/` (see `contents`).
    """
    by_name = {skill.name: skill for skill in skills}
    if not by_name:
        return None

    async def skill(name: str) -> str:
        return _opened(by_name[name])

    described = "Read how a skill is used, before work that its description fits."
    one = {"type": "string", "enum": list(by_name), "description": "The skill's name."}
    schema = {"type": "object", "properties": {"name": one}, "required": ["name"], "additionalProperties": False}
    return Tool.from_schema("skill", described, schema, skill, effect="read")


def contents(skill: Skill) -> dict[str, bytes]:
    """The files of a skill as they go into the workspace, by their paths there; its SKILL.md among them.

    Raises ConfigurationError where they are no longer what was found, and so perhaps trusted.
    """
    try:
        with opened(skill.folder) as folder:
            tree = _tree(folder, skill.folder, [])
    except (OSError, Refused) as error:
        raise ConfigurationError(f"the skill {skill.name} in {_shown(skill.folder)} is gone: {error}") from error
    if _digest(skill.name, tree) != skill.digest:
        raise ConfigurationError(f"the skill {skill.name} in {_shown(skill.folder)} has changed; start again with it")
    return {f"{SANDBOX}/{skill.name}/{path}": content for path, content in tree.items()}


def _opened(skill: Skill) -> str:
    """What the model reads of a skill: no more than a result shows, so that what is cut is the end, and it says so."""
    at = f"{SANDBOX}/{skill.name}/"
    files = [f"{at}{path}" for path in skill.files[:LISTED]]
    if len(skill.files) > LISTED:
        files.append(f"(and {len(skill.files) - LISTED} more)")
    told = f"\n\nThe files of this skill are in {at}:\n" + "\n".join(files) if files else ""
    told = _cut(told, LIMIT // 2)
    if len(skill.body) + len(told) <= LIMIT:
        return skill.body + told
    note = f"\n(cut here; read the rest in {at}{FILE})"
    body = skill.body[: LIMIT - len(told) - len(note)]
    return body[: body.rfind("\n") if "\n" in body else None] + note + told


@dataclass(frozen=True, slots=True)
class _Place:
    """A folder of skills, `name` in the root of a project or in the user's home."""

    root: Path
    name: str
    source: Source

    @property
    def folder(self) -> Path:
        return self.root / self.name

    def open(self, *below: str) -> AbstractContextManager[int]:
        """It, or a folder in it. Links are followed in the user's home, who made them, and never in a project."""
        if self.source == "user":
            return opened(self.folder.joinpath(*below))
        return opened(self.root, *self.name.split("/"), *below)


def _found(root: Path, source: Source) -> Skills:
    """The skills of a project or a user, from all places for them."""
    groups: list[Skills] = []
    seen: set[str] = set()
    for place in (_Place(root, name, source) for name in PLACES):
        where = os.path.realpath(place.folder)  # of a circle of links, too
        try:
            with place.open() as folder:
                inside = names(folder)
            if where not in seen:
                groups.append(_in_place(place, inside))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except Refused as error:
            if where not in seen:  # a link to the other place has nothing that would be missed
                groups.append(Skills((), (f"the skills in {_shown(place.folder)} are not read: it {error}",)))
        seen.add(where)
    return together(*groups)


def _in_place(place: _Place, inside: Iterable[str]) -> Skills:
    notices: list[str] = []
    listed: list[Skill] = []
    tried = 0
    for name in inside:
        if name.startswith("."):
            continue
        if tried == MOST:
            notices.append(f"{_shown(place.folder)} has over {MOST} skills; {visible(name)} and others are left out")
            break
        try:
            skill = _read(place, name, notices)
        except (Refused, ValueError) as error:
            notices.append(f"the skill {_shown(place.folder / name)} is left out: it {error}")
            tried += 1
            continue
        if skill:
            listed.append(skill)
            tried += 1
    return Skills(tuple(listed), tuple(notices))


def _read(place: _Place, name: str, notices: list[str]) -> Skill | None:
    """The skill in a folder, None where there is no SKILL.md. Refused or ValueError say what is wrong with it."""
    at = place.folder / name
    try:
        with place.open(name) as folder:
            if not (tree := _tree(folder, at, notices)):
                return None
    except (FileNotFoundError, NotADirectoryError):
        return None
    fields, body = split(text_of(tree[FILE]))
    description = one_line(_text(fields, "description"))
    if not description:
        raise ValueError("has no description, by which a model could tell when it is of use")
    if len(description) > DESCRIPTION:
        notices.append(f"the description of the skill {_shown(at)} is cut to {DESCRIPTION:,} characters")
    own = _own_name(_text(fields, "name"), at, notices)
    return Skill(
        own,
        _cut(description, DESCRIPTION),
        at,
        body.strip(),
        tuple(path for path in tree if path != FILE),
        _digest(own, tree),
        place.source,
        license=_cut(one_line(_text(fields, "license")), OTHER),
        compatibility=_cut(one_line(_text(fields, "compatibility")), OTHER),
        metadata=_metadata(fields.get("metadata")),
        allowed_tools=_tools(fields.get("allowed-tools")),
    )


def _own_name(told: str, at: Path, notices: list[str]) -> str:
    """The name that a skill has here, which is part of a path: its own, else its folder's. ValueError for neither."""
    name = next((each for each in (told, at.name) if _NAME.fullmatch(each)), "")
    if not name:
        raise ValueError(f"has no name of 1 to 64 letters, digits, `-` and `_`, got {visible(told):.80}")
    if told != at.name:
        notices.append(f"the skill {_shown(at)} names itself {visible(told) or 'nothing':.80}; it is {name} here")
    return name


def _tree(folder: int, at: Path, notices: list[str]) -> dict[str, bytes]:
    """The contents of an open folder, its SKILL.md first; nothing where that is missing."""
    try:
        main = read(folder, FILE, SKILL)
    except Refused as error:
        raise Refused(f"has a {FILE} that {error}") from error
    if main is None:
        return {}
    try:
        tree, out = read_tree(folder)
    except Refused as error:
        notices.append(f"the files of the skill {_shown(at)} are left out: it {error}")
        return {FILE: main}
    if out:
        notices.append(f"left out of the skill {_shown(at)}: {visible(', '.join(out)):.200} (links, or odd names)")
    return {FILE: main, **{path: content for path, content in tree.items() if path != FILE}}


def _digest(name: str, tree: Mapping[str, bytes]) -> str:
    return digest_of([name, sorted((path, sha256(content).hexdigest()) for path, content in tree.items())])


def _text(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    return value if isinstance(value, str) else ""


def _metadata(told: Any) -> dict[str, str]:
    pairs = list(told.items())[:FIELDS] if isinstance(told, dict) else []
    return {_cut(one_line(key), OTHER): _cut(one_line(value), OTHER) for key, value in pairs if isinstance(value, str)}


def _tools(told: Any) -> tuple[str, ...]:
    """`Read, Bash(git *)`, or a list of such."""
    listed = [each for each in told if isinstance(each, str)] if isinstance(told, list) else [told]
    text = " ".join(each for each in listed if isinstance(each, str))
    return tuple(_cut(each, OTHER) for each in _TOOL.findall(one_line(text))[:FIELDS])


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _shown(path: Path) -> str:
    return visible(str(path))
