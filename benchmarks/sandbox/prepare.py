"""What the contenders need: a virtual environment each, and one image for all. Made once, kept in the user's cache."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

from docker import DockerClient
from platformdirs import user_cache_path

from benchmarks.sandbox.contender import Peer
from sandbox import build_image, image_exists

# What smolagents and SWE-ReX start inside the container.
INSIDE = ("ipykernel", "jupyter_kernel_gateway==3.0.1", "swe-rex==1.4.0")

# Root, a shell and a writable disk, as in the images that the peers name; our own containers override all of it.
DOCKERFILE = r"""
FROM {base}
USER 0:0
RUN ln -s "$(command -v python3)" /usr/local/bin/python \
 && printf '#!/bin/sh\nexec python3 -m swerex.server "$@"\n' > /usr/local/bin/swerex-remote \
 && chmod 755 /usr/local/bin/swerex-remote
WORKDIR /
CMD ["bash"]
"""


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One run at a time: two would disturb each other's numbers, and take each other's containers for their own."""
    with (user_cache_path("fastslow", ensure_exists=True) / "benchmarks.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SystemExit("another run of this benchmark goes on; wait for its end") from error
        yield


def environment(peer: Peer) -> str:
    """The Python of the peer's own environment, which is made if need be (20 s, 50 to 300 MB)."""
    digest = hashlib.sha256(f"{sys.version} {peer.requirements}".encode()).hexdigest()[:8]
    folder = user_cache_path("fastslow") / "benchmarks" / f"{peer.file}-{digest}"
    python, complete = folder / "bin/python", folder / "complete"
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.requirements])
        complete.touch()
    return str(python)


def _run(command: list[str]) -> None:
    done = subprocess.run(["nice", "-n", "10", *command], capture_output=True, text=True, check=False)
    if done.returncode:
        shown = " ".join([Path(command[0]).name, *command[1:]])
        raise SystemExit(f"`{shown}` ended with {done.returncode}: {done.stderr[-1000:]}")


async def image(client: DockerClient, on_progress: Callable[[str, float | None], None]) -> str:
    """Our sandbox's image with what the peers need inside, 0.8 GB. The same for all of them."""
    base = await build_image(on_progress, packages=INSIDE)
    dockerfile = DOCKERFILE.format(base=base)
    tag = f"fastslow-benchmarks:{hashlib.sha256(dockerfile.encode()).hexdigest()[:12]}"
    if not image_exists(client, tag):
        client.images.build(fileobj=BytesIO(dockerfile.encode()), tag=tag, network_mode="none", rm=True)
    return tag
