"""Renews the engine's lock: `python -m fastslow.agent.serving.lock`, where versions in it were changed or added.

A line without hashes gets those of the wheels that pip would install on Linux, for each Python that vLLM is built for,
as the index names them; nothing is downloaded but their metadata. A line that has hashes keeps them, so what was
trusted once is never replaced in silence: to ask anew for a package, take its hashes away.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK_FILE = Path(__file__).with_name("constraints-cpu.txt")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MACHINE = "x86_64"  # the only one that all of the listed packages have wheels for
GLIBC = 31  # of 2.31, the oldest that all have wheels for; a wheel for a newer one would not install on an older
PLATFORMS = (*(f"manylinux_2_{minor}_{MACHINE}" for minor in range(GLIBC, 4, -1)), f"manylinux2014_{MACHINE}")


def requirements(lock: str) -> list[str]:
    """The requirements of a lock, each with its marker and hashes on one line."""
    return [line for line in lock.replace("\\\n", "").splitlines() if "==" in line and not line.startswith("#")]


def renewed(lock: str) -> str:
    """The lock with hashes in each line. Raises CalledProcessError with pip's words on stderr."""
    comments = [line for line in lock.splitlines() if line.startswith("#")]
    parts = [line.partition(" --hash=") for line in requirements(lock)]
    known = {pin.strip(): set((mark + rest).split()) for pin, mark, rest in parts}
    missing = [pin for pin, hashes in known.items() if not hashes]
    # pip judges markers by the Python that it runs on, not by the one that it is asked about.
    found = _hashes([pin.partition(";")[0].strip() for pin in missing]) if missing else {}
    for pin in missing:
        known[pin] = {f"--hash=sha256:{digest}" for digest in found[canonicalize_name(Requirement(pin).name)]}
    entries = [" \\\n    ".join([pin, *sorted(hashes)]) for pin, hashes in known.items()]
    return "\n".join([*comments, *entries, ""])


def _hashes(pins: Sequence[str]) -> dict[str, set[str]]:
    """The digests of the wheels of each package, by its name."""
    found: dict[str, set[str]] = {}
    for python in PYTHONS:
        for item in _report(pins, python):
            name = canonicalize_name(item["metadata"]["name"])
            found.setdefault(name, set()).add(item["download_info"]["archive_info"]["hashes"]["sha256"])
    return found


def _report(pins: Sequence[str], python: str) -> list[dict[str, Any]]:
    """What pip would install for a Python."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"]
        command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
        command += [f"--platform={platform}" for platform in PLATFORMS]
        subprocess.run([*command, f"--target={folder}/none", f"--report={report}", *pins], check=True)
        items: list[dict[str, Any]] = json.loads(report.read_text("utf-8"))["install"]
        return items


if __name__ == "__main__":
    LOCK_FILE.write_text(renewed(LOCK_FILE.read_text("utf-8")), "utf-8")
