"""One HTTP server of the demo: an ASGI app and a place to listen in, requests answered until asked to stop.

The socket is bound before anything is served: port 0 works, and a client that comes early is not refused.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from igw_ops.listening import listening_socket
from igw_ops.server import serving


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Give ``http://host:port``."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


async def serve(app: Any, host: str, port: int, stop: asyncio.Event) -> None:
    """Answer until `stop` is set. Raises CannotListenError."""
    async with running(app, host, port):
        await stop.wait()


@contextlib.asynccontextmanager
async def running(app: Any, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Address]:
    """Serve an app in this event loop while the context is open; port 0 takes a free one."""
    listening = listening_socket("demo", host, port)
    async with serving(app, listening):
        yield Address(*listening.getsockname()[:2])
