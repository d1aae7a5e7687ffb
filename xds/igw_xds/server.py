"""AggregatedDiscoveryService over grpc.aio: one pure stream object per connected Envoy, and its I/O.

Per stream one task reads requests and one waits for snapshots; a lock lets one at a time think and write. So
nothing queues up: a slow client blocks its own two tasks and meets only the newest snapshot afterwards.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import grpc.aio
import prometheus_client
import structlog
from envoy.service.discovery.v3 import ads_pb2_grpc
from igw_ops.listening import GrpcServer, add_grpc_port

from igw_xds.fleet import MAX_NAMES, SHORT_NAMES, Ack, Fleet, Nack, Proxy
from igw_xds.metrics import Metrics
from igw_xds.news import News
from igw_xds.publisher import Publisher
from igw_xds.snapshot import ROUTES
from igw_xds.stream import Accepted, DeltaStream, Differences, Refusal, Rejected, SotwStream

log = structlog.get_logger(__name__)

OPTIONS = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),  # a delta reconnect names every resource
    ("grpc.max_send_message_length", -1),
    ("grpc.max_concurrent_streams", 1000),
    ("grpc.so_reuseport", 0),  # a second control plane on the port is an error, not a coin toss
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),  # Envoy's own keepalive may be as eager as its bootstrap says
)


@dataclass(slots=True)
class Connection:
    """One stream on the wire: the pure object, the call to write to, and who hears of it."""

    number: int
    transport: Literal["delta", "sotw"]
    stream: DeltaStream | SotwStream
    context: Any
    fleet: Fleet
    news: News
    metrics: Metrics
    connected_at: float
    last_ack: Ack | None = None
    last_nack: Nack | None = None
    settled: bool = False
    """Whether it has once had all that it was to have, or refused some of it."""
    held_back: Mapping[str, Refusal] = field(default_factory=dict)
    heard_at: float = 0.0
    """When, in the loop's seconds, the first request came."""
    begun: float | None = None
    """When the newest snapshot was published, or the first request came, if later; None once the client had all."""
    begun_of: dict[str, float] = field(default_factory=dict)
    """The same of the snapshots that open responses were made from, by nonce."""

    async def run(self, requests: AsyncIterator[Any], publisher: Publisher) -> None:
        """Serve until the client ends the stream or the call is cancelled."""
        turn = asyncio.Lock()
        follower = asyncio.create_task(self._follow(publisher, turn))
        follower.add_done_callback(self._stop_reading(asyncio.current_task()))
        self.metrics.proxies.inc()
        try:
            async for request in requests:
                async with turn:
                    await self._hear(request)
            log.info("xds stream ended", **self._who())
        except asyncio.CancelledError:
            log.info("xds stream lost", **self._who())
            if follower.done() and not follower.cancelled():
                follower.result()
            raise
        finally:
            self.metrics.proxies.dec()
            self.fleet.drop(self.number)
            if self.stream.node is not None:
                self.news.moved()
            follower.cancel()

    async def _hear(self, request: Any) -> None:
        first = self.stream.node is None
        if first:
            self.heard_at = asyncio.get_running_loop().time()
            self.begun = None if self.begun is None else self.heard_at
        responses: list[Any] = self.stream.receive(request)
        if first:
            log.info("xds stream opened", **self._who())
        match self.stream.answer:
            case Accepted(type_url, names):
                self.metrics.acks.labels(SHORT_NAMES[type_url]).inc()
                self._measure(type_url, self.begun_of.pop(request.response_nonce, None))
                self.last_ack = Ack(type_url, time.time())
                self.news.answered(type_url, names)
            case Rejected(type_url, names, text, final):
                self.metrics.nacks.labels(SHORT_NAMES[type_url]).inc()
                self.begun_of.pop(request.response_nonce, None)
                self.last_nack = Nack(type_url, tuple(sorted(names)), text, time.time())
                self.news.answered(type_url, names)
                if final:
                    self._warn(self.last_nack)
            case None:
                pass
        await self._write(responses)

    def _measure(self, type_url: str, begun: float | None) -> None:
        if begun is not None:
            seconds = asyncio.get_running_loop().time() - begun
            self.metrics.propagation.labels(SHORT_NAMES[type_url]).observe(seconds)

    def _warn(self, nack: Nack) -> None:
        kind, names, count = SHORT_NAMES[nack.type_url], nack.names[:MAX_NAMES], len(nack.names)
        log.warning("xds update refused", type=kind, names=names, count=count, error=nack.text, **self._who())

    async def _follow(self, publisher: Publisher, turn: asyncio.Lock) -> None:
        async for snapshot in publisher.watch():
            async with turn:
                self.begun = max(publisher.served_since, self.heard_at)
                responses: list[Any] = self.stream.publish(publisher.current or snapshot)
                await self._write(responses)

    async def _write(self, responses: list[Any]) -> None:
        self._report()
        for response in responses:
            kind = SHORT_NAMES[response.type_url]
            if self.begun is not None:
                self.begun_of[response.nonce] = self.begun
            self.metrics.responses.labels(kind).inc()
            removed = len(response.removed_resources) if self.transport == "delta" else 0
            self.metrics.resources.labels(kind).inc(len(response.resources) + removed)
            await self.context.write(response)

    def _report(self) -> None:
        if (node := self.stream.node) is None:
            return
        proxy = Proxy(
            id=node.id,
            zone=node.zone,
            version=node.version,
            connected_at=self.connected_at,
            transport=self.transport,
            synced=self.stream.synced,
            rejections=self.stream.rejections,
            last_ack=self.last_ack,
            last_nack=self.last_nack,
            standing=self.stream.standing,
        )
        self.fleet.put(self.number, proxy)
        if proxy.synced:
            self.begun = None
        if (held_back := self.stream.held_back) != self.held_back:
            self.news.answered(ROUTES, held_back.keys() | self.held_back.keys())
            self.held_back = held_back
        if not self.settled and (proxy.synced or proxy.rejections):
            self.settled = True
            self.news.moved()

    def _who(self) -> dict[str, Any]:
        node = self.stream.node
        return {"node": node.id if node else "", "transport": self.transport, "stream": self.number}

    @staticmethod
    def _stop_reading(reader: "asyncio.Task[Any] | None") -> Callable[["asyncio.Task[None]"], None]:
        """End the call when publishing to it failed: a stream that only reads would never change again."""

        def stop(follower: "asyncio.Task[None]") -> None:
            if not follower.cancelled() and follower.exception() is not None and reader is not None:
                reader.cancel()

        return stop


class Discovery(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc] # generated, untyped
    """The two methods of the service, one per transport."""

    def __init__(self, publisher: Publisher, fleet: Fleet, news: News, metrics: Metrics) -> None:
        self._publisher, self._fleet, self._news, self._metrics = publisher, fleet, news, metrics
        self._numbers = itertools.count(1)
        self._differences = Differences()

    async def StreamAggregatedResources(self, requests: AsyncIterator[Any], context: Any) -> None:  # noqa: N802 - gRPC
        """Serve one state-of-the-world stream."""
        await self._connection("sotw", SotwStream(self._differences), context).run(requests, self._publisher)

    async def DeltaAggregatedResources(self, requests: AsyncIterator[Any], context: Any) -> None:  # noqa: N802 - gRPC
        """Serve one incremental stream."""
        await self._connection("delta", DeltaStream(self._differences), context).run(
            requests, self._publisher
        )

    def _connection(
        self, transport: Literal["delta", "sotw"], stream: DeltaStream | SotwStream, context: Any
    ) -> Connection:
        number = next(self._numbers)
        return Connection(
            number, transport, stream, context, self._fleet, self._news, self._metrics, time.time()
        )


async def serve(  # noqa: PLR0913, PLR0917 - who is served what, who hears of it, and where
    publisher: Publisher,
    fleet: Fleet,
    news: News,
    host: str,
    port: int,
    registry: prometheus_client.CollectorRegistry = prometheus_client.REGISTRY,
) -> GrpcServer:
    """Listen and serve. Raises CannotListenError."""
    server = grpc.aio.server(options=OPTIONS)
    ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(
        Discovery(publisher, fleet, news, Metrics(registry)), server
    )
    bound = add_grpc_port(server, "xds, gRPC", host, port)
    await server.start()
    log.info("xds server listening", address=f"{host}:{bound}")
    return GrpcServer(bound, server)
