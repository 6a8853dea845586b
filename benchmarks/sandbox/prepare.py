"""The one image that all contenders run on. Made once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from io import BytesIO

from docker import DockerClient

from fastslow.sandbox import build_image, image_exists

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


async def image(client: DockerClient, on_progress: Callable[[str, float | None], None]) -> str:
    """Our sandbox's image with what the peers need inside, 0.8 GB. The same for all of them."""
    base = await build_image(on_progress, packages=INSIDE)
    dockerfile = DOCKERFILE.format(base=base)
    tag = f"fastslow-benchmarks:{hashlib.sha256(dockerfile.encode()).hexdigest()[:12]}"
    if not image_exists(client, tag):
        client.images.build(fileobj=BytesIO(dockerfile.encode()), tag=tag, network_mode="none", rm=True)
    return tag
