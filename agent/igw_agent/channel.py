"""The call to the control plane and the server for Envoy: raw bytes both ways, and the options of both connections."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc.aio

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
METHOD = "DeltaAggregatedResources"
MAX_PATH = 107
"""Bytes of a Unix socket's path; see unix(7)."""

_ANY_SIZE = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
UPSTREAM = (
    *_ANY_SIZE,
    ("grpc.lb_policy_name", "round_robin"),  # a name may have several addresses: one that is dead is left out
    ("grpc.enable_http_proxy", 0),  # as Envoy itself, which knows of none
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),  # a pod that moved has another address
    ("grpc.keepalive_time_ms", 15_000),  # an idle stream says nothing of a control plane that is gone
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 2_000),  # how long one attempt to connect may take
    ("grpc.max_reconnect_backoff_ms", 1_500),
)
"""gRPC varies its pauses by itself: a thousand agents do not come back in one moment."""
DOWNSTREAM = (
    *_ANY_SIZE,
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),  # Envoy's own keepalive may be as eager as its bootstrap says
)

Handler = Callable[[AsyncIterator[bytes], Any], Awaitable[None]]


def channel(host: str, port: int) -> Any:
    """Give a channel to the control plane; it connects when it is first used, and again by itself."""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return grpc.aio.insecure_channel(address, options=UPSTREAM)


def channel_at(path: Path) -> Any:
    """Give a channel to a Unix socket, behind which the control plane is."""
    return grpc.aio.insecure_channel(f"unix:{path}", options=UPSTREAM)


def method(upstream: Any) -> Any:
    """Give the method of the control plane, from bytes to bytes."""
    return upstream.stream_stream(f"/{SERVICE}/{METHOD}")


async def listening(path: Path, handler: Handler) -> Any:
    """Give a server on a Unix socket that has this one method. Raises OSError."""
    if len(str(path).encode()) > MAX_PATH:
        raise OSError(f"{path} is too long for a socket, whose path has {MAX_PATH} bytes at most: set TMPDIR")
    server = grpc.aio.server(options=DOWNSTREAM)
    handlers = {METHOD: grpc.stream_stream_rpc_method_handler(handler)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as error:
        raise OSError(f"cannot listen on {path}") from error
    await server.start()
    return server
