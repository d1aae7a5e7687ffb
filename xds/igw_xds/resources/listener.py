"""The one listener that all gateways share.

It depends on the data plane's settings alone: no gateway and no deployment changes it, so no change of those
drains a connection.
"""

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import extension_pb2, grpc_service_pb2, protocol_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType
from envoy.extensions.access_loggers.grpc.v3 import als_pb2
from envoy.extensions.access_loggers.stream.v3 import stream_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2
from envoy.type.matcher.v3 import metadata_pb2, string_pb2, value_pb2
from google.protobuf import struct_pb2, wrappers_pb2
from igw_model import headers

from igw_xds import names
from igw_xds.resources.filters import EXT_AUTHZ, http_filters
from igw_xds.resources.messages import ads, extension, packed, seconds, socket_address
from igw_xds.resources.replies import local_replies
from igw_xds.settings import MIB, DataPlane

# A WSGI server reads X_Igw_Principal and X-Igw-Principal as one header, so all spellings go. Prefixes, for one regular
# expression in their place costs Envoy a twentieth of what it does for a request.
CLIENT_MAY_NOT_SEND = [f"x{a}{name}{b}" for name in ("igw", "envoy") for a in "-_" for b in "-_"]
CLIENT_HEADERS_SECONDS = 30
CLIENT_REQUEST_SECONDS = 300
"""For the whole request to arrive, body too; the answer may take as long as it streams."""
MAX_CLIENT_STREAMS = 100
TOLD_IN_A_LEASE = 4
"""How often extauth is told of a request before its slot is given to another."""

_ACCESS_LOG = {
    "time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "host": "%REQ(:AUTHORITY)%",
    "path": "%PATH(NQ)%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
    "upstream": "%UPSTREAM_CLUSTER_RAW%",
    "replica": "%UPSTREAM_HOST%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "principal": "%REQ(X-IGW-PRINCIPAL)%",
    "entity": "%REQ(X-IGW-ENTITY)%",
    "project": "%REQ(X-IGW-PROJECT)%",
    "token": f"%DYNAMIC_METADATA({EXT_AUTHZ}:{headers.TOKEN})%",
    "request_id": "%REQ(X-REQUEST-ID)%",
}


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
    manager.access_log.append(_log_of_limited())
    # Every log is told of what goes on, too.
    manager.access_log_options.access_log_flush_interval.CopyFrom(
        seconds(data_plane.lease_seconds / TOLD_IN_A_LEASE)
    )
    if data_plane.access_log:
        manager.access_log.append(_access_log())
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


def _access_log() -> accesslog_pb2.AccessLog:
    """Log one JSON object a request, at its end: no token but a short hash of it, no query."""
    fields = struct_pb2.Struct()
    fields.update(_ACCESS_LOG)
    output = stream_pb2.StdoutAccessLog()
    output.log_format.json_format.CopyFrom(fields)
    at_the_end = accesslog_pb2.LogTypeFilter(types=[AccessLogType.DownstreamEnd])
    return accesslog_pb2.AccessLog(
        name="envoy.access_loggers.stdout",
        filter=accesslog_pb2.AccessLogFilter(log_type_filter=at_the_end),
        typed_config=packed(output),
    )


def _log_of_limited() -> accesslog_pb2.AccessLog:
    """Tell extauth at once of each request that holds a slot, as it goes on and when it ends, with the tokens used."""
    segment = metadata_pb2.MetadataMatcher.PathSegment(key=headers.LEASE)
    lease = metadata_pb2.MetadataMatcher(
        filter=EXT_AUTHZ, path=[segment], value=value_pb2.ValueMatcher(present_match=True)
    )
    holds_slot = accesslog_pb2.MetadataFilter(
        matcher=lease, match_if_key_not_found=wrappers_pb2.BoolValue(value=False)
    )
    config = als_pb2.HttpGrpcAccessLogConfig(
        common_config=als_pb2.CommonGrpcAccessLogConfig(
            log_name="igw",
            transport_api_version="V3",
            grpc_service=grpc_service_pb2.GrpcService(
                envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=names.EXTAUTH_LOG_CLUSTER)
            ),
            buffer_size_bytes=wrappers_pb2.UInt32Value(value=0),
        ),
        additional_request_headers_to_log=[headers.PROJECT],
    )
    return accesslog_pb2.AccessLog(
        name="envoy.access_loggers.http_grpc",
        filter=accesslog_pb2.AccessLogFilter(metadata_filter=holds_slot),
        typed_config=packed(config),
    )
