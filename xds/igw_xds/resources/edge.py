"""What fits a listener for the open internet, whatever is behind it: one reading of a request, limits, times.

Each setting's reason and source stands in docs/edge.md.
"""

from envoy.config.core.v3 import protocol_pb2
from envoy.config.listener.v3 import quic_config_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf import wrappers_pb2

from igw_xds.resources.messages import seconds
from igw_xds.settings import MIB

SERVER = "inference-gateway"
HANDSHAKE_SECONDS = 10
"""For TLS to be agreed on."""
BUFFER_BYTES = 64 * 1024
"""Held for a client that reads slowly, before its model server is kept waiting; a request's body has its own limit."""
MAX_HEADERS_KIB = 60
MAX_HEADERS = 100
HEADERS_SECONDS = 30
REQUEST_SECONDS = 300
"""For the whole request to arrive, body too; the answer may take as long as it streams."""
IDLE_CONNECTION_SECONDS = 3600
QUIC_PROBE_SECONDS = 20
"""While an answer is awaited, for many clients give a connection up after 30 s without a packet."""
QUIC_IDLE_SECONDS = 300
"""Without a packet; a client that awaits an answer and is there answers the probes."""
MAX_STREAMS = 100
STREAM_WINDOW_BYTES = MIB
CONNECTION_WINDOW_BYTES = 4 * MIB
NOT_UPGRADED_TO = ("h2c", "TLS/")
"""What clients offer by themselves, Java's and Apache's, and do without."""
RUNTIME = {
    "envoy.reloadable_features.strict_chunk_parsing": True,
    "http.max_requests_per_io_cycle": 10,
}
"""Of the whole Envoy. Chunks end where they say, and one connection does not keep a worker from the others."""


def harden(manager: hcm_pb2.HttpConnectionManager) -> None:
    """Set what holds for everybody who can connect."""
    manager.server_name = SERVER
    _read_one_way(manager)
    manager.max_request_headers_kb.value = MAX_HEADERS_KIB
    manager.request_headers_timeout.CopyFrom(seconds(HEADERS_SECONDS))
    manager.request_timeout.CopyFrom(seconds(REQUEST_SECONDS))
    manager.common_http_protocol_options.CopyFrom(_connection())
    manager.http_protocol_options.CopyFrom(_http1())
    manager.http2_protocol_options.CopyFrom(_http2())


def http3() -> protocol_pb2.Http3ProtocolOptions:
    """Give what a connection manager says of HTTP/3; all else is its listener's (`quic`)."""
    often = seconds(QUIC_PROBE_SECONDS)
    probes = protocol_pb2.QuicKeepAliveSettings(initial_interval=often, max_interval=often)
    return protocol_pb2.Http3ProtocolOptions(
        quic_protocol_options=protocol_pb2.QuicProtocolOptions(connection_keepalive=probes)
    )


def quic() -> quic_config_pb2.QuicProtocolOptions:
    """Give what HTTP/2 and its TLS are set to, for a listener of HTTP/3: this is where Envoy looks."""
    return quic_config_pb2.QuicProtocolOptions(
        crypto_handshake_timeout=seconds(HANDSHAKE_SECONDS),
        idle_timeout=seconds(QUIC_IDLE_SECONDS),
        quic_protocol_options=protocol_pb2.QuicProtocolOptions(
            max_concurrent_streams=wrappers_pb2.UInt32Value(value=MAX_STREAMS),
            initial_stream_window_size=wrappers_pb2.UInt32Value(value=STREAM_WINDOW_BYTES),
            initial_connection_window_size=wrappers_pb2.UInt32Value(value=CONNECTION_WINDOW_BYTES),
        ),
    )


def _read_one_way(manager: hcm_pb2.HttpConnectionManager) -> None:
    """Have a path read as the model server will; an escaped slash is a part of a model's name."""
    manager.normalize_path.value = True
    manager.merge_slashes = True
    manager.path_with_escaped_slashes_action = hcm_pb2.HttpConnectionManager.KEEP_UNCHANGED
    manager.strip_any_host_port = True
    manager.strip_trailing_host_dot = True


def _connection() -> protocol_pb2.HttpProtocolOptions:
    return protocol_pb2.HttpProtocolOptions(
        idle_timeout=seconds(IDLE_CONNECTION_SECONDS),
        max_headers_count=wrappers_pb2.UInt32Value(value=MAX_HEADERS),
    )


def _http1() -> protocol_pb2.Http1ProtocolOptions:
    ignored = [string_pb2.StringMatcher(prefix=name, ignore_case=True) for name in NOT_UPGRADED_TO]
    return protocol_pb2.Http1ProtocolOptions(ignore_http_11_upgrade=ignored)


def _http2() -> protocol_pb2.Http2ProtocolOptions:
    return protocol_pb2.Http2ProtocolOptions(
        max_concurrent_streams=wrappers_pb2.UInt32Value(value=MAX_STREAMS),
        initial_stream_window_size=wrappers_pb2.UInt32Value(value=STREAM_WINDOW_BYTES),
        initial_connection_window_size=wrappers_pb2.UInt32Value(value=CONNECTION_WINDOW_BYTES),
    )
