"""One HTTP server of the demo: an ASGI app and a place to listen in, requests answered until asked to stop.

The socket is bound before anything is served: port 0 works, and a client that comes early is not refused.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from igw_ops.server import http_server

BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Give ``http://host:port``."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


def listen(host: str, port: int) -> socket.socket:
    """Bind and listen; port 0 takes a free one. Raises OSError when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    # Accepted connections inherit this. asyncio sets it only on sockets made with IPPROTO_TCP, which this one
    # is not, and without it every answer waits 40 ms for an ACK between its head and its body.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def address_of(listener: socket.socket) -> Address:
    """Give where a socket listens."""
    host, port = listener.getsockname()[:2]
    return Address(host, port)


async def serve(app: Any, listener: socket.socket, stop: asyncio.Event) -> None:
    """Answer until `stop` is set; requests under way get three seconds more."""
    where = address_of(listener)
    server = http_server(app, where.host, where.port)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.serve(sockets=[listener]))
        stopping = tasks.create_task(stop.wait())
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        stopping.cancel()


@contextlib.asynccontextmanager
async def running(app: Any, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Address]:
    """Serve an app in this event loop while the context is open."""
    listener = listen(host, port)
    stop = asyncio.Event()
    # Not a task group: that would wrap what the context's body raises.
    serving = asyncio.create_task(serve(app, listener, stop))
    try:
        yield address_of(listener)
    finally:
        stop.set()
        await serving
