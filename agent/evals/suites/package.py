"""The package `bfcl-eval` (Apache-2.0, https://gorilla.cs.berkeley.edu/leaderboard.html): tasks, worlds and checkers.

It is fetched without what it depends on, which is a client of each vendor, and runs in processes of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.folders import data_folder
from fastslow.agent.serving.machine import try_lock

PACKAGE = "bfcl-eval==2026.3.23"
NEEDED = {"bfcl_eval": PACKAGE, "mpmath": "mpmath==1.3.0"}  # by folder; one of the worlds computes with it
PROGRAM = Path(__file__).with_name("bfcl_checker.py")
SECONDS = 60.0  # for a question to it
_TYPES = {"dict": "object", "float": "number", "tuple": "array"}


def package() -> Path:
    """The folder that holds the package, fetched once. Raises ConfigurationError with pip's last words."""
    folder = data_folder() / "evals" / PACKAGE
    while (lock := try_lock("bfcl")) is None:
        time.sleep(0.5)
    with lock:
        if missing := [name for module, name in NEEDED.items() if not (folder / module).exists()]:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            ran = subprocess.run([*pip, "--target", str(folder), *missing], capture_output=True, text=True)
            if ran.returncode:
                raise ConfigurationError(f"{' '.join(missing)} could not be fetched: {ran.stderr.strip()[-300:]}")
    return folder


def lines(name: str) -> list[dict[str, Any]]:
    """A file of its data: JSON, one a line."""
    text = (package() / "bfcl_eval" / "data" / name).read_text("utf-8")
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def ask(question: dict[str, Any]) -> Any:
    """What its own code says; see `bfcl_checker.py`. Raises ConfigurationError where that does not run."""
    command = [sys.executable, "-I", str(PROGRAM), str(package())]
    ran = subprocess.run(command, input=json.dumps(question), capture_output=True, text=True, timeout=SECONDS)
    if ran.returncode:
        raise ConfigurationError(f"the code of {PACKAGE} failed: {ran.stderr.strip()[-300:]}")
    return json.loads(ran.stdout)


def schema_of(told: Any) -> Any:
    """A description of the leaderboard as JSON schema: some types have other names, and `any` is none.

    >>> schema_of({"type": "dict", "properties": {"x": {"type": "float"}}})
    {'type': 'object', 'properties': {'x': {'type': 'number'}}}
    """
    if not isinstance(told, dict):
        return told
    schema = {key: schema_of(value) for key, value in told.items() if key not in {"default", "format", "optional"}}
    if isinstance(told.get("properties"), dict):
        schema["properties"] = {name: schema_of(each) for name, each in told["properties"].items()}
    kind = told.get("type")
    if kind == "any":
        del schema["type"]
    elif isinstance(kind, str):
        schema["type"] = _TYPES.get(kind, kind)
    return schema
