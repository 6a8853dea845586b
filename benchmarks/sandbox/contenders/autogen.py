"""AutoGen's DockerCommandLineCodeExecutor: a file and a `docker exec` for each call, no variables kept."""

import math

from autogen_core import CancellationToken
from autogen_core.code_executor import CodeBlock
from autogen_ext.code_executors.docker import DockerCommandLineCodeExecutor


class Contender:
    async def start(self, image: str) -> None:
        self._executor = DockerCommandLineCodeExecutor(image=image)
        await self._executor.start()

    async def run(self, code: str, seconds: float) -> str:
        self._executor._timeout = math.ceil(seconds)  # the constructor's, which is for all calls
        result = await self._executor.execute_code_blocks([CodeBlock(code, "python")], CancellationToken())
        return result.output

    async def stop(self) -> None:
        await self._executor.stop()
