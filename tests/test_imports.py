"""The house's import rules, as `pyproject.toml` writes them down."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_rooms_import_one_way() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_surface_is_the_only_thing_that_draws() -> None:
    """rich and typer belong to the command line: a library that prints is no library."""
    for path in [*ROOT.glob("agent/**/*.py"), *ROOT.glob("tools/**/*.py"), *ROOT.glob("sandbox/**/*.py")]:
        if "cli" not in path.parts:
            text = path.read_text("utf-8")
            assert "import rich" not in text, path
            assert "from rich" not in text, path
            assert "import typer" not in text, path
