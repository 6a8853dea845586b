"""Where generated code runs: hardened Docker containers with a persistent interpreter inside.

from sandbox import DockerSandbox

sandbox = DockerSandbox()
session = await sandbox.session()
execution = await session.run("1 + 1")      # execution.value == "2"
"""

from sandbox.docker import DockerSandbox
from sandbox.dummy import DummySandbox, OutOfScript
from sandbox.engine import EngineFacts, docker_client, engine_facts, ensure_engine
from sandbox.errors import EngineMissing, ImageMissing, SandboxError, SessionDied
from sandbox.image import ImageBuildFailed, build_image, image_exists, image_tag
from sandbox.sandbox import Execution, FileInfo, Limits, OnOutput, Sandbox, Session, Status
from sandbox.session import DockerSession

__all__ = [
    "DockerSandbox",
    "DockerSession",
    "DummySandbox",
    "EngineFacts",
    "EngineMissing",
    "Execution",
    "FileInfo",
    "ImageBuildFailed",
    "ImageMissing",
    "Limits",
    "OnOutput",
    "OutOfScript",
    "Sandbox",
    "SandboxError",
    "Session",
    "SessionDied",
    "Status",
    "build_image",
    "docker_client",
    "engine_facts",
    "ensure_engine",
    "image_exists",
    "image_tag",
]
