"""The agent of `igw envoy`, wired: where it keeps what Envoy accepted, and our own ADS stream to answer from that."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest
from igw_agent.cache import Contents
from igw_agent.pipe import Answering
from igw_agent.server import Settings, serving
from igw_certs.contexts import Credentials
from igw_xds.bootstrap import Node
from igw_xds.settings import HostPort
from igw_xds.snapshot import Resource, Snapshot, snapshot
from igw_xds.stream import DeltaStream
from igw_xds.stream.response import encoded
from igw_xds.stream.subscription import ROOTS


async def beside(settings: Settings, running: Callable[[asyncio.Task[None]], Awaitable[int]]) -> int:
    """Run the agent from before Envoy starts until after it ended, and give what Envoy's run gives."""
    async with serving(settings, answering) as failed:
        return await running(failed)


def settings(
    node: Node,
    control_plane: HostPort,
    socket: Path,
    state_dir: Path,
    cache_after: float,
    credentials: Credentials | None = None,
) -> Settings:
    """Give the settings of an Envoy's agent; what it keeps is in a folder named after the node id."""
    return Settings(
        socket=socket,
        host=control_plane.host,
        port=control_plane.port,
        zone=node.zone,
        roots=ROOTS,
        # No name leads out of the folder, since each has something in front.
        folder=state_dir.absolute() / f"envoy-{quote(node.id, safe='')}",
        cache_after=cache_after,
        credentials=credentials,
    )


def answering(contents: Contents) -> Answering:
    """Give a stream that answers as the control plane would that serves just these, in the same versions."""
    stream = DeltaStream()
    stream.publish(kept_snapshot(contents))

    def answer(request: bytes) -> list[bytes]:
        return [encoded(response) for response in stream.receive(DeltaDiscoveryRequest.FromString(request))]

    return answer


def kept_snapshot(contents: Contents) -> Snapshot:
    """Give what was kept as a snapshot."""
    resources: dict[str, list[Resource]] = {}
    for kept in contents.values():
        resource = Resource(kept.name, kept.version, kept.body, needs=None)
        resources.setdefault(kept.type_url, []).append(resource)
    return snapshot(resources)
