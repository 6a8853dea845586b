"""What a run changed in its copy of the user's folder: looked at, applied and taken back when the user says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.tree.apply import Plan, carry_out, plan_apply, plan_undo
from fastslow.agent.tree.changes import Change
from fastslow.agent.tree.patch import Stat, patch, stat
from fastslow.agent.tree.plan import picked

if TYPE_CHECKING:
    from fastslow.agent.record.applied import AppliedChanges


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """The changes of a run, sorted by path. Nothing of the user's is touched before `apply`.

    root: the folder that the run got a copy of. journal: the file that holds the contents.
    """

    run: str
    root: str
    journal: str
    changes: tuple[Change, ...] = ()

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    def diff(self, paths: Iterable[str] = ()) -> bytes:
        """The patch, as `git apply` takes it. paths: of these files and folders only."""
        with self._kept() as kept:
            return patch(picked(Path(self.root), self.changes, tuple(paths)), kept.content)

    def contents(self) -> dict[str, bytes | None]:
        """What each file holds now, by path; None for one that was removed."""
        with self._kept() as kept:
            return {change.path: kept.content(change.after.digest) if change.after else None for change in self}

    def stat(self) -> Stat:
        """Lines that were added and removed, by file."""
        with self._kept() as kept:
            return stat(self.changes, kept.content)

    def apply(self, paths: Iterable[str] = (), *, dry_run: bool = False) -> Plan:
        """Write the changes into the user's folder, all of them or none: what was done, or with dry_run would be.

        A file that the user changed meanwhile gets both changes, where they go together; one that was written before
        and changed since stays as it is. Raises Conflicted where some
        do not, and then nothing is written; ApplyFailed, and ConfigurationError for a path that was not changed.
        """
        with self._kept() as kept:
            plan = self._settled(plan_apply(self.root, self.changes, kept.content, tuple(paths)), kept)
            if not dry_run:
                carry_out(plan, kept.keep, partial(kept.record, plan.root))
            return plan

    def _settled(self, plan: Plan, kept: AppliedChanges) -> Plan:
        """The plan without conflicts on files that were written before: what the user made of those since stays."""
        if not plan.conflicts:
            return plan
        after, standing = {change.path: change.after for change in self}, kept.standing()
        done = {c.path for c in plan.conflicts if c.path in standing and standing[c.path] == after[c.path]}
        left = tuple(conflict for conflict in plan.conflicts if conflict.path not in done)
        return replace(plan, conflicts=left, done=(*plan.done, *sorted(done)))

    def undo(self, *, dry_run: bool = False) -> Plan:
        """Take back what was applied last; what the user changed since then stays. Raises what `apply` does, and
        ConfigurationError where nothing is applied."""
        with self._kept() as kept:
            last = kept.last()
            if last is None:
                raise ConfigurationError(f"nothing of run {self.run} is applied, so there is nothing to take back")
            plan = plan_undo(last.root, last.files, kept.content)
            if not dry_run:
                carry_out(plan, kept.keep, lambda _: kept.undone(last.number))
            return plan

    @contextmanager
    def _kept(self) -> Iterator[AppliedChanges]:
        # Events hold change sets, and the journal is made of events.
        from fastslow.agent.record.applied import AppliedChanges
        from fastslow.agent.record.journal import Journal

        with closing(Journal(self.journal)) as journal:
            yield AppliedChanges(journal, self.run)
