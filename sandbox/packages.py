"""Python packages for an image: what was asked for, what it resolves to, and the wheels, fetched on the host by pip."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from fastslow.sandbox.base import Target
from fastslow.sandbox.errors import SandboxError
from fastslow.sandbox.install import OnProgress
from fastslow.sandbox.steps import ImageBuildFailed, run_step

REQUIREMENTS = Path(__file__).parent / "guest/requirements.txt"
PACKAGES = "root/opt/packages"
OLDEST_GLIBC = 5  # manylinux1, the first kind of wheel for Linux


class InvalidImageRequest(SandboxError, ValueError):
    """The name of a package or of a base is none."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package in an image. sha256: of the wheel that it came from."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is inside an image: no dates, so that the same content has the same manifest.

    base: the name of what the image stands on; layers: the digests of that image's content. requested: the extra
    packages as they were asked for; packages: all that the build put in, extra ones and dependencies included;
    commands: those of `base.COMMANDS` that are there.
    """

    base: str
    layers: tuple[str, ...]
    python: str
    requested: tuple[str, ...]
    packages: tuple[Package, ...]
    commands: tuple[str, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """ValueError when the text is no manifest."""
        try:
            values = json.loads(text)
            return cls(
                base=_string(values["base"]),
                layers=tuple(map(_string, values["layers"])),
                python=_string(values["python"]),
                requested=tuple(map(_string, values["requested"])),
                packages=tuple(
                    Package(*(_string(package[key]) for key in ("name", "version", "sha256")))
                    for package in values["packages"]
                ),
                commands=tuple(map(_string, values["commands"])),
            )
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(f"expected the manifest of a sandbox image, got {text[:80]!r}") from error


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a string, got {value!r}")
    return value


def requested(packages: Iterable[str]) -> tuple[str, ...]:
    """The names with their optional versions, spelt one way, sorted, each once.

    InvalidImageRequest for what is not a package index's name: options, URLs, paths, markers.
    """
    return tuple(sorted({_normalized(text) for text in packages}))


def _normalized(text: str) -> str:
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        said = str(error).splitlines()[0]
        raise InvalidImageRequest(f"expected a package as NAME or NAME==VERSION, got {text!r}: {said}") from error
    if requirement.url or requirement.marker:
        raise InvalidImageRequest(f"expected a package as NAME or NAME==VERSION, got {text!r}: no URLs, no markers")
    extras = f"[{','.join(sorted(map(canonicalize_name, requirement.extras)))}]" if requirement.extras else ""
    return f"{canonicalize_name(requirement.name)}{extras}{requirement.specifier}"


async def fetch_standard(target: Target, folder: Path, on_progress: OnProgress) -> tuple[Package, ...]:
    """Put the standard packages into `folder/PACKAGES`, checked against the hashes of requirements.txt."""
    return await _install(REQUIREMENTS, target, folder, on_progress)


async def fetch_extra(
    wanted: Sequence[str], present: Sequence[Package], target: Target, folder: Path, on_progress: OnProgress
) -> tuple[Package, ...]:
    """Put the packages and their dependencies into `folder/PACKAGES`, but for those that the image has already.

    What the image has decides the versions: a package that needs others is refused (ImageBuildFailed).
    """
    (folder / "wanted.txt").write_text("".join(f"{line}\n" for line in wanted))
    (folder / "present.txt").write_text("".join(f"{package.name}=={package.version}\n" for package in present))
    # Older pips, such as the one of Python 3.11, want a target with a platform even where nothing is installed.
    options = ["--dry-run", "--ignore-installed", f"--target={folder / 'nothing'}"]
    options += ["-c", str(folder / "present.txt"), "-r", str(folder / "wanted.txt")]
    try:
        resolved = await _pip(options, target, folder, on_progress)
    except ImageBuildFailed as error:
        raise ImageBuildFailed(
            f"{error}; they must have wheels for Python {target.python} on {target.machine} (building from source "
            "would run their code on this machine) and accept what the standard image has "
            "(`fastslow sandbox build --json` lists it)"
        ) from error
    names = {package.name for package in present}
    if not (missing := [package for package in resolved if package.name not in names]):
        return ()
    pins = folder / "pins.txt"
    pins.write_text("".join(f"{each.name}=={each.version} --hash=sha256:{each.sha256}\n" for each in missing))
    return await _install(pins, target, folder, on_progress)


async def _install(pins: Path, target: Target, folder: Path, on_progress: OnProgress) -> tuple[Package, ...]:
    into = folder / PACKAGES
    options = [f"--target={into}", "--no-deps", "--no-compile", "--require-hashes", "-r", str(pins)]
    packages = await _pip(options, target, folder, on_progress)
    await asyncio.to_thread(_trim, into)
    return packages


async def _pip(options: Sequence[str], target: Target, folder: Path, on_progress: OnProgress) -> tuple[Package, ...]:
    report = folder / "report.json"
    platforms = [f"manylinux_2_{minor}_{target.machine}" for minor in range(target.glibc, OLDEST_GLIBC - 1, -1)]
    command = [
        *(sys.executable, "-m", "pip", "install"),
        *("--only-binary=:all:", "--progress-bar=off", "--no-input", "--disable-pip-version-check"),
        *("--implementation=cp", f"--python-version={target.python}"),
        *(f"--platform={platform}" for platform in [*platforms, f"manylinux2014_{target.machine}"]),
        *options,
        f"--report={report}",
    ]
    await run_step("Python packages", command, on_progress)
    return tuple(sorted(map(_package, json.loads(report.read_text())["install"]), key=lambda package: package.name))


def _package(item: dict[str, Any]) -> Package:
    facts = item["metadata"]
    return Package(
        canonicalize_name(facts["name"]), facts["version"], item["download_info"]["archive_info"]["hashes"]["sha256"]
    )


def _trim(folder: Path) -> None:
    """Leave out what code does not need, and what depends on the host that fetched it."""
    for tests in [*folder.glob("*/tests"), *folder.glob("*/*/tests")]:
        shutil.rmtree(tests)
    for script in folder.glob("bin/*"):
        if script.read_bytes()[:2] == b"#!":  # it starts with the host's interpreter; the image makes its own
            script.unlink()
    for record in folder.glob("*.dist-info/RECORD"):
        lines = record.read_text("utf-8").splitlines(keepends=True)
        record.write_text("".join(line for line in lines if not line.startswith("../../bin/")), "utf-8")
