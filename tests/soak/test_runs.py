"""A run whose Docker daemon is restarted under it."""

import asyncio
import signal
import time
from pathlib import Path

import pytest

from fastslow import Agent, Exit, Journal, ScriptedModel
from fastslow.agent.events import CallFinished, CallOutput
from fastslow.sandbox import DockerSandbox
from tests.agent.helpers import calls, says
from tests.soak.conftest import Daemon

pytestmark = [
    pytest.mark.docker,
    # docker-py forgets its socket when a daemon refuses the connection; it is found wherever rubbish is collected
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_run_goes_on_when_its_daemon_is_restarted(daemon: Daemon, tmp_path: Path, how: signal.Signals) -> None:
    script = [
        calls(("python", {"code": "x = 41; open('made.txt', 'w').write('kept')"})),
        calls(("python", {"code": "print('now', flush=True); import time; time.sleep(20)"})),
        calls(("python", {"code": "x + 1, open('made.txt').read()"})),
        says("done"),
    ]
    sandbox = DockerSandbox(host=daemon.host)
    agent = Agent(engine=ScriptedModel(script), sandbox=sandbox, journal=Journal(tmp_path / "runs.db"), out=tmp_path)
    restarted: list[asyncio.Task[None]] = []

    def restart() -> None:
        daemon.stop(how)
        time.sleep(2)
        daemon.start()

    try:
        async for event in agent.stream("the task"):
            if isinstance(event, CallOutput) and not restarted:
                restarted.append(asyncio.create_task(asyncio.to_thread(restart)))
        await restarted[0]
        result = event.result  # type: ignore[union-attr]
        assert (result.exit, result.answer) == (Exit.ANSWERED, "done"), result.reason
        contents = [event.content for event in result.events if isinstance(event, CallFinished)]
        assert contents[2] == "(42, 'kept')", contents
    finally:
        await agent.aclose()
    assert not daemon.containers()
