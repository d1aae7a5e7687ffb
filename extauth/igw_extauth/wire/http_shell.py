"""Envoy's ext_authz over HTTP/1.1 or HTTP/2, on one port; the header ``x-igw-policy`` names the gateway.

Straight on the event loop, without a web framework: this is the cheapest way to be asked.
Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/ext_authz_filter
"""

import asyncio
import socket

from igw_ops.accepting import Accepting, accepting
from igw_ops.guard import Guard

from igw_extauth.check import Check
from igw_extauth.wire.conversation import Shared
from igw_extauth.wire.http_connection import IDLE_SECONDS, Connection


class HttpServer:
    """The HTTP server that answers checks."""

    def __init__(self, check: Check, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._shared = Shared(check)
        self._connections: set[Connection] = set()
        self._idle_seconds = idle_seconds
        self._server: asyncio.Server | Accepting | None = None

    async def start(
        self, listening: socket.socket, *, shared_socket: bool = False, guard: Guard | None = None
    ) -> None:
        """Accept connections from a socket that listens; with `shared_socket`, other processes do too."""
        self._server = await accepting(listening, self._connection, shared_socket=shared_socket, guard=guard)

    def _connection(self) -> Connection:
        return Connection(self._shared, self._connections, self._idle_seconds)

    async def stop(self, grace_seconds: float) -> None:
        """Accept no more, answer what is under way for as long as `grace_seconds`, then close the rest."""
        self._shared.finishing = True
        if self._server is not None:
            self._server.close()
        connections = list(self._connections)
        for connection in connections:
            connection.finish()
        if connections:
            await asyncio.wait([connection.closed for connection in connections], timeout=grace_seconds)
        self.abort()

    def abort(self) -> None:
        """Close what is open, at once."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.abort()
