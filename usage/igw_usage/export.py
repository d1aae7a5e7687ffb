"""Envoy's logs over gRPC, ``opentelemetry.proto.collector.logs.v1.LogsService/Export``: answered when on disk.

Source: https://github.com/open-telemetry/opentelemetry-proto, `collector/logs/v1/logs_service.proto`.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Final

import structlog
from igw_ops.grpc.call import MIB, Call, Limits, Stream
from igw_ops.grpc.server import Server, serve_on
from igw_ops.grpc.wire import GrpcStatus
from igw_ops.guard import Guard

from igw_usage.ledger import FullError, Ledger, Stored, UnavailableError
from igw_usage.otlp import NotUnderstoodError

METHOD: Final = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
LIMITS: Final = Limits(connections=1_000, streams=1_000, message_bytes=16 * MIB)
"""An Envoy sends 32 KiB at once, or an entry that is longer; after an outage each of its threads has many under way."""
LATE_CALLS_SECONDS: Final = 0.2
"""How long calls begun before Envoy heard that we end may take to arrive."""
RESPONSE: Final = b""
"""An ExportLogsServiceResponse without a partial success: all is taken."""

Outcome = str
STORED, FULL, UNAVAILABLE, NOT_UNDERSTOOD, FAILED = (
    "stored",
    "full",
    "unavailable",
    "not_understood",
    "failed",
)

_STATUSES: Final = {
    FULL: (GrpcStatus.UNAVAILABLE, "too much waits for the disk"),
    UNAVAILABLE: (GrpcStatus.UNAVAILABLE, "the disk does not take it"),
    NOT_UNDERSTOOD: (GrpcStatus.INVALID_ARGUMENT, "not an ExportLogsServiceRequest"),
    FAILED: (GrpcStatus.INTERNAL, "it cannot be stored"),
}
"""Envoy sends again what is UNAVAILABLE; nothing else, since it would meet the same again."""

Told = Callable[[Outcome, Stored, float], None]
"""Hears what came of an export, and how many seconds its answer took."""


class ExportServer:
    """The gRPC server that takes logs."""

    def __init__(self, ledger: Ledger, told: Told) -> None:
        """Store in a ledger; `told` hears of each export."""
        self._ledger = ledger
        self._told = told
        self._pending: set[asyncio.Future[Stored]] = set()
        self._server: Server | None = None

    async def start(self, listening: socket.socket, guard: Guard | None = None) -> int:
        """Serve those who come to a socket that listens, with a guard over TLS; give its port."""
        self._server = await serve_on(self._opened, listening, LIMITS, guard=guard)
        return self._server.port

    async def stop(self, grace_seconds: float) -> None:
        """Take no more, and answer what has come once it is on disk; then hang up."""
        if self._server is None:
            return
        self._server.send_away()
        if self._server.connections:
            await asyncio.sleep(LATE_CALLS_SECONDS)
        if self._pending:
            await asyncio.wait(self._pending, timeout=grace_seconds)
            await asyncio.sleep(0)  # answers are sent by callbacks
        await self._server.close(1.0)

    def _opened(self, stream: Stream) -> Call | None:
        return _Export(stream, self) if stream.path == METHOD else None

    def take(self, message: bytes, answered: Callable[[Outcome], None]) -> None:
        """Store a message, and tell what came of it."""
        began = time.perf_counter()
        try:
            stored = self._ledger.export(message)
        except FullError:
            answered(FULL)
            self._told(FULL, Stored(), 0.0)
            return
        self._pending.add(stored)
        stored.add_done_callback(lambda done: self._done(done, answered, began))

    def _done(
        self, done: "asyncio.Future[Stored]", answered: Callable[[Outcome], None], began: float
    ) -> None:
        self._pending.discard(done)
        outcome = _outcome(done)
        answered(outcome)
        stored = done.result() if outcome == STORED else Stored()
        self._told(outcome, stored, time.perf_counter() - began)


def _outcome(done: "asyncio.Future[Stored]") -> Outcome:
    match done.exception():
        case None:
            return STORED
        case NotUnderstoodError():
            return NOT_UNDERSTOOD
        case UnavailableError():
            return UNAVAILABLE
        case error:
            structlog.get_logger().error("export_failed", exc_info=error)
            return FAILED


class _Export:
    """One call of `Export` (`igw_ops.grpc.call.Call`)."""

    __slots__ = ("_asked", "_over", "_server", "_wire")

    def __init__(self, wire: Stream, server: ExportServer) -> None:
        self._wire = wire
        self._server = server
        self._asked = False
        self._over = False

    def receive(self, message: bytes) -> None:
        """Begin to store it."""
        if not self._asked:
            self._asked = True
            self._server.take(message, self._answer)

    def writable(self) -> None:
        """Nothing waits here."""

    def half_closed(self) -> None:
        """Refuse a call without a message; one that has come is answered in its time."""
        if not self._asked:
            self._wire.end(GrpcStatus.INVALID_ARGUMENT, "no ExportLogsServiceRequest")

    def ended(self) -> None:
        """Tell nobody; what has come is stored all the same."""
        self._over = True

    def _answer(self, outcome: Outcome) -> None:
        if self._over:
            return
        if outcome == STORED:
            self._wire.send(RESPONSE)
            self._wire.end()
        else:
            self._wire.end(*_STATUSES[outcome])
