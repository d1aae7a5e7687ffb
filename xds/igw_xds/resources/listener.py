"""The one listener that all gateways share.

It depends on the data plane's settings alone: no gateway and no deployment changes it, so no change of those
drains a connection.
"""

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import extension_pb2, protocol_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf import wrappers_pb2

from igw_xds import names
from igw_xds.resources.filters import http_filters
from igw_xds.resources.messages import ads, extension, packed, seconds, socket_address
from igw_xds.resources.replies import local_replies
from igw_xds.resources.telling import TOLD_IN_A_LEASE, access_log, log_of_limited, tracing, usage_log
from igw_xds.settings import MIB, DataPlane

# A WSGI server reads X_Igw_Principal and X-Igw-Principal as one header, so all spellings go. Prefixes, for one regular
# expression in their place costs Envoy a twentieth of what it does for a request.
CLIENT_MAY_NOT_SEND = [f"x{a}{name}{b}" for name in ("igw", "envoy") for a in "-_" for b in "-_"]
CLIENT_HEADERS_SECONDS = 30
CLIENT_REQUEST_SECONDS = 300
"""For the whole request to arrive, body too; the answer may take as long as it streams."""
MAX_CLIENT_STREAMS = 100


def listener(data_plane: DataPlane) -> listener_pb2.Listener:
    """Give the listener."""
    manager = listener_components_pb2.Filter(
        name="envoy.filters.network.http_connection_manager",
        typed_config=packed(connection_manager(data_plane)),
    )
    return listener_pb2.Listener(
        name=names.LISTENER,
        address=socket_address(data_plane.listen),
        filter_chains=[listener_components_pb2.FilterChain(filters=[manager])],
        per_connection_buffer_limit_bytes=wrappers_pb2.UInt32Value(value=MIB),
    )


def connection_manager(data_plane: DataPlane) -> hcm_pb2.HttpConnectionManager:
    """Give the HTTP connection manager: what is cleaned before routing, scopes, filters, local replies."""
    manager = hcm_pb2.HttpConnectionManager(
        stat_prefix="ingress",
        scoped_routes=_scoped_routes(),
        http_filters=http_filters(data_plane),
        local_reply_config=local_replies(),
        early_header_mutation_extensions=[_without_internal_headers()],
        use_remote_address=wrappers_pb2.BoolValue(value=True),
        xff_num_trusted_hops=data_plane.trusted_proxies,
        normalize_path=wrappers_pb2.BoolValue(value=True),
        path_with_escaped_slashes_action=hcm_pb2.HttpConnectionManager.KEEP_UNCHANGED,
        strip_any_host_port=True,
        strip_trailing_host_dot=True,
        server_name="inference-gateway",
        request_headers_timeout=seconds(CLIENT_HEADERS_SECONDS),
        request_timeout=seconds(CLIENT_REQUEST_SECONDS),
        http2_protocol_options=protocol_pb2.Http2ProtocolOptions(
            max_concurrent_streams=wrappers_pb2.UInt32Value(value=MAX_CLIENT_STREAMS)
        ),
        stream_idle_timeout=seconds(data_plane.idle_seconds),
        common_http_protocol_options=protocol_pb2.HttpProtocolOptions(idle_timeout=seconds(3600)),
    )
    manager.access_log.append(log_of_limited())
    # Every log is told of what goes on, too.
    manager.access_log_options.access_log_flush_interval.CopyFrom(
        seconds(data_plane.lease_seconds / TOLD_IN_A_LEASE)
    )
    if data_plane.usage_log is not None:
        manager.access_log.append(usage_log())
    if data_plane.access_log:
        manager.access_log.append(access_log())
    if data_plane.traces is not None:
        manager.tracing.CopyFrom(tracing(data_plane.trace_percent))
    return manager


def _scoped_routes() -> hcm_pb2.ScopedRoutes:
    """Find a gateway's routes by host name: the cost of a change does not grow with the number of gateways."""
    builder = hcm_pb2.ScopedRoutes.ScopeKeyBuilder
    extractor = builder.FragmentBuilder.HeaderValueExtractor(name=":authority", index=0)
    return hcm_pb2.ScopedRoutes(
        name="hosts",
        scope_key_builder=builder(fragments=[builder.FragmentBuilder(header_value_extractor=extractor)]),
        rds_config_source=ads(),
        scoped_rds=hcm_pb2.ScopedRds(scoped_rds_config_source=ads()),
    )


def _without_internal_headers() -> extension_pb2.TypedExtensionConfig:
    """Drop what only we may say, before routes are chosen and filters run."""
    remove = mutation_rules_pb2.HeaderMutation.RemoveOnMatch
    mutations = [
        mutation_rules_pb2.HeaderMutation(
            remove_on_match=remove(key_matcher=string_pb2.StringMatcher(prefix=prefix))
        )
        for prefix in CLIENT_MAY_NOT_SEND
    ]
    return extension("igw.client-headers", header_mutation_pb2.HeaderMutation(mutations=mutations))
