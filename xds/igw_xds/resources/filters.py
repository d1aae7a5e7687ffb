"""The HTTP filters of the shared listener, in order, and what a gateway or route says to each.

Every filter is on in the chain, and authentication must never depend on being switched on. A gateway's routes configure
what they need and keep what they do not need from being made at all. A host name whose spelling is put right on the way
has no route when the chain is made, so all filters are there, and do nothing for a route that wants nothing of them
(docs/decisions/0002).
"""

from collections.abc import Iterable
from typing import assert_never

from envoy.config.core.v3 import base_pb2, grpc_service_pb2, http_uri_pb2
from envoy.config.rbac.v3 import rbac_pb2 as rules_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.common.matching.v3 import extension_matcher_pb2
from envoy.extensions.filters.http.buffer.v3 import buffer_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.http.ext_proc.v3 import ext_proc_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.type.matcher.v3 import http_inputs_pb2, string_pb2
from envoy.type.v3 import http_status_pb2
from google.protobuf import any_pb2, wrappers_pb2
from google.protobuf.message import Message
from igw_model import headers
from igw_model.gateway import BodyBasedRouting
from igw_model.policy import policy_extensions, policy_text
from xds.core.v3 import extension_pb2
from xds.type.matcher.v3 import regex_pb2 as xds_regex_pb2
from xds.type.matcher.v3 import string_pb2 as xds_string_pb2

from igw_xds import names
from igw_xds.plan import PlannedGateway
from igw_xds.resources.body import (
    BODY,
    ProcessingMode,
    body_script,
    model_header,
    only_forms,
    reads,
    whole_body,
)
from igw_xds.resources.matching import Predicate, Single, unless, unmarked
from igw_xds.resources.messages import packed, seconds
from igw_xds.resources.metadata import GATEWAY, NAMESPACE, POLICY, REPORTS, metadata
from igw_xds.resources.scripts import FILTER, script
from igw_xds.settings import MIB, AuthTransport, BodyRouting, DataPlane, StreamUsage

HOST = "igw.host"
USAGE = "igw.usage"
"""The filter, and the metadata that it makes."""
RBAC = "envoy.filters.http.rbac"
EXT_AUTHZ = "envoy.filters.http.ext_authz"
EXT_PROC = "envoy.filters.http.ext_proc"
BUFFER = "envoy.filters.http.buffer"
MODEL = "igw.model"
"""The filter that puts the model which extproc read into the header that routes match."""

_NOT_MADE = packed(route_components_pb2.FilterConfig(disabled=True))
_BODY_NOT_READ = {
    EXT_PROC: packed(ext_proc_pb2.ExtProcPerRoute(disabled=True)),
    BODY: packed(lua_pb2.LuaPerRoute(disabled=True)),
}

# A check may wait for the identity authority (5 s).
AUTH_TIMEOUT_SECONDS = 10
EXT_PROC_TIMEOUT_SECONDS = 5
"""For a body of `EXT_PROC_BYTES`, or a shorter one: several at once are read well within this."""
EXT_PROC_BYTES = 16 * MIB
UNKNOWN_GATEWAY = "unknown-gateway"
"""The policy that refuses a host name without a gateway; Envoy names it in the response code details."""


def http_filters(data_plane: DataPlane) -> list[hcm_pb2.HttpFilter]:
    """Give the chain: host spelling, addresses, authentication, tokens used, the body, its size, its model, router."""
    return [
        _filter(HOST, _host_spelling()),
        _filter(RBAC, rbac_pb2.RBAC(rules=_nobody())),
        _filter(EXT_AUTHZ, _ext_authz(data_plane)),
        _filter(USAGE, _tokens_used(data_plane)),
        _filter(BODY, body_script()),
        *_body_read_outside(data_plane),
        _filter(
            BUFFER,
            buffer_pb2.Buffer(max_request_bytes=wrappers_pb2.UInt32Value(value=data_plane.max_body_bytes)),
        ),
        *([_filter(MODEL, model_header())] if data_plane.body_routing is BodyRouting.EXTPROC else []),
        _filter("envoy.filters.http.router", router_pb2.Router(suppress_envoy_headers=True)),
    ]


def per_gateway(gateway: PlannedGateway, data_plane: DataPlane) -> dict[str, any_pb2.Any]:
    """Give what one gateway's routes say to the filters."""
    ranges = gateway.source_ranges
    admitted = rbac_pb2.RBACPerRoute(rbac=rbac_pb2.RBAC(rules=_only_from(ranges)) if ranges else None)
    configs = {RBAC: packed(admitted), HOST: _NOT_MADE}
    if data_plane.auth_transport is AuthTransport.GRPC:
        settings = ext_authz_pb2.CheckSettings(context_extensions=policy_extensions(gateway.policy))
        configs[EXT_AUTHZ] = packed(ext_authz_pb2.ExtAuthzPerRoute(check_settings=settings))
    if not _is_looked_through(gateway, data_plane):
        configs[USAGE] = _NOT_MADE
    inside = _body_read_inside(gateway, data_plane)
    configs[BODY] = packed(inside) if inside else _NOT_MADE
    configs.update(_body_read_whole(gateway, data_plane.body_routing))
    return configs


def headers_read_outside() -> dict[str, any_pb2.Any]:
    """Send the headers of a route's requests to extproc before the body, also where their gateway does without it."""
    overrides = ext_proc_pb2.ExtProcOverrides(processing_mode=whole_body(ProcessingMode.SEND))
    return {EXT_PROC: packed(ext_proc_pb2.ExtProcPerRoute(overrides=overrides))}


def gateway_metadata(gateway: PlannedGateway) -> base_pb2.Metadata:
    """Give the virtual host's metadata, from which checks over HTTP take the policy, and the usage log the gateway.

    The filter's own per-route `http_service` would say the policy too, and is made anew for each request: a tenth of
    what Envoy does for one.
    """
    said = {POLICY: policy_text(gateway.policy), GATEWAY: gateway.id}
    if gateway.reports_usage:
        said[REPORTS] = "true"
    return metadata(**said)


def body_not_read() -> dict[str, any_pb2.Any]:
    """Leave a route's requests without looking into their bodies, whatever its gateway says."""
    return dict(_BODY_NOT_READ)


def _filter(name: str, config: Message) -> hcm_pb2.HttpFilter:
    return hcm_pb2.HttpFilter(name=name, typed_config=packed(config))


def _host_spelling() -> extension_matcher_pb2.ExtensionWithMatcher:
    """Lower the case of the host name; skipped for requests that need nothing, which are nearly all."""
    is_lower = xds_string_pb2.StringMatcher(
        safe_regex=xds_regex_pb2.RegexMatcher(
            google_re2=xds_regex_pb2.RegexMatcher.GoogleRE2(), regex="[^A-Z]*"
        )
    )
    host = http_inputs_pb2.HttpRequestHeaderMatchInput(header_name=":authority")
    lower = Single(
        input=extension_pb2.TypedExtensionConfig(name="host", typed_config=packed(host)), value_match=is_lower
    )
    return unless(Predicate(single_predicate=lower), script("host"), FILTER)


def _body_read_outside(data_plane: DataPlane) -> list[hcm_pb2.HttpFilter]:
    match data_plane.body_routing:
        case BodyRouting.EXTPROC:
            return [_filter(EXT_PROC, _ext_proc(data_plane.max_body_bytes))]
        case BodyRouting.AUTO:
            return [_filter(EXT_PROC, only_forms(_ext_proc(data_plane.max_body_bytes), EXT_PROC))]
        case BodyRouting.NATIVE:
            return []
        case other:
            assert_never(other)


def _body_read_inside(gateway: PlannedGateway, data_plane: DataPlane) -> lua_pb2.LuaPerRoute | None:
    """Give what the script is to read of one gateway's requests."""
    routing = data_plane.body_routing
    return reads(
        model=isinstance(gateway.routing, BodyBasedRouting) and routing is not BodyRouting.EXTPROC,
        stream_usage=_is_looked_through(gateway, data_plane) and _counted(gateway, data_plane.stream_usage),
        leaves_forms=routing is BodyRouting.AUTO,
    )


def _body_read_whole(gateway: PlannedGateway, routing: BodyRouting) -> dict[str, any_pb2.Any]:
    """Give what is said to the filters that hold a whole body.

    The script holds the headers too, as it must: the router picks the route when they pass. An ext_proc that skips
    them does not, so the buffer does, and what extproc tells of the body is made a header behind it.
    """
    by_body = isinstance(gateway.routing, BodyBasedRouting)
    if routing is BodyRouting.EXTPROC:
        return {} if by_body else {EXT_PROC: _BODY_NOT_READ[EXT_PROC], MODEL: _NOT_MADE}
    configs = {BUFFER: _NOT_MADE} if by_body else {}
    if routing is BodyRouting.AUTO:
        configs[EXT_PROC] = _NOT_MADE
    return configs


def _is_looked_through(gateway: PlannedGateway, data_plane: DataPlane) -> bool:
    """Tell whether answers to a gateway's requests pass the script that reads usage and hides what nobody asked for."""
    return gateway.policy.limited or data_plane.usage_log is not None


def _counted(gateway: PlannedGateway, of: StreamUsage) -> bool:
    match of:
        case StreamUsage.ALL:
            return True
        case StreamUsage.AUTO:
            return gateway.reports_usage or gateway.policy.limited
        case StreamUsage.OFF:
            return False
        case other:
            assert_never(other)


def _tokens_used(data_plane: DataPlane) -> Message:
    """Read the tokens used off the answers: off all of them for a usage log, else those to requests that hold a slot.

    It is decided here and not by a gateway's routes: a host name in upper case must not pass uncounted.
    """
    if data_plane.usage_log is not None:
        return script("usage")
    return unless(unmarked(EXT_AUTHZ, headers.LEASE), script("usage"), FILTER)


def _ext_authz(data_plane: DataPlane) -> ext_authz_pb2.ExtAuthz:
    """Ask extauth, closed on failure; where no gateway says what to hold a request to, it denies."""
    config = ext_authz_pb2.ExtAuthz(
        transport_api_version="V3",
        status_on_error=http_status_pb2.HttpStatus(code=http_status_pb2.ServiceUnavailable),
        validate_mutations=True,
        stat_prefix="igw",
    )
    match data_plane.auth_transport:
        case AuthTransport.HTTP:
            config.http_service.CopyFrom(_http_service())
        case AuthTransport.GRPC:
            config.grpc_service.CopyFrom(_grpc_service(names.EXTAUTH_CLUSTER, AUTH_TIMEOUT_SECONDS))
            config.allowed_headers.patterns.append(_exactly("authorization"))
    config.allowed_headers.patterns.append(_exactly(headers.OPENAI_PROJECT))
    return config


def _http_service() -> ext_authz_pb2.HttpService:
    policy = base_pb2.HeaderValue(key=headers.POLICY, value=f"%METADATA(VIRTUAL_HOST:{NAMESPACE}:{POLICY})%")
    upstream = [headers.PRINCIPAL, headers.ORGANIZATION, headers.ENTITY, headers.PROJECT]
    client = ["content-type", "retry-after", "www-authenticate"]
    limits = string_pb2.StringMatcher(prefix="x-ratelimit-")
    service = ext_authz_pb2.HttpService(
        server_uri=http_uri_pb2.HttpUri(
            uri=f"http://{names.EXTAUTH_CLUSTER}",
            cluster=names.EXTAUTH_CLUSTER,
            timeout=seconds(AUTH_TIMEOUT_SECONDS),
        ),
        authorization_request=ext_authz_pb2.AuthorizationRequest(headers_to_add=[policy]),
    )
    response = service.authorization_response
    response.allowed_upstream_headers.patterns.extend(map(_exactly, upstream))
    response.allowed_client_headers.patterns.extend([*map(_exactly, client), limits])
    response.allowed_client_headers_on_success.patterns.append(limits)
    response.dynamic_metadata_from_headers.patterns.extend(map(_exactly, (headers.LEASE, headers.TOKEN)))
    return service


def _ext_proc(max_body_bytes: int) -> ext_proc_pb2.ExternalProcessor:
    """Send the whole body; a route whose requests' headers say how to read it sends them before."""
    receiving = ext_proc_pb2.MetadataOptions.MetadataNamespaces(untyped=[headers.MODEL_METADATA])
    return ext_proc_pb2.ExternalProcessor(
        grpc_service=_grpc_service(names.EXTPROC_CLUSTER, None),
        processing_mode=whole_body(ProcessingMode.SKIP),
        metadata_options=ext_proc_pb2.MetadataOptions(receiving_namespaces=receiving),
        message_timeout=seconds(EXT_PROC_TIMEOUT_SECONDS * max(1, max_body_bytes / EXT_PROC_BYTES)),
        status_on_error=http_status_pb2.HttpStatus(code=http_status_pb2.ServiceUnavailable),
        stat_prefix="igw",
        forward_rules=ext_proc_pb2.HeaderForwardingRules(
            allowed_headers=string_pb2.ListStringMatcher(
                patterns=[_exactly("content-type"), _exactly("content-encoding")]
            )
        ),
    )


def _grpc_service(cluster: str, timeout_seconds: float | None) -> grpc_service_pb2.GrpcService:
    service = grpc_service_pb2.GrpcService(
        envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=cluster)
    )
    if timeout_seconds is not None:
        service.timeout.CopyFrom(seconds(timeout_seconds))
    return service


def _nobody() -> rules_pb2.RBAC:
    """Refuse what no gateway's routes admit. Envoy's ext_authz lets a request without a route pass."""
    policy = rules_pb2.Policy(
        permissions=[rules_pb2.Permission(any=True)], principals=[rules_pb2.Principal(any=True)]
    )
    return rules_pb2.RBAC(action=rules_pb2.RBAC.DENY, policies={UNKNOWN_GATEWAY: policy})


def _only_from(ranges: Iterable[str]) -> rules_pb2.RBAC:
    principals = []
    for network in ranges:
        address, _, length = network.partition("/")
        principal = rules_pb2.Principal()
        principal.remote_ip.address_prefix = address
        principal.remote_ip.prefix_len.value = int(length)
        principals.append(principal)
    anything = [rules_pb2.Permission(any=True)]
    policy = rules_pb2.Policy(permissions=anything, principals=principals)
    return rules_pb2.RBAC(action=rules_pb2.RBAC.ALLOW, policies={"allowed-source-ip-ranges": policy})


def _exactly(text: str) -> string_pb2.StringMatcher:
    return string_pb2.StringMatcher(exact=text)
