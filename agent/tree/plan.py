"""What writing a change set to the user's folder would do, file by file: each is compared with what was copied in.

What the user did not touch is written; what both changed is merged; where that cannot be, nothing is written at all.
Taking changes back is the same, backwards: a file that is as we left it is put back, one that was edited is merged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from posixpath import dirname, normpath

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.tree.changes import LINK, Change, Version, digest_of
from fastslow.agent.tree.disk import Disk, Found
from fastslow.agent.tree.merge import merge, merge_mode
from fastslow.agent.tree.names import refusal, shown, some
from fastslow.agent.tree.staging import repair

Content = Callable[[str], bytes]
"""A content by its digest."""


@dataclass(frozen=True, slots=True)
class Applied:
    """A file that was written, or removed. before: what stood there, with its permission bits; after: what does now."""

    path: str
    before: Version | None
    after: Version | None
    permissions: int | None = None


@dataclass(frozen=True, slots=True)
class Conflict:
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done to a file. stands: what is there now. merged: the content, where both sides changed it.

    permissions: of what is there now. restored: those that the file once had, of one that comes back.
    """

    path: str
    stands: Version | None
    after: Version | None
    permissions: int | None = None
    merged: bytes | None = None
    restored: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What `carry_out` would do. done: paths that are already as they are to be. notices: what was put right before."""

    root: Path
    steps: tuple[Step, ...]
    conflicts: tuple[Conflict, ...]
    done: tuple[str, ...]
    content: Content
    notices: tuple[str, ...] = ()


def plan_apply(root: str | Path, changes: Sequence[Change], content: Content, paths: Sequence[str] = ()) -> Plan:
    """How to write a change set. Writes nothing itself, but for what an earlier try left half done: that it takes back.

    paths: files or folders of the change set, for those alone. Raises ConfigurationError for a path that it does not
    have, ApplyFailed where the folder cannot be used.
    """
    chosen = picked(Path(os.path.realpath(root)), changes, paths)
    refused = {change.path: why for change in chosen if (why := refusal(change.path) or _leads_out(change, content))}
    return _plan(root, chosen, content, refused)


def plan_undo(root: str | Path, applied: Sequence[Applied], content: Content) -> Plan:
    """How to take back what was written, from the record of it."""
    changes = [Change(file.path, file.after, file.before) for file in applied]
    refused = {change.path: why for change in changes if (why := refusal(change.path))}
    plan = _plan(root, changes, content, refused)
    permissions = {file.path: file.permissions for file in applied}
    return replace(plan, steps=tuple(replace(step, restored=permissions[step.path]) for step in plan.steps))


def _plan(root: str | Path, changes: Sequence[Change], content: Content, refused: Mapping[str, str]) -> Plan:
    steps: list[Step] = []
    conflicts = [Conflict(path, why) for path, why in refused.items()]
    done: list[str] = []
    with Disk(root) as disk:
        notices = repair(disk)
        gone: set[str] = set()  # first what goes: something else may take its place
        for change in sorted(changes, key=lambda change: (change.after is not None, change.path)):
            if change.path in refused:
                continue
            found = disk.look(change.path)
            if found.blocked and _makes_room(disk, change.path, found, gone):
                found = Found()
            match _step(change, found, content):
                case None:
                    done.append(change.path)
                case str(why):
                    conflicts.append(Conflict(change.path, why))
                case step:
                    steps.append(step)
                    if step.after is None:
                        gone.add(step.path)
    conflicts.sort(key=lambda conflict: conflict.path)
    return Plan(disk.root, tuple(steps), tuple(conflicts), tuple(sorted(done)), content, notices)


def _step(change: Change, found: Found, content: Content) -> Step | str | None:
    """What to do to a file, or why that cannot be; nothing where it is done."""
    before, after, stands = change.before, change.after, found.version
    if found.blocked:
        return None if after is None and found.other else found.blocked
    if _alike(stands, after):
        return None
    step = Step(change.path, stands, after, found.permissions)
    if _alike(stands, before):
        return step
    if stands is None:
        return "it was deleted meanwhile"
    # Not every disk knows which file is a program, so that alone keeps none from coming or going.
    if before is None and _alike_but_for_mode(stands, after):
        return None
    if after is None and _alike_but_for_mode(stands, before):
        return step
    if before is None:
        return "another file stands there, which the change does not know"
    if after is None:
        return "it was changed meanwhile, and would be deleted"
    if LINK in (before.mode, after.mode, stands.mode):
        return "it was changed meanwhile, and one of the two is a link"
    return _merged(step, before, after, found, content)


def _merged(step: Step, before: Version, after: Version, found: Found, content: Content) -> Step | str | None:
    assert step.stands  # noqa: S101 - for mypy
    text = merge(content(before.digest), found.content, content(after.digest))
    if text is None:
        return "both changed the same lines" if b"\0" not in found.content else "both changed it, and it is no text"
    mode = merge_mode(before.mode, step.stands.mode, after.mode)
    version = Version(digest_of(text), len(text), mode)
    return None if _alike(step.stands, version) else replace(step, after=version, merged=text)


def _alike(one: Version | None, other: Version | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.digest, one.mode) == (other.digest, other.mode)


def _alike_but_for_mode(one: Version, other: Version | None) -> bool:
    return other is not None and one.digest == other.digest and (one.mode == LINK) == (other.mode == LINK)


def _makes_room(disk: Disk, path: str, found: Found, gone: set[str]) -> bool:
    """Whether what is in the way goes with the same changes: a file, or a folder with all that is in it."""
    if found.by != path:
        return found.by in gone
    try:
        inner = set(disk.files(path))
    except OSError:  # it is no folder, or cannot be read
        return False
    return bool(inner) and inner <= set(gone)


def _leads_out(change: Change, content: Content) -> str:
    """Why a link that the run made is not brought: programs of the user's follow it, and it may lead anywhere."""
    if not change.after or change.after.mode != LINK or (change.before and change.before.digest == change.after.digest):
        return ""
    target = os.fsdecode(content(change.after.digest))
    where = normpath(f"{dirname(change.path) or '.'}/{target}")
    if target.startswith("/") or where.split("/")[0] == ".." or (where != "." and refusal(where)):
        return f"it is a new link that leads out of the folder, or to what no run may touch: {shown(target)[:200]}"
    return ""


def picked(root: Path, changes: Sequence[Change], paths: Sequence[str]) -> list[Change]:
    if not paths:
        return list(changes)
    picked: dict[str, Change] = {}
    for given in paths:
        path = normpath(os.path.relpath(given, root) if os.path.isabs(given) else given)
        found = [change for change in changes if path in (".", change.path) or change.path.startswith(f"{path}/")]
        if not found:
            known = sorted({change.path for change in changes} | {dirname(change.path) for change in changes} - {""})
            near = get_close_matches(path, known, 3, 0.5) or known
            raise ConfigurationError(f"{shown(given)!r} was not changed by the run; what was: {some(near)}")
        picked |= {change.path: change for change in found}
    return list(picked.values())
