"""The extproc process: the gRPC server that Envoy asks, and the operations server beside it."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import prometheus_client
import structlog
from igw_ops.guard import Guard
from igw_ops.listening import listening_socket
from igw_ops.server import operations_app, serving

from igw_extproc.server import Server
from igw_extproc.settings import Settings
from igw_extproc.tally import Tally

_GRACE_SECONDS = 5.0


async def serve(settings: Settings, stop: asyncio.Event, guard: Guard | None = None) -> None:
    """Serve until `stop` is set, then let the exchanges that have begun end; with a guard over TLS.

    OSError names a taken port.
    """
    log = structlog.get_logger("igw_extproc")
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # a bad body is the client's affair
    tally = Tally()
    server = Server(settings, tally)
    async with _operations(settings, stop, tally):
        try:
            port = await server.start(guard)
            log.info("serving", host=settings.host, port=port, ops_port=settings.ops_port)
            await stop.wait()
            log.info("stopping")
        finally:
            await server.close(_GRACE_SECONDS)


@contextlib.asynccontextmanager
async def _operations(settings: Settings, stop: asyncio.Event, tally: Tally) -> AsyncIterator[None]:
    """Run the operations server meanwhile, with the tally among its metrics."""
    listening = listening_socket("extproc, operations", settings.ops_host, settings.ops_port)
    app = operations_app(
        ready=lambda: "stopping" if stop.is_set() else None, status=lambda: {"exchanges": tally.outcomes()}
    )
    prometheus_client.REGISTRY.register(tally)
    try:
        async with serving(app, listening):
            yield
    finally:
        prometheus_client.REGISTRY.unregister(tally)
