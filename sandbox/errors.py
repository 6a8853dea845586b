"""Everything that this room raises.

SandboxError
├── DockerMissing       (ConnectionError) no Docker daemon answers
├── ImageMissing        (LookupError) the sandbox image is not built
├── SessionDied         (ConnectionError) the container or its guest went away for good
└── CallFailed          (RuntimeError) raised by an `on_call` handler: what the code is told
"""

from __future__ import annotations


class SandboxError(Exception):
    """The sandbox itself failed (never: the code inside failed). The message says what to do."""


class DockerMissing(SandboxError, ConnectionError):
    """No Docker daemon answers."""


class ImageMissing(SandboxError, LookupError):
    """The sandbox's image is not there."""


class SessionDied(SandboxError, ConnectionError):
    """The container ended, or its guest spoke nonsense and was cut off."""


class CallFailed(SandboxError, RuntimeError):
    """A host function that code called could not be carried out; code sees the message as an exception."""
