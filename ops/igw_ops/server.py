"""The operations server of a process: /healthz (alive), /readyz (may have traffic), /metrics, and /status.

Checks and status come in as functions; what they mean belongs to the component.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import prometheus_client
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from igw_ops.accepting import Accepting
from igw_ops.guard import Anybody
from igw_ops.http1 import MAX_CONNECTIONS, BoundedProtocol

KEEP_ALIVE_SECONDS = 75
"""Longer than Envoy keeps a connection that is idle: it, and not we, should close. A head has as long to arrive."""


async def own_metrics() -> bytes:
    """Give what this process counts, in Prometheus' text format."""
    return prometheus_client.generate_latest()


def operations_app(
    ready: Callable[[], str | None],
    status: Callable[[], Mapping[str, Any]] = dict,
    metrics: Callable[[], Awaitable[bytes]] = own_metrics,
    more: Sequence[Route] = (),
) -> Starlette:
    """Build the app; `ready` gives None when ready, else the reason why not (503); `more` are a component's own."""

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        reason = ready()
        return PlainTextResponse("ok\n") if reason is None else PlainTextResponse(f"{reason}\n", 503)

    async def measured(_: Request) -> Response:
        return Response(await metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def show(_: Request) -> Response:
        return JSONResponse(dict(status()))

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", measured),
            Route("/status", show),
            *more,
        ]
    )


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the process that runs it, and counts handshakes as connections."""

    tls: ssl.SSLContext | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: `igw_ops.process.run` owns signals."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen. uvicorn hears of a connection over TLS, and can bound it, only once the handshake is over."""
        if self.tls is None:
            await super().startup(sockets)
            return
        await super().startup([])
        guard = Anybody(self.tls)
        for listening in sockets or ():
            accepting = Accepting(
                listening, self._connection, shared_socket=False, guard=guard, room=self._room
            )
            self.servers.append(accepting)  # type: ignore[arg-type] # it has what uvicorn uses

    def _connection(self) -> BoundedProtocol:
        return BoundedProtocol(self.config, self.server_state, self.lifespan.state)

    def _room(self) -> int:
        return MAX_CONNECTIONS - len(self.server_state.connections)


def http_server(app: Any, host: str, port: int, keep_alive_seconds: int = KEEP_ALIVE_SECONDS) -> Server:
    """Make an HTTP server for an ASGI app; `await serve()` runs it, `should_exit = True` ends it."""
    return Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            loop="none",
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=keep_alive_seconds,
            timeout_graceful_shutdown=3,
        )
    )


@contextlib.asynccontextmanager
async def serving(
    app: Any, listening: socket.socket, tls: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """Answer on a listening socket while the context is open; requests under way then get three seconds more."""
    host, port = listening.getsockname()[:2]
    server = http_server(app, host, port)
    server.tls = tls
    running = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await running
