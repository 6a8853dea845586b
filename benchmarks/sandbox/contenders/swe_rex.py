"""SWE-ReX's Docker deployment and its `execute`: a process for each call, started by a server inside. No variables."""

from swerex.deployment.docker import DockerDeployment
from swerex.runtime.abstract import Command


class Contender:
    async def start(self, image: str) -> None:
        self._deployment = DockerDeployment(image=image, pull="never")
        await self._deployment.start()

    async def run(self, code: str, seconds: float) -> str:
        command = Command(command=["python", "-c", code], timeout=seconds)
        return (await self._deployment.runtime.execute(command)).stdout

    async def stop(self) -> None:
        await self._deployment.stop()
