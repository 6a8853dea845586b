"""Ours, with every protection on."""

from fastslow.sandbox import DockerSandbox, Limits


class Contender:
    async def start(self, image: str) -> None:
        self._sandbox = DockerSandbox(Limits(output=20 << 20), image=image)
        self._session = await self._sandbox.session()

    async def run(self, code: str, seconds: float) -> str:
        return (await self._session.run(code, seconds=seconds)).stdout

    async def stop(self) -> None:
        await self._sandbox.aclose()
