"""`fastslow sandbox build | exec | prune`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Literal

from rich.text import Text

from agent.cli.phases import Phases
from agent.cli.prepare import prepare_sandbox
from agent.cli.text import terminal
from agent.errors import ConfigurationError
from agent.workspace import checked
from sandbox import DockerSandbox, Execution, Limits

OUTPUT = 400_000  # characters of each stream that pass through; the guest sends the rest of one in a single frame


def build(*, force: bool) -> None:
    """Make Docker and the image ready."""
    image = prepare_sandbox(Phases(terminal(stderr=True)), force=force)
    terminal().print(Text(image))


def execute(files: tuple[Path, ...], timeout: float) -> int:
    """Run the code on stdin; returns its exit status."""
    limits = Limits(seconds=timeout, output=OUTPUT)
    paths = checked(files, limits.upload)
    try:
        code = sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"expected Python code in UTF-8 on standard input, got {error}") from error
    execution = asyncio.run(_execute(code, paths, limits))
    if execution.error:
        _pass("stderr", execution.error.rstrip("\n") + "\n")
    if execution.status == "timeout":
        _pass("stderr", "fastslow: allow more time with --timeout\n")
    if execution.status == "died":
        _pass("stderr", f"fastslow: it died, most often of too little memory ({limits.memory >> 20} MiB)\n")
    if execution.truncated:
        _pass("stderr", f"fastslow: output beyond {OUTPUT:,} characters was cut\n")
    return execution.exit_code


async def _execute(code: str, files: tuple[Path, ...], limits: Limits) -> Execution:
    sandbox = DockerSandbox(limits)
    try:
        session = await sandbox.session()
        for path in files:
            await session.put(path.name, path)
        return await session.run(code, on_output=_pass)
    finally:
        await sandbox.aclose()


def _pass(name: Literal["stdout", "stderr"], text: str) -> None:
    """To our own stream at once, as UTF-8: what the code wrote is passed on unchanged."""
    stream = sys.stdout.buffer if name == "stdout" else sys.stderr.buffer
    stream.write(text.encode("utf-8", "replace"))
    stream.flush()


def prune() -> None:
    """Remove what killed processes left."""
    removed = asyncio.run(_prune())
    terminal().print(Text(f"{removed} containers removed"))


async def _prune() -> int:
    sandbox = DockerSandbox()
    try:
        return await sandbox.prune()
    finally:
        await sandbox.aclose()
