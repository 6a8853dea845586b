"""Where the model server is: at the address that was passed, or wherever the managed one is by now."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

from fastslow.agent.engine.address import Address
from fastslow.agent.engine.connection import Connection
from fastslow.agent.engine.retries import PATIENCE
from fastslow.agent.errors import EngineDied, EngineUnreachable
from fastslow.agent.managed_server import ServerInfo, key_for, log_tail, running_server, server_status

RESTART_SECONDS = 30.0  # for somebody to start the managed server again, once it ended


class Reach:
    """The way to one server, over one connection for each event loop.

    base_url: None takes FASTSLOW_BASE_URL, else the managed server. open_: makes a connection to an address, with the
    managed server's key where that is the one. managed: what is known of it then, if no address was passed.
    """

    def __init__(self, base_url: str | None, open_: Callable[[str, str], Connection]) -> None:
        self.base_url = base_url
        self.managed: ServerInfo | None = None
        self.connection: Connection | None = None
        self._open = open_
        self._left_behind: list[Connection] = []  # to servers that ended; calls that fail may still use them

    async def server(self) -> Connection:
        """The connection of the running event loop, opened if there is none."""
        loop = asyncio.get_running_loop()
        if self.connection is None or self.connection.loop is not loop:
            address, key = await asyncio.to_thread(self._address)
            if self.connection is None or self.connection.loop is not loop:  # nobody was faster meanwhile
                self.connection = self._open(address, key)
        return self.connection

    async def follow_restart(self, server: Connection) -> bool:
        """Whether the managed server was started anew, maybe at another port, so that the next try goes there.

        Raises EngineDied when it ended and nobody does that within 30 seconds, or serves another model then.
        """
        ended = self.managed
        if ended is None:
            return False
        async with server.lock:
            if self.connection is not server:
                return True
            while (found := await asyncio.to_thread(server_status)).server != ended:
                server.gone = server.gone or time.monotonic()
                other = found.server
                if other and (other.model, other.profile) != (ended.model, ended.profile):
                    raise _server_died(ended, f"and one of {other.served_name} was started in its place")
                if other and found.healthy:
                    self._left_behind.append(server)
                    self.connection, self.managed = None, other
                    return True
                limit = PATIENCE if other else RESTART_SECONDS
                if time.monotonic() - server.gone > limit:
                    raise _server_died(ended, f"and no other answered within {limit:g} s")
                await asyncio.sleep(RESTART_SECONDS / 30)
        return False

    async def aclose(self) -> None:
        connections = [*self._left_behind, *([self.connection] if self.connection else [])]
        self._left_behind, self.connection = [], None
        for connection in connections:
            await connection.aclose()

    def _address(self) -> tuple[str, str]:
        """The address that was passed, or that of the environment, or of the managed server; and the latter's key."""
        base_url = self.base_url or os.environ.get("FASTSLOW_BASE_URL")
        if base_url:
            return base_url, key_for(Address.of(base_url).url)
        self.managed = running_server()
        if self.managed is None:
            raise EngineUnreachable(
                "no model server is known: start one with `fastslow up`, or pass the address of yours "
                "(base_url=, --base-url or FASTSLOW_BASE_URL)"
            )
        return self.managed.base_url, self.managed.key


def _server_died(server: ServerInfo, then: str) -> EngineDied:
    text = f"the model server ended while it was needed, {then}; see {server.log}; start it with `fastslow up`"
    return EngineDied(text, log=log_tail(server))
