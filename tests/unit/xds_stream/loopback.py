"""The discovery server on loopback, with one zone for all who come, and gRPC's own client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
from envoy.service.discovery.v3 import ads_pb2_grpc
from igw_ops.grpc.server import Server
from igw_ops.listening import listening_socket
from igw_xds.distribution import Distributions
from igw_xds.fleet import Fleet
from igw_xds.metrics import Metrics
from igw_xds.news import News
from igw_xds.plan import Zoning
from igw_xds.server import serve
from igw_xds.session import Hearers
from igw_xds.snapshot import NO_RESOURCES, Snapshot
from prometheus_client import CollectorRegistry


@dataclass(slots=True)
class Plane:
    """A control plane on a free port; nobody is a canary and nothing lingers, unless told."""

    zones: Distributions
    fleet: Fleet
    news: News
    registry: CollectorRegistry
    server: Server
    channels: list[Any] = field(default_factory=list)

    def publish(self, snapshot: Snapshot) -> None:
        """Publish what all get."""
        self.zones.publish({"": snapshot}, NO_RESOURCES)

    def call(self, transport: str) -> Any:
        """Open a stream on a connection of its own."""
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.server.port}")
        self.channels.append(channel)
        stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel)
        return stub.DeltaAggregatedResources() if transport == "delta" else stub.StreamAggregatedResources()

    def metric(self, name: str, **labels: str) -> float:
        """Read a metric that is there."""
        found = self.registry.get_sample_value(f"igw_xds_{name}", labels)
        assert found is not None, (name, labels)
        return found

    @property
    def synced(self) -> int:
        """Count the proxies that have all."""
        return sum(proxy.synced for proxy in self.fleet)


@asynccontextmanager
async def serving(canary_seconds: float = 0) -> AsyncIterator[Plane]:
    """Serve, with nothing published."""
    zones = Distributions(Zoning(together=True), grace_seconds=0, canary_seconds=canary_seconds)
    fleet, news, registry = Fleet(), News(), CollectorRegistry()
    hearers = Hearers(zones, fleet, news, Metrics(registry))
    server = await serve(hearers, listening_socket("xds, gRPC", "127.0.0.1", 0))
    plane = Plane(zones, fleet, news, registry, server)
    try:
        yield plane
    finally:
        for channel in plane.channels:
            await channel.close()
        await server.close(0)
        zones.close()
