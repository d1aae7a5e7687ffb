"""One ADS stream on the wire: a proxy's messages in, responses out; the pure stream between, and who hears of it.

Nothing queues up: a proxy that does not read is given the newest snapshot once it does, and one that goes on asking
without reading is hung up on.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import structlog
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from google.protobuf.message import DecodeError
from igw_certs.peers import Peers, Reason
from igw_ops.grpc.server import Stream as Wire
from igw_ops.grpc.wire import GrpcStatus

from igw_xds.admission import WrongZoneError, admitted, identity
from igw_xds.distribution import Distribution, Distributions
from igw_xds.fleet import MAX_NAMES, Ack, Fleet, Nack, Proxy
from igw_xds.metrics import Metrics
from igw_xds.names import is_of_definitions
from igw_xds.news import News
from igw_xds.resources import proxyless
from igw_xds.snapshot import LISTENER, ROUTES, SHORT_NAMES, Snapshot
from igw_xds.stream import (
    Accepted,
    DeltaResponse,
    DeltaStream,
    Node,
    Refusal,
    Rejected,
    Response,
    SotwStream,
    node_of,
)

log = structlog.get_logger(__name__)

KEEPS = "it came with gateways and the store has none: it keeps what it has until one is defined"
MAX_UNSENT = 256
"""Responses that a proxy may have waiting by asking on and on without reading."""


@dataclass(frozen=True, slots=True)
class Hearers:
    """Whom sessions tell of what happens, and where they find what to serve."""

    zones: Distributions
    fleet: Fleet
    news: News
    metrics: Metrics
    peers: Peers | None = None
    """Who knows clients by their certificates; None: what they say of themselves is believed."""


@dataclass(slots=True, eq=False)
class Session:
    """One client's call; an `igw_ops.grpc` call that never awaits."""

    number: int
    transport: Literal["delta", "sotw"]
    wire: Wire
    hearers: Hearers
    connected_at: float
    zone: Distribution | None = None
    proxyless: bool = False
    """Whether it is gRPC's own xDS client: it resolves a deployment, and proxies nothing."""
    _stream: Any = None
    last_ack: Ack | None = None
    last_nack: Nack | None = None
    _came_with_gateways: bool = False
    _unsent: deque[Response] = field(default_factory=deque)
    _settled: bool = False
    """Whether it has once had all that it was to have, or refused some of it."""
    _held_back: Mapping[str, Refusal] = field(default_factory=dict)
    _heard_at: float = 0.0
    """When, in the loop's seconds, the first request came."""
    _begun: float | None = None
    """When what it was given last was published, or the first request came, if later; None once the client had all."""
    _begun_of: dict[str, float] = field(default_factory=dict)
    """The same of the snapshots that open responses were made from, by nonce."""

    @property
    def node(self) -> Node:
        """Give who the client says it is."""
        return self._stream.node or Node()

    @property
    def stream(self) -> Any:
        """Give what the client has, as we know."""
        return self._stream

    @property
    def keeps(self) -> bool:
        """Say whether it is to keep what it has: it came with gateways, and none is defined since we started."""
        return self._came_with_gateways and self.hearers.zones.empty

    @property
    def target(self) -> Snapshot | None:
        """Give what the client is to have now."""
        if self.zone is None or self.keeps:
            return None
        if not self.proxyless:
            return self.zone.rollout.given_to(self.number)
        made, given = proxyless.view(self.zone.reference, self._stream.asked(LISTENER)), self._stream.snapshot
        return given if given is not None and given.version == made.version else made

    def receive(self, message: bytes) -> None:
        """Take a request."""
        kind: Any = DeltaDiscoveryRequest if self.transport == "delta" else DiscoveryRequest
        try:
            request = kind.FromString(message)
        except DecodeError:
            self.wire.end(GrpcStatus.INVALID_ARGUMENT, f"not a {kind.__name__}")
            self.ended()
            return
        if self._stream is None:
            try:
                self._begin(request, self._admitted(node_of(request.node)))
            except WrongZoneError as error:
                self.wire.end(GrpcStatus.PERMISSION_DENIED, str(error))
                return
        self._hear(request)

    def give(self) -> None:
        """Send what is to be had now, if the client reads."""
        if self.zone is None or self.wire.blocked or self._unsent:
            return
        snapshot = self.target
        if snapshot is None or snapshot is self._stream.snapshot:
            return
        self._begun = max(self.zone.rollout.since, self._heard_at)
        self._write(self._stream.publish(snapshot))
        self._look()
        if (zone := self.zone) is not None:  # it may have been hung up on
            zone.hear(self, None)

    def writable(self) -> None:
        """Go on with what waited for the client to read."""
        while self._unsent and not self.wire.blocked:
            self._send(self._unsent.popleft())
        self.give()

    def half_closed(self) -> None:
        """Take the client's end for the stream's."""
        self.wire.end()
        self.ended()

    def ended(self) -> None:
        """Forget the client."""
        if self.zone is None:
            return
        zone, self.zone = self.zone, None
        log.info("xds stream ended", **self._who())
        self.hearers.fleet.drop(self.number)
        self.hearers.zones.leave(zone, self)
        self.hearers.metrics.proxies.dec()
        self.hearers.news.moved()

    def proxy(self) -> Proxy:
        """Describe the client now."""
        stream, zone = self._stream, self.zone
        return Proxy(
            id=self.node.id,
            zone=self.node.zone,
            version=self.node.version,
            connected_at=self.connected_at,
            transport=self.transport,
            synced=zone is not None and stream.synced and stream.snapshot is self.target,
            canary=zone is not None and zone.rollout.canary == self.number,
            stray=zone is not None and not zone.known,
            reason=self._reason(),
            rejections=stream.rejections,
            last_ack=self.last_ack,
            last_nack=self.last_nack,
        )

    def fail(self) -> None:
        """End the stream for a fault of ours."""
        self.wire.end(GrpcStatus.INTERNAL, "the call failed")
        self.ended()

    def _hang_up(self, why: str) -> None:
        log.warning("xds stream refused", reason=why, **self._who())
        self.wire.end(GrpcStatus.RESOURCE_EXHAUSTED, why)
        self.ended()

    def _reason(self) -> str:
        if self.keeps:
            return KEEPS
        if self.zone is None or self.zone.known:
            return ""
        return f"zone {self.node.zone or '(none)'} is not one of ours"

    def _admitted(self, node: Node) -> Node:
        """Give who the client is, as far as its certificate bears it out. Raises WrongZoneError."""
        peers = self.hearers.peers
        if peers is None:
            return node
        try:
            return admitted(identity(peers, self.wire), node, together=self.hearers.zones.together)
        except WrongZoneError as error:
            peers.refused(Reason.WRONG_ZONE, self.wire.peer, f"{node.id}: {error}")
            raise

    def _begin(self, request: Any, node: Node) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        self.proxyless = node.agent.startswith("gRPC")
        self.zone = zone = self.hearers.zones.of(node)
        kind = DeltaStream if self.transport == "delta" else SotwStream
        self._stream = kind(zone.differences, lambda: zone.reference)
        self._stream.node = node
        self.hearers.metrics.proxies.inc()
        self.hearers.fleet.put(self.number, self)
        log.info("xds stream opened", **self._who())
        had = request.initial_resource_versions if self.transport == "delta" else ()
        self._came_with_gateways = any(map(is_of_definitions, had))
        if reason := self._reason():
            log.warning("a proxy is given nothing", reason=reason, **self._who())
        zone.join(self)

    def _hear(self, request: Any) -> None:
        stream, metrics = self._stream, self.hearers.metrics
        responses = stream.receive(request)
        match answer := stream.answer:
            case Accepted(type_url, names):
                metrics.acks[type_url].inc()
                self._measure(type_url, self._begun_of.pop(request.response_nonce, None))
                self.last_ack = Ack(type_url, time.time())
                self.hearers.news.answered(type_url, names)
            case Rejected(type_url, names, text, final):
                metrics.nacks[type_url].inc()
                self._begun_of.pop(request.response_nonce, None)
                self.last_nack = Nack(type_url, tuple(sorted(names)), text, time.time())
                self.hearers.news.answered(type_url, names)
                if final:
                    self._warn(self.last_nack)
            case None:
                pass
        self._write(responses)
        self._look()
        if self.zone is not None:
            self.zone.hear(self, answer)
        if self.zone is not None and stream.excessive:
            self._hang_up("the client asks for too much, or does not answer")
        self.give()

    def _measure(self, type_url: str, begun: float | None) -> None:
        if begun is not None:
            self.hearers.metrics.propagation[type_url].observe(asyncio.get_running_loop().time() - begun)

    def _warn(self, nack: Nack) -> None:
        kind, names, count = SHORT_NAMES[nack.type_url], nack.names[:MAX_NAMES], len(nack.names)
        log.warning("xds update refused", type=kind, names=names, count=count, error=nack.text, **self._who())

    def _write(self, responses: list[Response]) -> None:
        for response in responses:
            if self._begun is not None:
                self._begun_of[response.nonce] = self._begun
            if self._unsent or self.wire.blocked:
                self._unsent.append(response)
            else:
                self._send(response)
        if len(self._unsent) > MAX_UNSENT:
            self._hang_up("the client asks and does not read")

    def _send(self, response: Response) -> None:
        metrics, type_url = self.hearers.metrics, response.type_url
        parts = list(response.parts())
        metrics.responses[type_url].inc()
        removed = len(response.removed) if isinstance(response, DeltaResponse) else 0
        metrics.resources[type_url].inc(len(response.resources) + removed)
        metrics.bytes[type_url].inc(sum(map(len, parts)))
        self.wire.send(*parts)

    def _look(self) -> None:
        """Tell of what may have changed for the client besides its answer."""
        stream = self._stream
        if stream.synced:
            self._begun = None
        held_back = stream.held_back
        if held_back is not self._held_back and held_back != self._held_back:
            self.hearers.news.answered(ROUTES, held_back.keys() | self._held_back.keys())
            self._held_back = held_back
        if not self._settled and (stream.synced or stream.rejections):
            self._settled = True
            self.hearers.news.moved()

    def _who(self) -> dict[str, Any]:
        return {"node": self.node.id, "transport": self.transport, "stream": self.number}


def opening(hearers: Hearers, numbers: Callable[[], int]) -> Callable[[Wire], Session | None]:
    """Give what makes a session of a call; None for a method that is not one of ADS."""

    def opened(wire: Wire) -> Session | None:
        transport = METHODS.get(wire.path)
        return None if transport is None else Session(numbers(), transport, wire, hearers, time.time())

    return opened


METHODS: Mapping[str, Literal["delta", "sotw"]] = {
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources": "delta",
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources": "sotw",
}
