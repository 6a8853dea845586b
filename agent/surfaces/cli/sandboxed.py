"""`fastslow sandbox build | exec | ls | prune | probe`."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal, TypeVar

from rich.table import Table
from rich.text import Text

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.given import checked_files
from fastslow.agent.surfaces.cli.phases import Phases
from fastslow.agent.surfaces.cli.prepare import prepare_sandbox
from fastslow.agent.surfaces.cli.signals import run_until_signal
from fastslow.agent.surfaces.cli.text import clean, one_line, terminal
from fastslow.sandbox import DockerSandbox, Execution, Limits, Network, PostureCheck, docker_client, image_manifest
from fastslow.sandbox import probe as probed

T = TypeVar("T")

OUTPUT = 20_000_000  # bytes of each stream that pass through
RESERVED = 1000  # of those on stderr, for messages of fastslow itself
KILLED = 137  # 128 + SIGKILL, as a shell says it


def build(packages: Sequence[str], base: str | None, *, force: bool, as_json: bool) -> None:
    """Make Docker and the image ready; prints the image's name, or what is inside."""
    image = prepare_sandbox(Phases(terminal(stderr=True)), packages=packages, base=base, force=force)
    if not as_json:
        terminal().print(Text(image))
        return
    with contextlib.closing(docker_client()) as client:
        manifest = image_manifest(client, image)
    sys.stdout.write(json.dumps({"image": image, **asdict(manifest)}, indent=2) + "\n")


class Streams:
    """This process's stdout and stderr: what the code wrote is passed on at once and unchanged, up to `OUTPUT`."""

    def __init__(self) -> None:
        self.cut = False
        self._left = {"stdout": OUTPUT, "stderr": OUTPUT - RESERVED}

    def write(self, name: Literal["stdout", "stderr"], text: str) -> None:
        data = text.encode("utf-8", "replace")
        if len(data) > self._left[name]:
            data, self._left[name] = data[: self._left[name]].decode("utf-8", "ignore").encode(), 0
            self.cut = True
        else:
            self._left[name] -= len(data)
        stream = sys.stdout if name == "stdout" else sys.stderr
        if stream is not None:  # else it was closed before we began
            stream.buffer.write(data)
            stream.buffer.flush()

    def note(self, text: str) -> None:
        """A message of fastslow itself, for which there is always room."""
        if sys.stderr is not None:
            sys.stderr.write(f"fastslow: {text}\n")


def execute(files: tuple[Path, ...], limits: Limits, network: Network) -> int:
    """Run the code on stdin; returns its exit status."""
    limits = replace(limits, output=OUTPUT)
    paths = checked_files(files, limits.upload)
    if sys.stdin is None:
        raise ConfigurationError("expected Python code on standard input, which is closed")
    try:
        code = sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"expected Python code in UTF-8 on standard input, got {error}") from error
    streams = Streams()
    sandbox = DockerSandbox(limits, network=network)
    execution = _use(sandbox, lambda sandbox: _execute(sandbox, code, paths, streams))
    if execution.error:
        streams.write("stderr", execution.error.rstrip("\n") + "\n")
    if execution.status == "timeout":
        streams.note(f"it was stopped after {limits.seconds:g} s; --timeout gives more")
    if execution.status == "died" and execution.exit_code == KILLED:
        had = f"{limits.memory >> 20} MiB"
        streams.note(f"it was killed, most often for want of memory: it had {had}, and --memory gives more")
    if execution.truncated or streams.cut:
        streams.note(f"output beyond {OUTPUT:,} bytes was cut")
    return execution.exit_code


async def _execute(sandbox: DockerSandbox, code: str, files: tuple[Path, ...], streams: Streams) -> Execution:
    session = await sandbox.session()
    for path in files:
        await session.put(path.name, path)
    try:
        return await session.run(code, on_output=streams.write)
    except ValueError as error:  # more code than can be run
        raise ConfigurationError(str(error)) from error


def prune() -> None:
    """Remove the containers that killed processes left behind."""
    removed = _use(DockerSandbox(), DockerSandbox.prune)
    terminal().print(Text(f"{removed} container{'' if removed == 1 else 's'} removed"))


def ls(*, as_json: bool) -> None:
    """Show the sandboxes that there are."""
    found = _use(DockerSandbox(), DockerSandbox.ls)
    if as_json:
        sys.stdout.write(json.dumps([asdict(one) for one in found], indent=2) + "\n")
        return
    table = Table("Name", "State", "Owner", "Status", "Image", "Daemon", box=None, header_style="bold")
    for one in found:
        state = "live" if one.alive else "orphan"
        row = (one.name, state, str(one.owner), one.status, one.image, one.daemon)
        table.add_row(*(Text(clean(cell)) for cell in row))
    terminal().print(table if found else Text("no sandboxes are there"))


def probe(*, as_json: bool) -> int:
    """Try from inside what code must not be able to do; returns 1 if something worked."""
    why = "what code must not be able to do is tried from inside"
    with Phases(terminal(stderr=True)).phase("Sandbox probe", why) as on_progress:
        on_progress("in a new sandbox", None)
        findings = _use(DockerSandbox(), _probe)
    held = sum(finding.held for finding in findings)
    if as_json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
    else:
        table = Table("", "Kind", "Check", "What came of it", box=None, header_style="bold")
        for finding in findings:
            mark = Text("HELD", "green") if finding.held else Text("OPEN", "bold red")
            table.add_row(mark, *(Text(one_line(cell)) for cell in (finding.kind, finding.name, finding.evidence)))
        terminal().print(table, Text(f"{held} of {len(findings)} held", "bold"))
    return int(held < len(findings))


async def _probe(sandbox: DockerSandbox) -> tuple[PostureCheck, ...]:
    return await probed(await sandbox.session())


def _use(sandbox: DockerSandbox, use: Callable[[DockerSandbox], Awaitable[T]]) -> T:
    """Use a sandbox and close it, also on a signal, which ends this process then."""

    async def using() -> T:
        try:
            return await use(sandbox)
        finally:
            await sandbox.aclose()

    return run_until_signal(using())
