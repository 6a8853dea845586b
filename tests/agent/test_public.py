"""The public names, which are imported when the first of them is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import fastslow
from fastslow.agent import public

ROOT = Path(__file__).parents[2]


def test_each_is_there_and_no_other() -> None:
    assert dir(fastslow) == sorted(public.__all__)
    assert all(getattr(fastslow, name) is getattr(public, name) for name in public.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(fastslow, "nothing")  # noqa: B009 - a type checker knows that it is not there
    names: dict[str, object] = {}
    exec("from fastslow import *", names)
    assert set(public.__all__) <= names.keys()


def test_the_package_alone_imports_none_of_them() -> None:
    program = "import sys, fastslow, fastslow.agent; print([name for name in sys.modules if 'fastslow' in name])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['fastslow', 'fastslow.agent']"
