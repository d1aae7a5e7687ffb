"""The HTTP filters of the shared listener, in order, and what a gateway or route says to each.

Every filter is on in the chain and each gateway's routes configure or switch off those that they need:
a filter that is `disabled` in the chain stays off for a host name whose spelling was put right on the way
(docs/decisions/0002), and authentication must never depend on being switched on.
"""

from collections.abc import Iterable

from envoy.config.core.v3 import backoff_pb2, base_pb2, grpc_service_pb2, http_uri_pb2
from envoy.config.rbac.v3 import rbac_pb2 as rules_pb2
from envoy.extensions.common.matching.v3 import extension_matcher_pb2
from envoy.extensions.filters.common.matcher.action.v3 import skip_action_pb2
from envoy.extensions.filters.http.buffer.v3 import buffer_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.http.ext_proc.v3 import ext_proc_pb2, processing_mode_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.matching.common_inputs.network.v3 import network_inputs_pb2
from envoy.extensions.matching.input_matchers.metadata.v3 import metadata_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.type.matcher.v3 import http_inputs_pb2, string_pb2, value_pb2
from envoy.type.v3 import http_status_pb2
from google.protobuf import any_pb2, wrappers_pb2
from google.protobuf.message import Message
from igw_model import headers
from igw_model.policy import Policy, policy_extensions, policy_text
from xds.core.v3 import extension_pb2
from xds.type.matcher.v3 import matcher_pb2
from xds.type.matcher.v3 import regex_pb2 as xds_regex_pb2
from xds.type.matcher.v3 import string_pb2 as xds_string_pb2

from igw_xds import names
from igw_xds.resources.messages import packed, seconds
from igw_xds.settings import AuthTransport, DataPlane

HOST = "igw.host"
USAGE = "igw.usage"
"""The filter, and the metadata that it makes."""
RBAC = "envoy.filters.http.rbac"
EXT_AUTHZ = "envoy.filters.http.ext_authz"
EXT_PROC = "envoy.filters.http.ext_proc"
BUFFER = "envoy.filters.http.buffer"

Predicate = matcher_pb2.Matcher.MatcherList.Predicate.SinglePredicate

# A check may wait for the identity authority (5 s); a body of the largest size is parsed well within this.
AUTH_TIMEOUT_SECONDS = 10
EXT_PROC_TIMEOUT_SECONDS = 5
NAMESPACE = "igw"
POLICY_KEY = "policy"
UNKNOWN_GATEWAY = "unknown-gateway"
"""The policy that refuses a host name without a gateway; Envoy names it in the response code details."""

# Compiled, it would end Envoy on a host that forbids code made at run time (MemoryDenyWriteExecute), and be no faster.
_LOWER_CASE_HOST = """\
jit.off()
function envoy_on_request(handle)
  local headers = handle:headers()
  headers:replace(":authority", string.lower(headers:get(":authority")))
  handle:clearRouteCache()
end
"""


# The answer goes on as it comes; json_to_metadata and sse_to_metadata would hold a JSON answer back, refuse one larger
# than the buffer with 500, and miss usage in large events. No text in JSON passes for the key: its quotes are escaped.
_TOKENS_USED = """\
jit.off()
local KEY, MOST = '"usage"', 4096
local UNFINISHED = {"^%s*$", "^%s*:%s*$", "^%s*:%s*{"}
local COUNTS = {"prompt_tokens", "completion_tokens", "total_tokens"}

local function may_go_on(text, from)
  if #text - from > MOST then return false end
  for _, pattern in ipairs(UNFINISHED) do
    if string.find(text, pattern, from) ~= nil then return true end
  end
  return false
end

function envoy_on_request(handle)
  handle:headers():remove("accept-encoding")
end

function envoy_on_response(handle)
  local rest, used = "", nil
  for chunk in handle:bodyChunks() do
    local text = rest .. chunk:getBytes(0, chunk:length())
    rest = string.sub(text, 1 - #KEY)
    local at = string.find(text, KEY, 1, true)
    while at ~= nil do
      local object = string.match(text, "^%s*:%s*(%b{})", at + #KEY)
      if object ~= nil then
        used = object
      elseif may_go_on(text, at + #KEY) then
        rest = string.sub(text, at)
      end
      at = string.find(text, KEY, at + #KEY, true)
    end
  end
  if used == nil then return end
  local metadata = handle:streamInfo():dynamicMetadata()
  for _, name in ipairs(COUNTS) do
    local count = tonumber(string.match(used, '"' .. name .. '"%s*:%s*(%d+)'))
    if count ~= nil then metadata:set("USAGE", name, count) end
  end
end
""".replace("USAGE", USAGE)


def http_filters(data_plane: DataPlane) -> list[hcm_pb2.HttpFilter]:
    """Give the chain: host spelling, addresses, authentication, tokens used, the body's model, size, router."""
    return [
        _filter(HOST, _host_spelling()),
        _filter(RBAC, rbac_pb2.RBAC(rules=_nobody())),
        _filter(EXT_AUTHZ, _ext_authz(data_plane)),
        _filter(USAGE, _tokens_used()),
        _filter(EXT_PROC, _ext_proc()),
        _filter(
            BUFFER,
            buffer_pb2.Buffer(max_request_bytes=wrappers_pb2.UInt32Value(value=data_plane.max_body_bytes)),
        ),
        _filter("envoy.filters.http.router", router_pb2.Router()),
    ]


def per_gateway(
    policy: Policy, source_ranges: Iterable[str], data_plane: DataPlane, *, reads_body: bool
) -> dict[str, any_pb2.Any]:
    """Give what one gateway's routes say to the filters."""
    ranges = list(source_ranges)
    admitted = rbac_pb2.RBACPerRoute(rbac=rbac_pb2.RBAC(rules=_only_from(ranges)) if ranges else None)
    configs = {RBAC: packed(admitted)}
    if data_plane.auth_transport is AuthTransport.GRPC:
        settings = ext_authz_pb2.CheckSettings(context_extensions=policy_extensions(policy))
        configs[EXT_AUTHZ] = packed(ext_authz_pb2.ExtAuthzPerRoute(check_settings=settings))
    if not reads_body:
        configs[EXT_PROC] = packed(body_not_read())
    return configs


def gateway_metadata(policy: Policy) -> base_pb2.Metadata:
    """Give the virtual host's metadata, from which checks over HTTP take the policy.

    The filter's own per-route `http_service` would say it too, and is made anew for each request: a tenth of
    what Envoy does for one.
    """
    metadata = base_pb2.Metadata()
    metadata.filter_metadata[NAMESPACE].update({POLICY_KEY: policy_text(policy)})
    return metadata


def body_not_read() -> ext_proc_pb2.ExtProcPerRoute:
    """Leave a gateway's or a route's requests without ext_proc."""
    return ext_proc_pb2.ExtProcPerRoute(disabled=True)


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
    return _lua_unless(
        _LOWER_CASE_HOST,
        Predicate(
            input=extension_pb2.TypedExtensionConfig(name="host", typed_config=packed(host)),
            value_match=is_lower,
        ),
    )


def _tokens_used() -> extension_matcher_pb2.ExtensionWithMatcher:
    """Read the tokens used off the answers to requests that hold a slot; all others are left alone.

    It is decided here and not by a gateway's routes: a host name in upper case must not pass uncounted.
    """
    segment = network_inputs_pb2.DynamicMetadataInput.PathSegment(key=headers.LEASE)
    lease = network_inputs_pb2.DynamicMetadataInput(filter=EXT_AUTHZ, path=[segment])
    absent = metadata_pb2.Metadata(value=value_pb2.ValueMatcher(present_match=True), invert=True)
    return _lua_unless(
        _TOKENS_USED,
        Predicate(
            input=extension_pb2.TypedExtensionConfig(name="lease", typed_config=packed(lease)),
            custom_match=extension_pb2.TypedExtensionConfig(name="absent", typed_config=packed(absent)),
        ),
    )


def _lua_unless(source: str, skipped: Predicate) -> extension_matcher_pb2.ExtensionWithMatcher:
    """Give a script that runs for the requests that are not `skipped`."""
    lua = lua_pb2.Lua(default_source_code=base_pb2.DataSource(inline_string=source))
    matchers = matcher_pb2.Matcher.MatcherList
    skip = extension_pb2.TypedExtensionConfig(name="skip", typed_config=packed(skip_action_pb2.SkipFilter()))
    matcher = matcher_pb2.Matcher(
        matcher_list=matchers(
            matchers=[
                matchers.FieldMatcher(
                    predicate=matchers.Predicate(single_predicate=skipped),
                    on_match=matcher_pb2.Matcher.OnMatch(action=skip),
                )
            ]
        )
    )
    wrapped = extension_matcher_pb2.ExtensionWithMatcher(xds_matcher=matcher)
    wrapped.extension_config.name = "envoy.filters.http.lua"
    wrapped.extension_config.typed_config.CopyFrom(packed(lua))
    return wrapped


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
    policy = base_pb2.HeaderValue(
        key=headers.POLICY, value=f"%METADATA(VIRTUAL_HOST:{NAMESPACE}:{POLICY_KEY})%"
    )
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
        retry_policy=_another_instance(),
    )
    response = service.authorization_response
    response.allowed_upstream_headers.patterns.extend(map(_exactly, upstream))
    response.allowed_client_headers.patterns.extend([*map(_exactly, client), limits])
    response.allowed_client_headers_on_success.patterns.append(limits)
    response.dynamic_metadata_from_headers.patterns.extend(map(_exactly, (headers.LEASE, headers.TOKEN)))
    return service


def _ext_proc() -> ext_proc_pb2.ExternalProcessor:
    """Send the headers and then the whole body; the headers must wait, or the route is picked without it."""
    mode = processing_mode_pb2.ProcessingMode
    return ext_proc_pb2.ExternalProcessor(
        grpc_service=_grpc_service(names.EXTPROC_CLUSTER, None),
        processing_mode=mode(
            request_header_mode=mode.SEND,
            request_body_mode=mode.BUFFERED,
            request_trailer_mode=mode.SKIP,
            response_header_mode=mode.SKIP,
            response_body_mode=mode.NONE,
            response_trailer_mode=mode.SKIP,
        ),
        message_timeout=seconds(EXT_PROC_TIMEOUT_SECONDS),
        status_on_error=http_status_pb2.HttpStatus(code=http_status_pb2.ServiceUnavailable),
        stat_prefix="igw",
        forward_rules=ext_proc_pb2.HeaderForwardingRules(
            allowed_headers=string_pb2.ListStringMatcher(
                patterns=[_exactly("content-type"), _exactly("content-encoding")]
            )
        ),
    )


def _another_instance() -> base_pb2.RetryPolicy:
    """Ask another instance where one is gone, or goes while it is asked: asking twice changes nothing.

    What Envoy calls the longest pause between tries is also the longest that one try may take.
    """
    policy = base_pb2.RetryPolicy(
        retry_on="connect-failure,refused-stream,reset",
        num_retries=wrappers_pb2.UInt32Value(value=3),
        retry_back_off=backoff_pb2.BackoffStrategy(
            base_interval=seconds(0.025), max_interval=seconds(AUTH_TIMEOUT_SECONDS)
        ),
        host_selection_retry_max_attempts=20,
    )
    policy.retry_host_predicate.add(
        name="envoy.retry_host_predicates.previous_hosts",
        typed_config=packed(previous_hosts_pb2.PreviousHostsPredicate()),
    )
    return policy


def _grpc_service(cluster: str, timeout_seconds: float | None) -> grpc_service_pb2.GrpcService:
    service = grpc_service_pb2.GrpcService(
        envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=cluster),
        retry_policy=_another_instance(),
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
