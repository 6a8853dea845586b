"""What a run needs, made where it is missing: Docker, its image, the engine, the weights, the server."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Coroutine, Sequence
from typing import Any

import typer

from fastslow.agent.engine.profiles import Profile, find_profile
from fastslow.agent.errors import ModelUnavailable
from fastslow.agent.managed_server import ServerInfo, running_server
from fastslow.agent.serving.catalog import ModelEntry, accept_licence, default_model, find_model, may_use
from fastslow.agent.serving.fetch import fetch, weights_state
from fastslow.agent.serving.install import install_engine
from fastslow.agent.serving.machine import side_by_side, this_machine
from fastslow.agent.serving.start import start_server
from fastslow.agent.surfaces.cli.asking import can_confirm
from fastslow.agent.surfaces.cli.phases import Phases
from fastslow.agent.surfaces.cli.signals import run_until_signal
from fastslow.agent.surfaces.cli.text import one_line
from fastslow.sandbox import DockerMissing, build_image, docker_client, ensure_docker, image_tag


def prepare_run(
    phases: Phases,
    model: str | None,
    *,
    sandbox: bool = True,
    server: bool = True,
    packages: Sequence[str] = (),
    image: str | None = None,
) -> None:
    """Make sure of all that runs need, or of a half of it: what does not need each other is made side by side.

    packages: of Python, that the sandbox's image has besides. image: another one, which the user has made.

    Questions (Docker, a licence) are asked before anything begins. The first failure ends the rest.
    """
    run_until_signal(prepare(phases, model, sandbox=sandbox, server=server, packages=packages, image=image))


async def prepare(
    phases: Phases,
    model: str | None,
    *,
    sandbox: bool,
    server: bool,
    packages: Sequence[str] = (),
    image: str | None = None,
) -> None:
    """`prepare_run` for whoever is in an event loop, and handles signals, already."""
    if sandbox:
        _offer_docker()
    served = _to_serve(model) if server else None
    works: list[Coroutine[Any, Any, Any]] = []
    if sandbox:
        works.append(_docker(phases) if image else _sandbox(phases, packages))
    if isinstance(served, ModelEntry):
        works.append(_server(phases, served))
    await side_by_side(*works)


def prepare_sandbox(
    phases: Phases, *, packages: Sequence[str] = (), base: str | None = None, force: bool = False
) -> str:
    """Make sure that Docker answers and has the image, whose name is returned. force: build it anew."""
    image_tag(packages, base)  # refuses wrong names before anything is installed
    _offer_docker()
    return run_until_signal(_sandbox(phases, packages, base, force=force))


def prepare_server(
    phases: Phases, model: str | None, *, port: int | None = None, flags: Sequence[str] = ()
) -> ServerInfo:
    """Make sure that a managed server serves `model`; None takes what runs, else the best that fits here."""
    served = _to_serve(model, anew=port is not None or bool(flags))
    return served if isinstance(served, ServerInfo) else run_until_signal(_server(phases, served, port, flags))


def _to_serve(model: str | None, *, anew: bool = False) -> ModelEntry | ServerInfo:
    """The server that runs, where that is good enough; else the model to serve, its licence accepted."""
    if model is None and not anew and (running := running_server()):
        return running
    entry = find_model(model) if model else chosen_model()
    confirm_licence(entry)
    return entry


async def _sandbox(
    phases: Phases, packages: Sequence[str] = (), base: str | None = None, *, force: bool = False
) -> str:
    await _docker(phases)
    with phases.phase("Sandbox image", "Python and the libraries that code uses") as on_progress:
        image = await build_image(on_progress, packages=packages, base=base, force=force)
        on_progress(image, 1.0)
    return image


async def _docker(phases: Phases) -> None:
    with phases.phase("Docker", "generated code runs in containers only") as on_progress:
        version = await ensure_docker(on_progress)
        on_progress(f"version {version}", 1.0)


async def _server(phases: Phases, entry: ModelEntry, port: int | None = None, flags: Sequence[str] = ()) -> ServerInfo:
    usable = asyncio.Event()  # the engine's Python, which converts the weights
    await side_by_side(_engine(phases, usable), _weights(phases, entry, usable))
    with phases.phase("Model server", "it loads the weights once, for all runs") as on_progress:
        server = await start_server(entry, profile_of(entry), on_progress, port=port, extra_flags=flags)
        on_progress(f"{server.served_name} at {server.base_url}", 1.0)
    return server


async def _engine(phases: Phases, usable: asyncio.Event) -> None:
    with phases.phase("Engine", "it is vLLM, in an environment of its own") as on_progress:
        await install_engine(on_progress, usable)


async def _weights(phases: Phases, entry: ModelEntry, usable: asyncio.Event) -> None:
    with phases.phase("Model weights", "vLLM serves them from this machine") as on_progress:
        on_progress(str(await fetch(entry, on_progress, engine=usable)), 1.0)


def _offer_docker() -> None:
    """DockerMissing where no Docker daemon answers and none can be started: before anything begins.

    Before Debian packages are installed a person is asked, where one sits at the terminal.
    """
    try:
        docker_client(timeout=10).close()
    except DockerMissing as missing:
        installed, debian = shutil.which("dockerd"), shutil.which("apt-get")
        if os.geteuid() != 0 or os.environ.get("DOCKER_HOST") or not (installed or debian):
            raise
        if installed or not can_confirm():
            return
        question = "Docker is not installed. Install Debian's docker.io and iptables, and start it?"
        if not typer.confirm(question, default=True, err=True):
            raise DockerMissing(
                "no Docker daemon answers, and code runs nowhere else; install Docker and run this again"
            ) from missing


def chosen_model() -> ModelEntry:
    """The model that is served when none is named."""
    return default_model(this_machine(), lambda entry: weights_state(entry) == "present")


def profile_of(entry: ModelEntry) -> Profile:
    return find_profile(entry.family or entry.served_name)


def confirm_licence(entry: ModelEntry, *, accepted: bool = False) -> None:
    """Ask once for a licence that is not open; ModelUnavailable if nobody says yes."""
    if may_use(entry):
        return
    licence = entry.licence
    if not accepted and can_confirm():
        about = one_line(f"{entry.served_name} is under {licence.name}, see {licence.url}")
        question = f"{about}\nDo you accept these terms?"
        accepted = typer.confirm(question, default=False, err=True)
    if not accepted:
        raise ModelUnavailable(
            f"{entry.served_name} is under {licence.name}: read {licence.url} and accept it once "
            f"(fastslow up --model {entry.id} --accept-licence)"
        )
    accept_licence(entry)
