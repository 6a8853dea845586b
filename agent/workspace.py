"""The files of one run: the user's go into the sandbox, and what the run made comes out."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path

from fastslow.agent.given import Given
from fastslow.agent.outbox import Outbox, grouped, some, why
from fastslow.agent.record.contents import Kept
from fastslow.agent.record.states import Record, Restored, TreeSource
from fastslow.sandbox import (
    Changes,
    Egress,
    FileInfo,
    HostFunction,
    Limits,
    Sandbox,
    SandboxError,
    Session,
    TreeFile,
)
from fastslow.tools.lenient import without_surrogates
from fastslow.tools.result import LIMIT, clip
from fastslow.tools.seen import Seen

RENEWALS = 3  # sessions that may take the place of a dead one in a run
PAUSES = (1.0, 4.0, 15.0)  # seconds between tries to start one: an engine is restarted within some seconds
FILES_SECONDS = 300.0  # for all files that are taken out at once
ROW = 200  # bytes of the journal for a name, beside the name itself
REMOVED = 200  # files in one command
# The model may look at what it changed, and go back, with the commands that it knows. Nobody here obeys what it says.
BASELINE = """\
{ git init -q --template= -b main . && git config user.name fastslow && git config user.email fastslow@localhost &&
git config core.compression 1 && git config gc.auto 0 && mkdir -p .git/info &&
printf '%s\\n' __pycache__/ .pytest_cache/ .mypy_cache/ .ruff_cache/ node_modules/ .skills/ > .git/info/exclude &&
git add -A -f . && git commit -q --no-verify --allow-empty -m 'The project as it was given'; } >/dev/null 2>&1 ||
rm -rf .git"""
NEW = Kept(None)
LOST_VARIABLES = "\n(The interpreter was started anew: variables and imports are gone, files are as they were.)"
TAKEN = "the name is taken by what this run did not make"
MANY_NAMES = "it made and changed too many files (Limits.traffic)"
STOPPED = "\n(So many files were made and changed that later changes are not kept in case the run is interrupted.)"
LATER = "\n(Files are as an earlier call left them: later changes could not be kept.)"
BARE = "\n(Files are back without links, empty folders and permissions; what ran in the background has ended.)"
BARE_TREE = "\n(What ran in the background has ended, and empty folders are gone.)"  # which has links and modes
CONFLICTS = (
    "\n(The user changed these files meanwhile, too, in ways that do not go with yours: {}. Look at them again.)"
)
CONTESTED = "you and the run before changed these files in ways that do not go together: {}"
LOST_FILES = "\n(These files could not be kept, and are gone or as they were given: {}.)"


async def shown(text: str, workspace: Workspace | None, limit: int = LIMIT) -> str:
    """A tool's result as the model is shown it: one that is too long as head, tail, and the file that holds it all."""
    if not text.isascii():
        text = without_surrogates(text)
    path = await workspace.store(text) if workspace and len(text) > limit else ""
    note = f"\n[All {len(text):,} characters of this are in the file {path}]" if path else ""
    return clip(text, limit - len(note)) + note


@dataclass(frozen=True, slots=True)
class Brought:
    """Files that came out, and what the user must know of those that did not, or have another name."""

    files: tuple[Path, ...] = ()
    told: tuple[str, ...] = ()


class Workspace:
    """A sandbox session that starts in the background, so that its container is up when the first plan is.

    egress: connections of its code that are over; whoever reads them takes them out.
    record: where the workspace is written down, if anywhere.
    history: what was written down, for a session that takes the place of an earlier one; with `warm=True` for one that
        goes on with its variables.
    functions: what its code may call. tree: a folder of the user's that it holds a copy of. skills: their files.
    seen: what tools saw of its files, in all runs that it serves.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        files: Sequence[Given],
        record: Record | None = None,
        history: Callable[..., Restored | None] | None = None,
        functions: Sequence[HostFunction] = (),
        tree: TreeSource | None = None,
        skills: Sequence[TreeFile] = (),
    ) -> None:
        self.egress: deque[Egress] = deque()
        self._sandbox = sandbox
        self._files = files
        self.record = record
        self._history = history
        self._functions = functions
        self.tree = tree
        self.seen = Seen()
        self._skills = skills
        self._restored: Restored | None = None
        self._renewals = RENEWALS
        self._renewing = asyncio.Lock()
        self._before: dict[str, Kept] = {}  # what the user gave, by path
        self._counted: set[str] = set()  # digests of contents that we have seen ourselves
        self._saved: int | None = None  # the number of the workspace's state that is written down
        self._stopped = False  # nothing more is written down
        self._saving = asyncio.Lock()
        self._out = self._names = 0  # bytes of contents that were taken out, and of names that were written down
        self._told = ""
        self._notes: list[str] = []  # for the user
        self._opening: asyncio.Task[Session] | None = None

    async def __aenter__(self) -> Workspace:
        self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    def _start(self) -> None:
        self._saved = None
        # What is carried over to a copy of a folder is known once that is written down.
        self._restored = self._history() if self._history and not self.tree else None
        self._opening = asyncio.create_task(self._open())

    async def _end(self) -> None:
        if self._opening is None:
            return
        if not self._opening.done():
            self._opening.cancel()
            await asyncio.wait([self._opening])
        if self._is_open:
            await self._opening.result().aclose()

    async def renew(self) -> bool:
        """Put another session in the place of one that died, files and variables as they were written down last.

        False where nothing is written down, or where sessions die again and again. Raises `SandboxError` when none can
        be started.
        """
        async with self._renewing:
            with suppress(SandboxError):
                await (await self.session()).files()
                return True  # of the calls that it took with it another one was faster
            if self._history is None or not self._renewals:
                return False
            self._renewals -= 1
            await self._end()
            for pause in (*PAUSES, None):
                self._start()
                try:
                    await self.session()
                except SandboxError:  # the engine may be on its way up again
                    if pause is None:
                        raise
                    await asyncio.sleep(pause)
                else:
                    break
            return True

    async def hand_over(self, other: Workspace) -> None:
        """Go on as the workspace of another run that follows, in the session as it is, with all its variables. What the
        user changed in the folder meanwhile goes in."""
        self._files, self._history, self._functions = other._files, other._history, other._functions
        self.record, self.tree, self._skills = other.record, other.tree, other._skills
        self._saved, self._stopped, self._renewals, self._notes = None, False, RENEWALS, []
        self._out = self._names = 0
        if not self._is_open or not self._history:
            await self._end()
            self._start()
            return
        session = await self.session()
        try:
            if self.tree:
                await asyncio.to_thread(self.tree.keep)
                self._before = self.tree.base()
            for skill in self._skills:
                await session.put(skill.path, skill.content, skill.mode)
            await self._put_files(session)
            self._restored = restored = self._history(warm=True)
            if restored:
                self._told = await self._put_back(session, restored)
                self._told += self._contested(restored)
        except SandboxError:  # it died meanwhile
            await self._end()
            self._start()

    async def _open(self) -> Session:
        session = await self._sandbox.session(on_egress=self.egress.append)
        try:
            if self._functions:
                await session.offer(self._functions)
            if self.tree:
                await self._put_tree(session, self.tree)
                self._restored = self._history() if self._history else None
            await self._put_files(session)
            if self._restored:
                await self._restore(session, self._restored)
        except BaseException:
            await session.aclose()
            raise
        return session

    async def _put_files(self, session: Session) -> None:
        for file in self._files:
            try:
                self._before[file.name] = Kept((await session.put(file.name, file.content)).digest)
            except (OSError, ValueError) as error:
                raise SandboxError(f"{file.name} does not go into the sandbox: {error}") from error
        self._counted |= {kept.digest for kept in self._before.values() if kept.digest}

    async def _put_tree(self, session: Session, tree: TreeSource) -> None:
        """Copy the user's folder in, as the first commit of a repository that is not the user's."""
        try:
            await session.put_tree(chain(tree.files(), self._skills))
        except (OSError, ValueError) as error:
            raise SandboxError(f"the folder does not go into the sandbox: {error}") from error
        self._before = tree.base()
        if tree.unread:
            self._notes.append(f"could not be read, and so did not go in: {some(tree.unread)}")
        await session.shell(BASELINE)

    async def _restore(self, session: Session, restored: Restored) -> None:
        """Run the cells again for the sake of the variables, then put the files as they were, whatever those did."""
        gone = "" if restored.cells is not None else LOST_VARIABLES
        for code, ok in restored.cells or ():
            if (await session.run(code)).status != ("ok" if ok else "error"):
                gone = LOST_VARIABLES
                break
        lost = await self._put_back(session, restored)
        self._told = (
            gone
            + ((BARE_TREE if self.tree else BARE) if restored.commands else "")
            + lost
            + (LATER if restored.stopped else "")
            + self._contested(restored)
        )

    def _contested(self, restored: Restored) -> str:
        """What the model must be told of what the user changed as well; the user is told at the end."""
        if not restored.conflicts:
            return ""
        self._notes.append(CONTESTED.format(some(restored.conflicts)))
        return CONFLICTS.format(some(restored.conflicts))

    async def _put_back(self, session: Session, restored: Restored) -> str:
        """Make the files what they were, and say which could not be."""
        there = {info.path: Kept(info.digest, info.mode) for info in await session.files()}
        lost = []
        for path in restored.files:
            kept = restored.kept.get(path)
            if kept and kept == there.get(path):
                continue
            try:
                content = restored.files[path]
                if content is not None:
                    self._counted.add((await session.put(path, content, mode=kept.mode if kept else None)).digest)
                elif path not in there or there[path] == self._before.get(path):
                    lost.append(path)
            except (OSError, ValueError):  # no room, say: the code that ran again may have filled it
                lost.append(path)
        await _remove(session, there.keys() - restored.files.keys() - {file.path for file in self._skills})
        return LOST_FILES.format(some(lost)) if lost else ""

    def told(self) -> str:
        """What the model must be told of a restored session, once; mostly nothing."""
        told, self._told = self._told, ""
        return told

    async def store(self, text: str) -> str:
        """Put a text into a file where code finds it; returns its path, nothing where there is no room or no session.

        It stands beside the whole outputs that the sandbox keeps, under a name that its content gives.
        """
        content = text.encode("utf-8", "replace")
        path = f"output/result-{sha256(content).hexdigest()[:12]}.txt"
        try:
            await (await self.session()).put(path, content)
        except (SandboxError, OSError, ValueError):  # the first call that needs the session tells of it
            return ""
        await self.save()
        return path

    async def save(self) -> None:
        """Write down what a call left, if it left anything."""
        if self.record is None or not self._is_open:
            return
        session = await self.session()
        async with self._saving:
            with suppress(SandboxError):  # it died: whoever runs something in it next will hear of that
                changes = await session.changes(self._saved or 0)
                if changes.number != self._saved:
                    await self._write_down(self.record, session, changes)
                    self._saved = changes.number

    async def _write_down(self, record: Record, session: Session, changes: Changes) -> None:
        self._names += sum(len(path) + ROW for path in (*(info.path for info in changes.changed), *changes.removed))
        if self._stopped:
            return
        if self._names > self.limits.traffic:
            record.stop()
            self._stopped = True
            self._told += STOPPED
            self._notes.append(f"the workspace was not written down to the end: {MANY_NAMES}")
            return
        files: dict[str, Kept] = {}
        refused: list[tuple[str, str]] = []
        end = time.monotonic() + FILES_SECONDS
        for info in changes.changed:
            try:
                files[info.path] = Kept(await self._digest(record, session, info, end), info.mode)
            except (OSError, ValueError) as error:  # gone meanwhile, or too much
                files[info.path] = Kept(None, info.mode)
                if not info.left:
                    refused.append((info.path, why(error)))
        record.save(files, changes.removed, whole=changes.whole or self._saved is None)
        for line in grouped(refused):
            self._told += f"\n(Not kept in case the run is interrupted: {line}.)"
            self._notes.append(f"not kept in the run's record: {line}")

    async def _digest(self, record: Record, session: Session, info: FileInfo, end: float) -> str | None:
        """Of a content that is in the record, as we have counted it ourselves. ValueError for one that is too much."""
        if info.left:
            return None
        if info.digest in self._counted and record.holds(info.digest):
            return info.digest
        self._check_room(info, end)
        content = record.content()
        try:
            await session.read(info.path, self._counting(content.write))
            digest = await content.keep()
        finally:
            content.close()
        self._counted.add(digest)
        return digest

    def _counting(self, write: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """The guest may give more than it said."""

        def counted(data: bytes) -> None:
            self._out += len(data)
            if self._out > self.limits.out:
                raise ValueError(self._too_much)
            write(data)

        return counted

    @property
    def limits(self) -> Limits:
        return self._sandbox.limits

    @property
    def _is_open(self) -> bool:
        opening = self._opening
        return bool(opening and opening.done() and not opening.cancelled() and not opening.exception())

    async def session(self) -> Session:
        """The session, once it is up; raises `SandboxError` when it could not start."""
        if self._opening is None:
            raise RuntimeError("use a workspace with `async with`")
        return await asyncio.shield(self._opening)

    async def altered(self, which: Callable[[str], bool]) -> tuple[str, ...]:
        """Files of the user's, of some, that are not as they were given any more."""
        there = {info.path: Kept(info.digest, info.mode) for info in await (await self.session()).files()}
        return tuple(path for path, kept in self._before.items() if there.get(path) != kept and which(path))

    @asynccontextmanager
    async def restored(self, paths: Sequence[str]) -> AsyncIterator[None]:
        """Some files of the tree as they were given, for a while. `SandboxError`; OSError or ValueError where a file
        cannot be put back, since a folder or a link is in its way, say."""
        session = await self.session()
        there = {info.path: info for info in await session.files()}
        now = {path: await session.get(path) for path in paths if path in there}
        try:
            for path in paths:
                await session.put(path, self._content(path), mode=self._before[path].mode)
            yield
        finally:
            with suppress(SandboxError):  # it died: the one that took its place has them as they are
                for path, content in now.items():
                    await session.put(path, content, mode=there[path].mode)
                put = {info.path for info in await session.files()}.intersection(paths)  # none of them behind a link
                await _remove(session, put - now.keys())

    def _content(self, path: str) -> bytes:
        return (self.tree.content(path) if self.tree else None) or b""

    async def collect(self, folder: Path, below: str = "") -> Brought:
        """Bring out the files that the run made or changed, see `Outbox`; none when no session ever came up."""
        if self.tree and self._opening and self._saved is None:
            with suppress(SandboxError):
                await self.session()
                if self._restored:  # what the runs before it changed is its own, also where it has called nothing
                    await self.save()
        if self._opening is None or not (self._is_open or self._restored):
            return Brought(told=tuple(self._notes))
        if self.tree:  # its files come out with the record
            return Brought(told=(*self._notes, *await self._told_of_left()))
        session = await self.session()
        changes = await session.changes()
        if not (changes.changed or changes.left):
            return Brought(told=tuple(self._notes))
        outbox, end = Outbox(folder, below, self._versions), time.monotonic() + FILES_SECONDS
        self._out = 0  # as much again as went into the record
        refused = [(one.path or "others", one.reason) for one in changes.left]
        paths, renamed = [], []
        for info in changes.changed:
            if self._before.get(info.path, NEW).digest == info.digest:
                continue
            try:
                path, named = await self._bring(outbox, session, info, end)
            except SandboxError as error:
                self._notes.append(f"no file after {info.path} came out: {error}")
                break
            except (OSError, ValueError) as error:
                refused.append((info.path, why(error)))
                continue
            paths.append(path)
            if not named:
                renamed.append(f"{info.path} came out as {path}")
        told = [f"{some(renamed)}: {TAKEN}"] if renamed else []
        told += [f"did not come out: {line}" for line in grouped(refused)]
        return Brought(tuple(paths), (*self._notes, *told))

    async def _told_of_left(self) -> list[str]:
        """Of new files that no record takes: nobody but the model would know that they were ever there."""
        with suppress(SandboxError):
            changes = await (await self.session()).changes()
            refused = [(one.path or "others", one.reason) for one in changes.left]
            refused += [(info.path, info.left) for info in changes.changed if info.left]
            return [f"did not come out: {line}" for line in grouped(refused)]
        return []  # it died, and they with it

    async def _bring(self, outbox: Outbox, session: Session, info: FileInfo, end: float) -> tuple[Path, bool]:
        """Where a file went, and whether under its own name. ValueError for one that stays inside."""
        if info.left:
            raise ValueError(info.left)
        self._check_room(info, end)
        with outbox.bring(info.path) as arrival:
            await session.read(info.path, self._counting(arrival.write))
            return arrival.settle()

    def _check_room(self, info: FileInfo, end: float) -> None:
        if self._out + info.size > self.limits.out:
            raise ValueError(self._too_much)
        if time.monotonic() > end:
            raise ValueError(f"all files together took more than {FILES_SECONDS:.0f} s")

    @property
    def _too_much(self) -> str:
        return f"with it more than {self.limits.out:,} bytes would be taken out (Limits.out)"

    def _versions(self, path: str) -> set[str]:
        made = self.record.versions(path) if self.record else set()
        return made - {self._before.get(path, NEW).digest}


async def _remove(session: Session, paths: Iterable[str]) -> None:
    names = [shlex.quote(path) for path in paths]
    for start in range(0, len(names), REMOVED):
        await session.shell("rm -f -- " + " ".join(names[start : start + REMOVED]))
