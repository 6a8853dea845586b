"""llm-sandbox without its set-up, which would make a virtual environment and update pip in 9 s. Keeps no variables."""

import asyncio

from llm_sandbox import SandboxSession


class Contender:
    async def start(self, image: str) -> None:
        self._session = SandboxSession(lang="python", image=image, skip_environment_setup=True)
        await asyncio.to_thread(self._session.open)

    async def run(self, code: str, seconds: float) -> str:
        return (await asyncio.to_thread(self._session.run, code, timeout=seconds)).stdout

    async def stop(self) -> None:
        await asyncio.to_thread(self._session.close)
