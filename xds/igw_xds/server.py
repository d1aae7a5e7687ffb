"""AggregatedDiscoveryService: one session for each connected Envoy; and beside it what tools ask of them (`csds`).

The wire is `igw_ops.grpc`, ours and lean.
"""

import itertools
import socket
from dataclasses import replace
from functools import partial
from typing import Final

import structlog
from igw_certs.identity import Role
from igw_certs.peers import Peers
from igw_ops.grpc.call import MIB
from igw_ops.grpc.server import Call, Limits, Opening, Server, Stream, serve_on

from igw_xds import csds, session
from igw_xds.admission import for_role
from igw_xds.session import Hearers

LIMITS: Final = Limits(connections=4_000, streams=16, message_bytes=32 * MIB)
"""An Envoy, or the agent beside it, has one stream, and another while it begins anew; tools ask a few things at once.
The longest message names all that an Envoy has of a type, and its versions."""

log = structlog.get_logger(__name__)


async def serve(
    hearers: Hearers, listening: socket.socket, limits: Limits = LIMITS, peers: Peers | None = None
) -> Server:
    """Serve the Envoys that come to a socket that listens; with `peers` over TLS, and those that they let in."""
    server = await serve_on(_opening(hearers, peers), listening, limits, guard=peers)
    host, port = listening.getsockname()[:2]
    log.info("xds server listening", address=f"{host}:{port}")
    return server


def _opening(hearers: Hearers, peers: Peers | None) -> Opening:
    discovery = session.opening(replace(hearers, peers=peers), partial(next, itertools.count(1)))
    inquiry = csds.opening(hearers.fleet)
    if peers is not None:
        discovery = for_role(discovery, session.METHODS, Role.PROXY, peers)
        inquiry = for_role(inquiry, csds.METHODS, Role.API, peers)

    def opened(stream: Stream) -> Call | None:
        return discovery(stream) or inquiry(stream)

    return opened
