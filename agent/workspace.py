"""The files of one run: the user's go into the sandbox, and what the run made comes out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

from agent.errors import ConfigurationError
from sandbox import Egress, Sandbox, Session

PREVIEW = 3  # first lines of a text file that the model is shown with its name


def checked(files: Iterable[str | Path], largest: int) -> tuple[Path, ...]:
    """The task's files as paths; FileNotFoundError or ConfigurationError before anything was started."""
    paths = tuple(Path(file) for file in files)
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"no file {str(path)!r}; check the name, or run from the folder that holds it")
        if not path.is_file():
            raise ConfigurationError(f"{str(path)!r} is not a regular file; pass each file by its own name")
        if path.stat().st_size > largest:
            raise ConfigurationError(
                f"{str(path)!r} has {path.stat().st_size:,} bytes and at most {largest:,} go into the sandbox; "
                "pass a smaller extract, or raise Limits(upload=…, disk=…, memory=…)"
            )
        with path.open("rb"):  # an unreadable file is a PermissionError here and not in the middle of a run
            pass
    names = [path.name for path in paths]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigurationError(f"two files are named {min(twice)!r}; they would overwrite each other, rename one")
    return paths


def described(files: Sequence[Path]) -> str:
    """Name, size and first lines of each file, for the model."""
    return "\n".join(f"{path.name} ({path.stat().st_size} bytes){_preview(path)}" for path in files)


def _preview(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(1000)
    if b"\0" in head:
        return ""
    lines = head.decode("utf-8", "replace").splitlines()[:PREVIEW]
    return ", first lines:\n" + "\n".join(line[:200] for line in lines)


class Workspace:
    """A sandbox session that starts in the background, so that its container is up when the first plan is.

    egress: connections of its code that are over; whoever reads them takes them out.
    """

    def __init__(self, sandbox: Sandbox, files: Sequence[Path]) -> None:
        self.egress: deque[Egress] = deque()
        self._sandbox = sandbox
        self._files = files
        self._before: dict[str, str] = {}
        self._opening: asyncio.Task[Session] | None = None

    async def __aenter__(self) -> Workspace:
        self._opening = asyncio.create_task(self._open())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._opening is None:
            return
        if not self._opening.done():
            self._opening.cancel()
        [session] = await asyncio.gather(self._opening, return_exceptions=True)
        if not isinstance(session, BaseException):
            await session.aclose()

    async def _open(self) -> Session:
        session = await self._sandbox.session(on_egress=self.egress.append)
        try:
            for path in self._files:
                self._before[path.name] = (await session.put(path.name, path)).digest
        except BaseException:
            await session.aclose()
            raise
        return session

    async def session(self) -> Session:
        """The session, once it is up; raises `SandboxError` when it could not start."""
        if self._opening is None:
            raise RuntimeError("use a workspace with `async with`")
        return await asyncio.shield(self._opening)

    async def collect(self, out: Path) -> tuple[Path, ...]:
        """Copy the files that the run made or changed to `out`; none when no session ever came up."""
        if self._opening is None or not self._opening.done() or self._opening.cancelled() or self._opening.exception():
            return ()
        session = self._opening.result()
        collected = []
        for info in await session.files():
            if self._before.get(info.path) == info.digest:
                continue
            target = out / info.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(await session.get(info.path))
            collected.append(target)
        return tuple(collected)
