"""The distribution as its users get it: one import name, typed, and deaf to what lies beside their script."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import fastslow

ROOT = Path(__file__).parent.parent
PROMISED = """RunOptions Agent Budget VLLM
Mode ModePolicy ModeRule Kind Plan Result run_many tool Tool Toolbox DockerSandbox
Limits Network ScriptedModel ReplayModel DummySandbox RunStarted TurnStarted TurnDelta TurnFinished PlanMade StepStarted
StepFinished CallStarted CallOutput CallFinished Notice RunFinished"""
SCRIPT = """
import agent, tools, sandbox
from fastslow import Agent, ScriptedModel
from fastslow.agent.engine.recover import recover_calls
from fastslow.agent.engine.types import Reply
from fastslow.tools.arguments import parse_arguments

assert (agent.MINE, tools.MINE, sandbox.MINE) == (1, 2, 3)
done = Agent(engine=ScriptedModel([Reply("4")]), sandbox=None, journal=None).run_sync("2 + 2?")
print(done.answer)
"""


def test_what_is_promised_can_be_imported_from_the_one_name() -> None:
    missing = [name for name in PROMISED.split() if name not in fastslow.__all__]
    assert not missing
    assert all(hasattr(fastslow, name) for name in fastslow.__all__)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that was built from the source distribution, as an index would serve it."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*build, "--sdist", str(ROOT)], check=True, capture_output=True)
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        source.extractall(folder / "source", filter="data")
    [source_tree] = (folder / "source").iterdir()
    subprocess.run([*build, "--wheel", str(source_tree)], check=True, capture_output=True)
    [made] = folder.glob("*.whl")
    return made


def test_a_wheel_puts_one_name_into_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(place), str(wheel)]
    subprocess.run(command, check=True, capture_output=True)
    names = {path.name for path in place.iterdir()}
    assert {name for name in names if not name.endswith(".dist-info") and name != "bin"} == {"fastslow"}
    for file in ("py.typed", "agent/engine/profiles/instruct.jinja", "agent/serving/plugin/fastslow_int8.py"):
        assert (place / "fastslow" / file).is_file(), file
    assert (place / "fastslow/sandbox/guest/checks/posture.py").is_file()


@pytest.mark.parametrize("installed", ["wheel", "editable"])
def test_a_script_beside_tools_of_its_own_works(installed: str, wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "__init__.py").write_text("MINE = 2")
    (tmp_path / "agent.py").write_text("MINE = 1")
    (tmp_path / "sandbox.py").write_text("MINE = 3")
    (tmp_path / "mine.py").write_text(SCRIPT)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    if installed == "wheel":
        place = tmp_path / "site"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(place), str(wheel)]
        subprocess.run(command, check=True, capture_output=True)
        environment["PYTHONPATH"] = str(place)
    done = subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == "4\n", done.stderr
