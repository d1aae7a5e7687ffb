"""The collector process: the gRPC server that Envoys send their logs to, the operations server, and the reports."""

import asyncio
import contextlib
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import prometheus_client
import structlog
from igw_ops.guard import Guard
from igw_ops.listening import listening_socket
from igw_ops.server import serving

from igw_usage import operations
from igw_usage.clock import Clock
from igw_usage.export import ExportServer
from igw_usage.ledger import Ledger
from igw_usage.metrics import Metrics
from igw_usage.otel import Pusher
from igw_usage.reports import Endpoint, Pace, Sender, World
from igw_usage.settings import Settings
from igw_usage.storing import Bounds

_GRACE_SECONDS = 5.0


async def serve(settings: Settings, stop: asyncio.Event, guard: Guard | None = None) -> None:
    """Serve until `stop` is set, then store and answer what has come; with a guard, Envoys come over TLS.

    Raises CannotListenError (an OSError) for a taken port, and `database.CannotOpenError` for a ledger of no use.
    """
    log = structlog.get_logger("igw_usage")
    async with (
        _ledger(settings) as ledger,
        _measured(ledger, settings) as metrics,
        _operations(settings, ledger, stop) as ops_port,
        _reporting(settings, ledger, metrics),
        _pushing(settings, metrics),
    ):
        server = ExportServer(ledger, metrics.export)
        port = await server.start(listening_socket("collector, logs", settings.host, settings.port), guard)
        try:
            log.info("serving", host=settings.host, port=port, ops_port=ops_port)
            await stop.wait()
            log.info("stopping")
        finally:
            await server.stop(_GRACE_SECONDS)


@contextlib.asynccontextmanager
async def _ledger(settings: Settings) -> AsyncIterator[Ledger]:
    bounds = Bounds(retention_seconds=settings.retention_days * 86_400, outbox=settings.outbox_rows)
    with _folder(settings.state_dir) as folder:
        reports = settings.reports_url is not None
        ledger = await asyncio.to_thread(
            lambda: Ledger(folder, bounds, Clock(time.time, time.monotonic), reports=reports)
        )
        try:
            yield ledger
        finally:
            await ledger.aclose()


@contextlib.contextmanager
def _folder(path: Path | None) -> Iterator[Path]:
    if path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="igw-usage-") as made:
        yield Path(made)


@contextlib.asynccontextmanager
async def _measured(ledger: Ledger, settings: Settings) -> AsyncIterator[Metrics]:
    metrics = Metrics(ledger, reports=settings.reports_url is not None)
    prometheus_client.REGISTRY.register(metrics)
    try:
        yield metrics
    finally:
        prometheus_client.REGISTRY.unregister(metrics)


@contextlib.asynccontextmanager
async def _operations(settings: Settings, ledger: Ledger, stop: asyncio.Event) -> AsyncIterator[int]:
    """Run the operations server meanwhile; give its port."""
    listening = listening_socket("collector, operations", settings.ops_host, settings.ops_port)
    async with serving(operations.app(ledger, time.time, stop.is_set), listening):
        yield listening.getsockname()[1]


@contextlib.asynccontextmanager
async def _reporting(settings: Settings, ledger: Ledger, metrics: Metrics) -> AsyncIterator[None]:
    """Send reports meanwhile; one that is on its way at the end is sent again by the next process."""
    if settings.reports_url is None:
        yield
        return
    world = World()
    endpoint = Endpoint(settings.reports_url, settings.reports_token_file, world.now)
    pace = Pace(settings.reports_batch, settings.reports_interval_seconds)
    sending = asyncio.create_task(Sender(ledger, endpoint.send, pace, metrics.report, world).run())
    try:
        yield
    finally:
        await _ended(sending)
        await endpoint.aclose()


@contextlib.asynccontextmanager
async def _pushing(settings: Settings, metrics: Metrics) -> AsyncIterator[None]:
    if settings.otlp_endpoint is None:
        yield
        return
    pusher = Pusher(settings.otlp_endpoint, str(uuid.uuid4()), metrics.generative.otlp, metrics.pushes.count)
    pushing = asyncio.create_task(pusher.run())
    try:
        yield
    finally:
        await _ended(pushing)
        await pusher.aclose()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
