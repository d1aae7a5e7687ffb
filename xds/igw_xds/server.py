"""AggregatedDiscoveryService: one session for each connected Envoy; and beside it what tools ask of them (`csds`).

The wire is `igw_ops.grpc`, ours and lean.
"""

import itertools
import socket
from functools import partial

import structlog
from igw_ops.grpc.server import Call, Limits, Opening, Server, Stream, serve_on

from igw_xds import csds, session
from igw_xds.session import Hearers

log = structlog.get_logger(__name__)


async def serve(hearers: Hearers, listening: socket.socket, limits: Limits | None = None) -> Server:
    """Serve the Envoys that come to a socket that listens."""
    server = await serve_on(_opening(hearers), listening, limits)
    host, port = listening.getsockname()[:2]
    log.info("xds server listening", address=f"{host}:{port}")
    return server


def _opening(hearers: Hearers) -> Opening:
    discovery = session.opening(hearers, partial(next, itertools.count(1)))
    inquiry = csds.opening(hearers.fleet)

    def opened(stream: Stream) -> Call | None:
        return discovery(stream) or inquiry(stream)

    return opened
