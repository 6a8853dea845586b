"""smolagents' DockerExecutor: a Jupyter kernel behind a gateway. No deadline: the caller can only stop waiting."""

import asyncio
import socket

from smolagents import AgentLogger, LogLevel
from smolagents.remote_executors import DockerExecutor

# As in its own Dockerfile; here the image is everybody's.
GATEWAY = ["python", "-m", "kernel_gateway", "--KernelGatewayApp.ip=0.0.0.0", "--KernelGatewayApp.port=8888"]


class Contender:
    async def start(self, image: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._executor = await asyncio.to_thread(
            DockerExecutor,
            [],
            AgentLogger(level=LogLevel.OFF),
            port=port,
            image_name=image,
            build_new_image=False,
            container_run_kwargs={"command": GATEWAY},
        )

    async def run(self, code: str, seconds: float) -> str:
        return (await asyncio.wait_for(asyncio.to_thread(self._executor, code), seconds)).logs

    async def stop(self) -> None:
        await asyncio.to_thread(self._executor.cleanup)
