"""Where generated code runs: hardened Docker containers with a persistent interpreter inside.

from sandbox import DockerSandbox

sandbox = DockerSandbox()
session = await sandbox.session()
execution = await session.run("1 + 1")      # execution.value == "2"
"""

from sandbox.docker import DockerSandbox
from sandbox.dummy import DummySandbox, OutOfScript
from sandbox.engine import EngineFacts, docker_client, engine_facts, ensure_engine
from sandbox.errors import CallFailed, EngineMissing, ImageMissing, SandboxError, SessionDied
from sandbox.image import build_command, build_image, image_exists, image_manifest, image_tag
from sandbox.owner import ContainerInfo
from sandbox.packages import InvalidImageRequest, Manifest, Package
from sandbox.probe import Finding, probe
from sandbox.sandbox import (
    Display,
    Egress,
    Execution,
    FileInfo,
    HostFunction,
    Limits,
    Network,
    OnCall,
    OnDisplay,
    OnEgress,
    OnOutput,
    Sandbox,
    Session,
    State,
    Status,
)
from sandbox.session import DockerSession
from sandbox.steps import ImageBuildFailed

__all__ = [
    "CallFailed",
    "ContainerInfo",
    "Display",
    "DockerSandbox",
    "DockerSession",
    "DummySandbox",
    "Egress",
    "EngineFacts",
    "EngineMissing",
    "Execution",
    "FileInfo",
    "Finding",
    "HostFunction",
    "ImageBuildFailed",
    "ImageMissing",
    "InvalidImageRequest",
    "Limits",
    "Manifest",
    "Network",
    "OnCall",
    "OnDisplay",
    "OnEgress",
    "OnOutput",
    "OutOfScript",
    "Package",
    "Sandbox",
    "SandboxError",
    "Session",
    "SessionDied",
    "State",
    "Status",
    "build_command",
    "build_image",
    "docker_client",
    "engine_facts",
    "ensure_engine",
    "image_exists",
    "image_manifest",
    "image_tag",
    "probe",
]
