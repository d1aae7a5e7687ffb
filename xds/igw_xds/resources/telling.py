"""What Envoy tells of requests while and after it serves them: logs, spans. Nothing here holds up a request."""

from typing import Any

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import grpc_service_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.config.trace.v3 import http_tracer_pb2, opentelemetry_pb2
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType
from envoy.extensions.access_loggers.grpc.v3 import als_pb2
from envoy.extensions.access_loggers.stream.v3 import stream_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.type.matcher.v3 import metadata_pb2, value_pb2
from envoy.type.tracing.v3 import custom_tag_pb2
from envoy.type.v3 import percent_pb2
from google.protobuf import struct_pb2, wrappers_pb2
from igw_model import headers
from xds.type.v3 import typed_struct_pb2

from igw_xds import names
from igw_xds.resources.filters import EXT_AUTHZ, USAGE
from igw_xds.resources.messages import packed
from igw_xds.resources.metadata import DEPLOYMENT, GATEWAY, MODEL, NAMESPACE, REPORTS

TOLD_IN_A_LEASE = 4
"""How often extauth is told of a request before its slot is given to another."""
USAGE_SECONDS = 1
"""How long usage may wait for more, to be told in one batch; an Envoy that is killed loses so much."""
USAGE_BYTES = 32 * 1024
"""What is not waited for. Envoy sends again what has at most 64 KiB."""
USAGE_KEPT_SECONDS = 3600
"""How long a batch is sent again that the collector does not take."""

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

# What callers choose is cut: a batch that grows beyond what Envoy sends again would be lost.
_USED = {
    "start": "%START_TIME(%s.%6f)%",
    "request_id": "%REQ(X-REQUEST-ID):128%",
    "connection": "%CONNECTION_ID%",
    "stream": "%STREAM_ID%",
    "gateway": f"%METADATA(VIRTUAL_HOST:{NAMESPACE}:{GATEWAY})%",
    "reports": f"%METADATA(VIRTUAL_HOST:{NAMESPACE}:{REPORTS})%",
    "model": f"%METADATA(ROUTE:{NAMESPACE}:{MODEL})%",
    "deployment": f"%UPSTREAM_METADATA({NAMESPACE}:{DEPLOYMENT})%",
    "organization": f"%REQ({headers.ORGANIZATION}):1024%",
    "principal": f"%REQ({headers.PRINCIPAL}):1024%",
    "entity": f"%REQ({headers.ENTITY}):1024%",
    "project": f"%REQ({headers.PROJECT}):3072%",
    "path": "%PATH(NQ):256%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "duration_ms": "%DURATION%",
    "first_byte_us": "%COMMON_DURATION(DS_RX_END:DS_TX_BEG:us)%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "usage": f"%DYNAMIC_METADATA({USAGE})%",
}


def access_log() -> accesslog_pb2.AccessLog:
    """Log one JSON object a request, at its end: no token but a short hash of it, no query."""
    fields = struct_pb2.Struct()
    fields.update(_ACCESS_LOG)
    output = stream_pb2.StdoutAccessLog()
    output.log_format.json_format.CopyFrom(fields)
    return accesslog_pb2.AccessLog(
        name="envoy.access_loggers.stdout", filter=_at_the_end(), typed_config=packed(output)
    )


def log_of_limited() -> accesslog_pb2.AccessLog:
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
            grpc_service=_told(names.EXTAUTH_LOG_CLUSTER),
            buffer_size_bytes=wrappers_pb2.UInt32Value(value=0),
        ),
        additional_request_headers_to_log=[headers.PROJECT],
    )
    return accesslog_pb2.AccessLog(
        name="envoy.access_loggers.http_grpc",
        filter=accesslog_pb2.AccessLogFilter(metadata_filter=holds_slot),
        typed_config=packed(config),
    )


def usage_log() -> accesslog_pb2.AccessLog:
    """Tell the collector of each request that extauth let in, at its end, at least once.

    OpenTelemetry's log sends a batch with a call that is answered, and again when it is not; Envoy's own sends them
    into a stream, and what is on its way when the stream ends is lost.
    """
    # As a struct: xds-protos does not know these fields yet, and those that it knows are to be removed from Envoy.
    config = typed_struct_pb2.TypedStruct(
        type_url="type.googleapis.com/envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig"
    )
    config.value.update(
        {
            "log_name": "igw-usage",
            "grpc_service": _until_it_is_taken(names.USAGE_LOG_CLUSTER),
            "buffer_flush_interval": f"{USAGE_SECONDS}s",
            "buffer_size_bytes": USAGE_BYTES,
            "attributes": {"values": [_text(key, value) for key, value in _USED.items()]},
        }
    )
    admitted = accesslog_pb2.HeaderFilter(
        header=route_components_pb2.HeaderMatcher(name=headers.PRINCIPAL, present_match=True)
    )
    both = accesslog_pb2.AndFilter(
        filters=[_at_the_end(), accesslog_pb2.AccessLogFilter(header_filter=admitted)]
    )
    return accesslog_pb2.AccessLog(
        name="envoy.access_loggers.open_telemetry",
        filter=accesslog_pb2.AccessLogFilter(and_filter=both),
        typed_config=packed(config),
    )


def tracing(percent: float) -> hcm_pb2.HttpConnectionManager.Tracing:
    """Send spans by OpenTelemetry; a caller's `traceparent` decides where there is one, and goes on."""
    config = opentelemetry_pb2.OpenTelemetryConfig(
        grpc_service=_told(names.TRACES_CLUSTER), service_name="inference-gateway"
    )
    return hcm_pb2.HttpConnectionManager.Tracing(
        provider=http_tracer_pb2.Tracing.Http(
            name="envoy.tracers.opentelemetry", typed_config=packed(config)
        ),
        random_sampling=percent_pb2.Percent(value=percent),
        spawn_upstream_span=wrappers_pb2.BoolValue(value=True),
        custom_tags=[
            custom_tag_pb2.CustomTag(tag=tag, value=f"%METADATA({kind}:{NAMESPACE}:{key})%")
            for tag, kind, key in (
                ("igw.gateway", "VIRTUAL_HOST", GATEWAY),
                ("gen_ai.request.model", "ROUTE", MODEL),
            )
        ],
    )


def _at_the_end() -> accesslog_pb2.AccessLogFilter:
    """A log is told of what goes on, too, as often as the one of limited requests is."""
    at_the_end = accesslog_pb2.LogTypeFilter(types=[AccessLogType.DownstreamEnd])
    return accesslog_pb2.AccessLogFilter(log_type_filter=at_the_end)


def _told(cluster: str) -> grpc_service_pb2.GrpcService:
    return grpc_service_pb2.GrpcService(
        envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=cluster)
    )


def _until_it_is_taken(cluster: str) -> dict[str, Any]:
    """Give the gRPC service of a cluster that is called again and again, as long as a batch is kept."""
    return {
        "envoy_grpc": {"cluster_name": cluster},
        "timeout": f"{USAGE_KEPT_SECONDS}s",
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset,unavailable,resource-exhausted",
            "num_retries": 100_000,
            "retry_back_off": {"base_interval": "0.1s", "max_interval": "2s"},
        },
    }


def _text(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"string_value": value}}
