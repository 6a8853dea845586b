"""`fastslow sandbox build | exec | ls | prune | probe`."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal, TypeVar

from rich.table import Table
from rich.text import Text

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.surfaces.cli.phases import Phases
from fastslow.agent.surfaces.cli.prepare import prepare_sandbox
from fastslow.agent.surfaces.cli.signals import run_until_signal
from fastslow.agent.surfaces.cli.text import clean, one_line, terminal
from fastslow.agent.workspace import checked
from fastslow.sandbox import DockerSandbox, Execution, Finding, Limits, Network, docker_client, image_manifest
from fastslow.sandbox import probe as probed

T = TypeVar("T")

OUTPUT = 20_000_000  # bytes of each stream that pass through
OURS = 1000  # of those on stderr, kept for our own words
KILLED = 137  # 128 + SIGKILL, as a shell says it


def build(packages: Sequence[str], base: str | None, *, force: bool, as_json: bool) -> None:
    """Make Docker and the image ready; prints its name, or what is inside."""
    image = prepare_sandbox(Phases(terminal(stderr=True)), packages=packages, base=base, force=force)
    if not as_json:
        terminal().print(Text(image))
        return
    with contextlib.closing(docker_client()) as client:
        manifest = image_manifest(client, image)
    sys.stdout.write(json.dumps({"image": image, **asdict(manifest)}, indent=2) + "\n")


class Streams:
    """Our own stdout and stderr: what the code wrote is passed on at once and unchanged, up to a number of bytes."""

    def __init__(self) -> None:
        self.cut = False
        self._left = {"stdout": OUTPUT, "stderr": OUTPUT - OURS}

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

    def say(self, text: str) -> None:
        """A word of our own, for which there is always room."""
        if sys.stderr is not None:
            sys.stderr.write(f"fastslow: {text}\n")


def execute(files: tuple[Path, ...], timeout: float, network: Network) -> int:
    """Run the code on stdin; returns its exit status."""
    limits = Limits(seconds=timeout, output=OUTPUT)
    paths = checked(files, limits.upload)
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
        streams.say("allow more time with --timeout")
    if execution.status == "died" and execution.exit_code == KILLED:
        streams.say(f"it died, most often of too little memory ({limits.memory >> 20} MiB)")
    if execution.truncated or streams.cut:
        streams.say(f"output beyond {OUTPUT:,} bytes was cut")
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
    """Remove what killed processes left."""
    removed = _use(DockerSandbox(), DockerSandbox.prune)
    terminal().print(Text(f"{removed} containers removed"))


def ls(*, as_json: bool) -> None:
    """Show the sandboxes that there are."""
    found = _use(DockerSandbox(), DockerSandbox.ls)
    if as_json:
        terminal().print_json(json.dumps([asdict(one) for one in found]))
        return
    table = Table("Name", "State", "Owner", "Status", "Image", "Engine", box=None, header_style="bold")
    for one in found:
        state = "live" if one.alive else "orphan"
        row = (one.name, state, str(one.owner), one.status, one.image, one.engine)
        table.add_row(*(Text(clean(cell)) for cell in row))
    terminal().print(table if found else Text("no sandboxes"))


def probe(*, as_json: bool) -> int:
    """Try from inside what must not work; returns 1 if something did."""
    with Phases(terminal(stderr=True)).phase("Probing", "what code may not do is tried from inside") as on_progress:
        on_progress("in a sandbox of its own", None)
        findings = _use(DockerSandbox(), _probe)
    held = sum(finding.held for finding in findings)
    if as_json:
        terminal().print_json(json.dumps([asdict(finding) for finding in findings]))
    else:
        table = Table("", "Kind", "Check", "What came of it", box=None, header_style="bold")
        for finding in findings:
            mark = Text("HELD", "green") if finding.held else Text("OPEN", "bold red")
            table.add_row(mark, *(Text(one_line(cell)) for cell in (finding.kind, finding.name, finding.evidence)))
        terminal().print(table, Text(f"{held} of {len(findings)} held", "bold"))
    return int(held < len(findings))


async def _probe(sandbox: DockerSandbox) -> tuple[Finding, ...]:
    return await probed(await sandbox.session())


def _use(sandbox: DockerSandbox, use: Callable[[DockerSandbox], Awaitable[T]]) -> T:
    """Use a sandbox and give everything back, on a signal too."""

    async def using() -> T:
        try:
            return await use(sandbox)
        finally:
            await sandbox.aclose()

    return run_until_signal(using())
