"""What a run needs, made where it is missing: Docker, its image, the engine, the weights, the server."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Sequence

import typer

from fastslow.agent.engine.profiles import Profile, find_profile
from fastslow.agent.errors import ModelUnavailable
from fastslow.agent.managed_server import ServerInfo, running_server
from fastslow.agent.serving.catalog import ModelEntry, accept_licence, default_model, find_model, may_use
from fastslow.agent.serving.fetch import fetch, weights_state
from fastslow.agent.serving.install import install_engine
from fastslow.agent.serving.machine import this_machine
from fastslow.agent.serving.start import start_server
from fastslow.agent.surfaces.cli.phases import Phases
from fastslow.sandbox import DockerMissing, build_image, docker_client, ensure_docker, image_tag


def prepare_sandbox(
    phases: Phases, *, packages: Sequence[str] = (), base: str | None = None, force: bool = False
) -> str:
    """Make sure that Docker answers and has the image, whose name is returned. force: build it anew."""
    image_tag(packages, base)  # refuses wrong names before anything is installed
    _offer_docker()
    with phases.phase("Docker", "generated code runs in containers only") as on_progress:
        version = asyncio.run(ensure_docker(on_progress))
        on_progress(f"version {version}", 1.0)
    with phases.phase("Sandbox image", "it holds Python and the data libraries that code uses") as on_progress:
        return asyncio.run(build_image(on_progress, packages=packages, base=base, force=force))


def _offer_docker() -> None:
    """Before Debian packages are installed a person is asked, where one sits at the terminal."""
    try:
        docker_client(timeout=10).close()
    except DockerMissing as missing:
        could = os.geteuid() == 0 and shutil.which("apt-get") and not os.environ.get("DOCKER_HOST")
        if not could or shutil.which("dockerd") or not sys.stdin.isatty():
            return
        question = "Docker is not installed. Install Debian's docker.io and iptables, and start it?"
        if not typer.confirm(question, default=True, err=True):
            raise DockerMissing(
                "no Docker daemon answers, and code runs nowhere else; install Docker and run this again"
            ) from missing


def prepare_server(
    phases: Phases, model: str | None, *, port: int | None = None, flags: Sequence[str] = ()
) -> ServerInfo:
    """Make sure that a managed server serves `model`; None takes what runs, else the best that fits here."""
    running = running_server()
    if running and model is None and port is None and not flags:
        return running
    entry = find_model(model) if model else chosen_model()
    confirm_licence(entry)
    with phases.phase("Engine", "vLLM lives in a Python environment of its own") as on_progress:
        install_engine(on_progress)
    with phases.phase("Model weights", f"{entry.served_name} is served from this machine") as on_progress:
        on_progress(str(fetch(entry, on_progress)), 1.0)
    with phases.phase("Model server", "vLLM loads the weights once and answers all runs") as on_progress:
        record = asyncio.run(start_server(entry, profile_of(entry), on_progress, port=port, extra_flags=flags))
        on_progress(f"{record.served_name} at {record.base_url}", 1.0)
    return record


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
    if not accepted and sys.stdin.isatty():
        question = f"{entry.served_name} is under {licence.name}, see {licence.url}\nDo you accept these terms?"
        accepted = typer.confirm(question, default=False, err=True)
    if not accepted:
        raise ModelUnavailable(
            f"{entry.served_name} is under {licence.name}: read {licence.url} and accept it once "
            f"(fastslow up --model {entry.id} --accept-licence)"
        )
    accept_licence(entry)
