"""Where generated code runs: hardened Docker containers with a persistent interpreter inside.

from fastslow.sandbox import DockerSandbox

sandbox = DockerSandbox()
session = await sandbox.session()
execution = await session.run("1 + 1")      # execution.value == "2"
"""

from fastslow.sandbox.daemon import DockerFacts, docker_client, docker_facts
from fastslow.sandbox.docker import DockerSandbox
from fastslow.sandbox.dummy import DummySandbox, OutOfScript
from fastslow.sandbox.errors import CallFailed, DockerMissing, ImageMissing, SandboxError, SessionDied
from fastslow.sandbox.image import build_command, build_image, image_exists, image_manifest, image_tag
from fastslow.sandbox.install import ensure_docker
from fastslow.sandbox.owner import ContainerInfo
from fastslow.sandbox.packages import InvalidImageRequest, Manifest, Package
from fastslow.sandbox.probe import PostureCheck, probe
from fastslow.sandbox.sandbox import (
    Changes,
    Display,
    Egress,
    Execution,
    FileInfo,
    HostFunction,
    Installed,
    LeftOut,
    Limits,
    Mode,
    Network,
    OnCall,
    OnDisplay,
    OnEgress,
    OnOutput,
    Sandbox,
    Session,
    State,
    Status,
    TreeFile,
)
from fastslow.sandbox.session import DockerSession
from fastslow.sandbox.steps import ImageBuildFailed

__all__ = [
    "CallFailed",
    "Changes",
    "ContainerInfo",
    "Display",
    "DockerFacts",
    "DockerMissing",
    "DockerSandbox",
    "DockerSession",
    "DummySandbox",
    "Egress",
    "Execution",
    "FileInfo",
    "HostFunction",
    "ImageBuildFailed",
    "ImageMissing",
    "Installed",
    "InvalidImageRequest",
    "LeftOut",
    "Limits",
    "Manifest",
    "Mode",
    "Network",
    "OnCall",
    "OnDisplay",
    "OnEgress",
    "OnOutput",
    "OutOfScript",
    "Package",
    "PostureCheck",
    "Sandbox",
    "SandboxError",
    "Session",
    "SessionDied",
    "State",
    "Status",
    "TreeFile",
    "build_command",
    "build_image",
    "docker_client",
    "docker_facts",
    "ensure_docker",
    "image_exists",
    "image_manifest",
    "image_tag",
    "probe",
]
