"""`--ray ADDRESS`: the rows of a map carried out by actors on the machines of a Ray cluster. Needs `fastslow[ray]`.

An actor a machine, or as many as a machine declares of the resource `sandbox`. An actor is a worker as a process of
`--workers` is; the journal of its runs is the one of its machine. Keys of servers are never sent: they stand in the
environment of each machine, as Ray shows its users all that is sent.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any, Self

from fastslow.agent.errors import AgentError, ConfigurationError, WorkersFailed
from fastslow.agent.flow.crew import Do, opened
from fastslow.agent.flow.elsewhere import LEAVING, Elsewhere, WorkerDied
from fastslow.agent.flow.row import Row
from fastslow.agent.flow.spec import MapSpec
from fastslow.agent.flow.words import Asked, Failure, Said, asked_line, read_asked, read_said, said_line
from fastslow.agent.flow.worker import said_of
from fastslow.agent.quoting import visible
from fastslow.agent.record.jobs import StepResult
from fastslow.sandbox import SandboxError

LOCAL = "local"  # the address of a cluster of ours
SANDBOX = "sandbox"  # the resource of machines that may have actors; where none declares it, all may
OBJECTS = (
    80_000_000  # bytes of the object store of a cluster of ours, which holds nothing: a little more than the least
)
REACHED = 10.0  # seconds for a connection to a cluster
LONGEST = 600  # characters of what Ray says of an error


class OnRay:
    """A crew of actors. address: of a cluster (`auto`, `HOST:PORT`, `ray://HOST:PORT`); `local` starts one on this
    machine that ends with the crew. The actors share `spec.at_once`.

    Raises ConfigurationError where Ray is missing or the cluster cannot be used.
    """

    def __init__(self, spec: MapSpec, address: str) -> None:
        self.spec = spec
        self.address = address
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        ray = _imported(self.address)
        try:
            await _reach(self.address)
            await asyncio.to_thread(self._connect, ray)
            places = _places(await asyncio.to_thread(ray.nodes))[: self.spec.at_once]
            if not places:
                raise WorkersFailed("the Ray cluster has no machine that lives; see `ray status`")
            each = replace(self.spec, at_once=-(-self.spec.at_once // len(places)))
            starts = [partial(Actor.start, ray, each, node) for node in places]
            self._crew = await self._stack.enter_async_context(Elsewhere(starts, self.spec.at_once))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def carry_out(self, rows: Iterable[Row]) -> AsyncGenerator[StepResult, None]:
        return self._crew.carry_out(rows)

    def _connect(self, ray: Any) -> None:
        """Blocks. In a thread, so that Ray leaves the signals of this process alone, too."""
        ray._private.worker.print_to_stdstream = _print_apart
        cluster: dict[str, Any] = {"address": self.address}
        if self.address == LOCAL:
            temporary = tempfile.TemporaryDirectory(prefix="fastslow-ray-", ignore_cleanup_errors=True)
            cores = os.cpu_count() or 1
            cluster = {
                "address": LOCAL,
                "num_cpus": cores,
                "resources": {SANDBOX: cores},
                "include_dashboard": False,
                "object_store_memory": OBJECTS,
                "_temp_dir": self._stack.enter_context(temporary),
            }
        self._stack.callback(ray.shutdown)
        try:
            ray.init(**cluster, log_to_driver=False, logging_level="error")
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise _unusable(self.address, str(error)) from error


class Actor:
    """A worker in an actor on one machine of the cluster."""

    def __init__(self, ray: Any, handle: Any) -> None:
        self._ray = ray
        self._handle = handle
        self._last = 0  # number that was given

    @classmethod
    async def start(cls, ray: Any, spec: MapSpec, node: str) -> Actor:
        """WorkerDied; AgentError or SandboxError where it says that it cannot work."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        handle = (
            ray.remote(_Remote)
            .options(
                num_cpus=0,  # we choose the machine; its cores are for the sandboxes
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
                max_concurrency=spec.at_once + 1,  # and one more for `leave`
                max_restarts=0,
                max_task_retries=0,
            )
            .remote()
        )
        actor = cls(ray, handle)
        try:
            await actor._said(handle.open.remote(spec.to_json(), version("fastslow"), socket.gethostname()))
        except BaseException:
            await actor.end()
            raise
        return actor

    async def do(self, row: Row) -> StepResult:
        self._last += 1
        line = asked_line(Asked(self._last, row)).decode()
        said = await self._said(self._handle.do.remote(line))
        if said.done is None:
            raise WorkerDied("it answered without a result")
        return said.done

    async def end(self) -> None:
        with suppress(self._ray.exceptions.RayError, TimeoutError):
            await asyncio.wait_for(_awaited(self._handle.leave.remote()), LEAVING)
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._handle, no_restart=True)

    async def _said(self, reference: Any) -> Said:
        try:
            said = read_said(await reference)
        except (self._ray.exceptions.RayError, ValueError) as error:
            raise WorkerDied(visible(str(error).partition("\n")[0])) from error
        if said.failure:
            raise said.failure.error()
        return said


class _Remote:
    """What runs in the actor. Lines go in and out, as with a process: nothing of ours is pickled."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._running: set[asyncio.Task[Any]] = set()

    async def open(self, spec: str, expected: str, coordinator: str) -> bytes:
        host = socket.gethostname()
        self._where = "" if host == coordinator else f"@{host}"
        try:
            if (own := version("fastslow")) != expected:
                raise AgentError(f"{host} has fastslow {own}, the coordinator {expected}; install the same on both")
            self._do: Do = await self._stack.enter_async_context(opened(MapSpec.from_json(spec)))
            return said_line(Said())
        except (AgentError, SandboxError, OSError, ValueError) as error:
            return said_line(Said(failure=Failure.of(error)))

    async def do(self, line: str) -> bytes:
        asked = read_asked(line.encode())
        task = asyncio.create_task(said_of(asked.number, asked.row, self._do))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        said = await task
        if said.done and said.done.run:  # on another machine, in a journal there: say where to look
            said = replace(said, done=replace(said.done, run=said.done.run + self._where))
        return said_line(said)

    async def leave(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._stack.aclose()


def _imported(address: str) -> Any:
    """Ray reads its environment when it is imported, and the machines of a cluster of ours inherit it."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    if address == LOCAL:
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # its ports listen to the network
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        import ray
    except ImportError as error:
        raise ConfigurationError("--ray needs Ray: pip install 'fastslow[ray]'") from error
    return ray


async def _reach(address: str) -> None:
    """Ray itself tries for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        try:
            async with asyncio.timeout(REACHED):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except OSError as error:  # TimeoutError is one
            raise _unusable(address, str(error) or "no answer") from error
        writer.close()


def _unusable(address: str, why: str) -> ConfigurationError:
    where = "a Ray cluster on this machine" if address == LOCAL else f"the Ray cluster at {address}"
    return ConfigurationError(f"{where} cannot be used: {visible(why[:LONGEST])}")


def _places(nodes: list[dict[str, Any]]) -> list[str]:
    """A node's id for each actor that there may be on it, the nodes in turn."""
    alive = [(node["NodeID"], node["Resources"]) for node in nodes if node["Alive"]]
    declared = {node: int(resources.get(SANDBOX, 0)) for node, resources in alive}
    counts = declared if any(declared.values()) else dict.fromkeys(declared, 1)
    rounds = range(max(counts.values(), default=0))
    return [node for turn in rounds for node, count in counts.items() if turn < count]


def _print_apart(data: dict[str, Any], ignore_prefix: bool) -> None:
    """Ray prints what it has to say of workers that died to standard output, where our results may stand."""
    for line in data["lines"]:
        sys.stderr.write(f"ray: {visible(line[:LONGEST])}\n")


async def _awaited(reference: Any) -> Any:
    return await reference
