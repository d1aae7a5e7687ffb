"""The discovery server on loopback, and one client of it that answers when told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio
from envoy.service.discovery.v3 import ads_pb2_grpc
from igw_xds.fleet import Fleet
from igw_xds.news import News
from igw_xds.publisher import Publisher
from igw_xds.server import serve
from prometheus_client import CollectorRegistry


@dataclass(frozen=True)
class Plane:
    """What it publishes, who is connected, what it measures, and the client's stream."""

    publisher: Publisher
    fleet: Fleet
    registry: CollectorRegistry
    call: Any

    def metric(self, name: str, **labels: str) -> float:
        """Read a metric that is there."""
        found = self.registry.get_sample_value(name, labels)
        assert found is not None, (name, labels)
        return found


@asynccontextmanager
async def plane() -> AsyncIterator[Plane]:
    """Serve, with one incremental stream open."""
    publisher, fleet, registry = Publisher(grace_seconds=0), Fleet(), CollectorRegistry()
    server = await serve(publisher, fleet, News(), "127.0.0.1", 0, registry)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel)
            yield Plane(publisher, fleet, registry, stub.DeltaAggregatedResources())
    finally:
        await server.stop(0)
