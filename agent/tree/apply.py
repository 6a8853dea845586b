"""Changes written to the user's folder, or taken back: all of them or none. See `plan` for what is to be written."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence

from fastslow.agent.errors import ApplyFailed, Conflicted
from fastslow.agent.tree.changes import PROGRAM, digest_of
from fastslow.agent.tree.disk import Disk
from fastslow.agent.tree.names import shown
from fastslow.agent.tree.plan import Applied, Conflict, Content, Plan, Step, plan_apply, plan_undo
from fastslow.agent.tree.staging import Move, Staging, repair

__all__ = ["Applied", "Conflict", "Content", "Plan", "Step", "carry_out", "plan_apply", "plan_undo"]


def carry_out(
    plan: Plan,
    keep: Callable[[bytes], str],
    record: Callable[[tuple[Applied, ...]], None] = lambda applied: None,
) -> tuple[Applied, ...]:
    """Do what a plan says. What was written, for `plan_undo`.

    keep: stores a content and gives its digest; it gets what stood there, and what was merged. record: writes down what
    was done (nothing, perhaps) while all of it can still be taken back: if it raises, that is done, and its error goes
    on.
    Raises Conflicted where the plan has conflicts, ApplyFailed where something could not be written, or was changed
    since the plan was made. The folder is then as it was.
    """
    if plan.conflicts:
        raise _conflicted(plan)
    if not plan.steps:
        record(())
        return ()
    steps = sorted(plan.steps, key=lambda step: (step.after is not None, step.stands is None, step.path))
    with Disk(plan.root) as disk:
        repair(disk)
        with disk.locked():
            staging = _staged(disk, steps, plan.content)
            try:
                applied = _swapped(staging, steps, keep)
                record(applied)
                _finish(staging)
            except BaseException as error:
                _take_back(staging, error)
                raise
            staging.remove()
            staging.close()
            _remove_emptied(disk, steps)
    return applied


def _conflicted(plan: Plan) -> Conflicted:
    files = "\n".join(f"  {shown(conflict.path)}: {conflict.reason}" for conflict in plan.conflicts)
    count = f"{len(plan.conflicts)} files are" if plan.conflicts[1:] else "1 file is"
    return Conflicted(
        f"nothing was written, as {count} in conflict:\n{files}\nSettle these, or name the paths that you want",
        conflicts=tuple((conflict.path, conflict.reason) for conflict in plan.conflicts),
    )


def _staged(disk: Disk, steps: Sequence[Step], content: Content) -> Staging:
    """All that is to be written, on the disk already, but under other names."""
    made = dict.fromkeys(
        folder for step in steps if step.after for folder in _folders(step.path) if not _is_folder(disk, folder)
    )
    removed = [
        folder for step in steps if step.after and _is_folder(disk, step.path) for folder in disk.folders(step.path)
    ]
    moves = [Move(step.path, step.stands, step.after) for step in steps]
    try:
        permissions = {folder: _permissions(disk, folder) for folder in removed}
        staging = Staging.new(disk, moves, list(made), permissions)
    except OSError as error:
        raise _failed(f"{disk.root} cannot be written to", error) from error
    try:
        for number, step in enumerate(steps):
            if step.after:
                text = content(step.after.digest) if step.merged is None else step.merged
                if digest_of(text) != step.after.digest:
                    raise ApplyFailed(
                        f"the content of {shown(step.path)} is damaged in the journal; nothing was changed"
                    )
                staging.add(number, text, step.after.mode, _bits(step))
                if step.stands:
                    staging.own_as(number, step.path)
        staging.begin()
    except BaseException as error:
        staging.remove()
        staging.close()
        if isinstance(error, OSError):
            raise _failed(f"the changes cannot be written to {disk.root}", error) from error
        raise
    return staging


def _swapped(staging: Staging, steps: Sequence[Step], keep: Callable[[bytes], str]) -> tuple[Applied, ...]:
    """What goes first, then what takes the place of something, then what is new; then a look at what was there."""
    room = True  # to be made, once all is gone that goes
    for number, step in enumerate(steps):
        try:
            if step.after and room:
                staging.make_room()
                room = False
            if step.stands:
                staging.take(number)
            if step.after:
                staging.place(number)
        except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
            raise _changed(step.path) from error
        except OSError as error:
            raise _failed(f"{shown(step.path)} cannot be written", error) from error
    return tuple(_applied(staging, number, step, keep) for number, step in enumerate(steps))


def _applied(staging: Staging, number: int, step: Step, keep: Callable[[bytes], str]) -> Applied:
    """Keeps what stood there, which must be what was there when the plan was made."""
    if step.merged is not None:
        keep(step.merged)
    if step.stands:
        found = staging.kept(number)
        if found.version != step.stands:
            raise _changed(step.path)
        keep(found.content)
    return Applied(step.path, step.stands, step.after, step.permissions)


def _finish(staging: Staging) -> None:
    try:
        staging.finish()
    except OSError as error:
        raise _failed("the changes cannot be written", error) from error


def _take_back(staging: Staging, error: BaseException) -> None:
    """Nothing stays of what was written. ApplyFailed where something is to be said of that."""
    try:
        notes = staging.take_back()
    except OSError as second:
        staging.close()
        raise ApplyFailed(
            f"{error}, and what was written could not be taken back: {second.strerror} ({second.filename}); what was "
            "there before is kept in the hidden folder .fastslow-apply-…, and comes back with the next try"
        ) from error
    staging.remove()
    staging.close()
    if notes:
        raise ApplyFailed(f"{error}. {'; '.join(notes)}") from error


def _remove_emptied(disk: Disk, steps: Sequence[Step]) -> None:
    """The folders out of which the last file went."""
    for step in steps:
        if step.after is None:
            for folder in reversed(_folders(step.path)):
                try:
                    with disk.parent(folder) as (outer, name):
                        os.rmdir(name, dir_fd=outer)
                except OSError:  # there is something in it
                    break


def _folders(path: str) -> list[str]:
    """Those that a path lies in, the outer ones first."""
    return [path[:at] for at, sign in enumerate(path) if sign == "/"]


def _is_folder(disk: Disk, path: str) -> bool:
    try:
        with disk.folder(path):
            return True
    except OSError:
        return False


def _permissions(disk: Disk, path: str) -> int:
    with disk.folder(path) as folder:
        return stat.S_IMODE(os.fstat(folder).st_mode) & 0o777


def _bits(step: Step) -> int | None:
    """The permission bits that a file gets: those that it has, or had; the change says whether it is a program."""
    bits = step.restored if step.permissions is None else step.permissions
    if bits is None or step.after is None:
        return None
    if step.after.mode == PROGRAM:
        return bits if bits & 0o100 else bits | (bits & 0o444) >> 2
    return bits & ~0o111 if bits & 0o100 else bits


def _changed(path: str) -> ApplyFailed:
    return ApplyFailed(
        f"{shown(path)} was changed while the changes were being written, so none of them was; try again"
    )


def _failed(what: str, error: OSError) -> ApplyFailed:
    return ApplyFailed(f"{what}: {error.strerror}; nothing was changed")
