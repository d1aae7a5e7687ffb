"""A gateway's route configuration: from a model's name to its deployments' shares.

One route configuration a gateway, found by its scope; nothing in it depends on another gateway.
"""

import re
from functools import cache
from typing import assert_never

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2
from google.protobuf import wrappers_pb2
from igw_model import headers
from igw_model.gateway import BodyBasedRouting, HeaderBasedRouting, PathBasedRouting
from igw_model.openai import ApiError

from igw_xds import names
from igw_xds.plan import PlannedGateway, PlannedModel
from igw_xds.resources import filters
from igw_xds.resources.clusters import fallback_orders
from igw_xds.resources.liveness import not_tried_before
from igw_xds.resources.messages import packed, seconds
from igw_xds.resources.metadata import metadata
from igw_xds.resources.replies import error_route, model_list_action
from igw_xds.settings import BodyRouting, DataPlane

Match = route_components_pb2.RouteMatch
Route = route_components_pb2.Route

MAX_MODEL_LIST_BYTES = 4 * 1024 * 1024
NO_CLUSTER_HEADER = headers.INTERNAL_PREFIX + "no-cluster"
# A credential for the gateway is no business of a model server's, and a WSGI server takes the two with underscores for
# the request's framing; the rest is our own.
NOT_FORWARDED = (
    "authorization",
    "proxy-authorization",
    "cookie",
    "content_length",
    "transfer_encoding",
    headers.MODEL,
)
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
_PATH_LITERALS = "!$&'()*+,;=:@"


def route_configuration(gateway: PlannedGateway, data_plane: DataPlane) -> route_pb2.RouteConfiguration:
    """Give one gateway's route configuration, of one virtual host for whatever name led here."""
    virtual_host = route_components_pb2.VirtualHost(
        name=names.routes(gateway.id),
        domains=["*"],
        routes=_routes(gateway, data_plane),
        typed_per_filter_config=filters.per_gateway(gateway, data_plane),
        metadata=filters.gateway_metadata(gateway),
        request_headers_to_remove=NOT_FORWARDED,
        request_body_buffer_limit=wrappers_pb2.UInt64Value(value=data_plane.max_body_bytes),
    )
    return route_pb2.RouteConfiguration(
        name=names.routes(gateway.id),
        virtual_hosts=[virtual_host],
        max_direct_response_body_size_bytes=wrappers_pb2.UInt32Value(value=MAX_MODEL_LIST_BYTES),
        response_headers_to_add=_http3_is_there(data_plane),
    )


def _http3_is_there(data_plane: DataPlane) -> list[base_pb2.HeaderValueOption]:
    """Tell clients where HTTP/3 is served (RFC 7838); they come over TCP first."""
    if data_plane.https is None or not data_plane.http3:
        return []
    header = base_pb2.HeaderValue(key="alt-svc", value=f'h3=":{data_plane.https_port}"; ma=86400')
    return [base_pb2.HeaderValueOption(header=header)]


def _routes(gateway: PlannedGateway, data_plane: DataPlane) -> list[Route]:
    match gateway.routing:
        case BodyBasedRouting():
            return [
                *_by_header(gateway, headers.MODEL, "model", data_plane),
                *_until_extproc_has_read_both(data_plane.body_routing),
                _until_the_body_is_read(),
            ]
        case HeaderBasedRouting(header_name=name):
            missing = ApiError(
                400, "missing_model", f"Name a model in the '{_plain(name)}' header.", _plain(name)
            )
            return [*_by_header(gateway, name, name, data_plane), error_route(Match(prefix="/"), missing)]
        case PathBasedRouting():
            return _by_path(gateway, data_plane)
        case other:
            assert_never(other)


def _by_header(gateway: PlannedGateway, header: str, param: str, data_plane: DataPlane) -> list[Route]:
    """Match the name in a header; on a body gateway extproc has put it there."""
    # A legal header name may hold a percent sign, which no format operator can.
    named = "" if "%" in header else f" '%REQ({header})%'"
    unknown = ApiError(404, "model_not_found", f"The model{named} does not exist.", _plain(param))
    return [
        _model_list(gateway),
        *(_model(_header_match(header, model.name), model, data_plane) for model in gateway.models),
        error_route(Match(prefix="/", headers=[_present(header)]), unknown),
    ]


@cache
def _until_the_body_is_read() -> Route:
    """Hold a request while extproc reads its body; extproc answers, or names a model and the route is chosen anew.

    It must be a route to a cluster, or the body buffer's limit of the virtual host does not count (Envoy takes
    it from the route entry, which a direct response has not). The header is never set, so the cluster never
    exists: whatever got here unread is refused.
    """
    action = route_components_pb2.RouteAction(
        cluster_header=NO_CLUSTER_HEADER,
        cluster_not_found_response_code=route_components_pb2.RouteAction.NOT_FOUND,
    )
    return Route(match=Match(prefix="/"), route=action)


@cache
def _until_extproc_has_read_both(routing: BodyRouting) -> list[Route]:
    """Do the same for what extproc needs the headers of: form data, and where it reads all, what is compressed."""
    kind = string_pb2.StringMatcher(prefix="multipart/", ignore_case=True)
    form = route_components_pb2.HeaderMatcher(name="content-type", string_match=kind)
    match routing:
        case BodyRouting.AUTO:
            told = [form]
        case BodyRouting.EXTPROC:
            told = [form, _present("content-encoding")]
        case BodyRouting.NATIVE:
            told = []
        case other:
            assert_never(other)
    return [_until_extproc_has_read(header) for header in told]


def _until_extproc_has_read(header: route_components_pb2.HeaderMatcher) -> Route:
    route = Route()
    route.CopyFrom(_until_the_body_is_read())
    route.match.headers.append(header)
    for name, config in filters.headers_read_outside().items():
        route.typed_per_filter_config[name].CopyFrom(config)
    return route


def _by_path(gateway: PlannedGateway, data_plane: DataPlane) -> list[Route]:
    unknown = ApiError(
        404, "model_not_found", "The model in the first segment of '%PATH(NQ)%' does not exist.", "model"
    )
    missing = ApiError(400, "missing_model", "Name a model in the first segment of the path.", "model")
    return [
        *(_path_model(model, data_plane) for model in gateway.models),
        error_route(Match(safe_regex=_regex("/[^/]+.*")), unknown),
        error_route(Match(prefix="/"), missing),
    ]


def _path_model(model: PlannedModel, data_plane: DataPlane) -> Route:
    route = _model(Match(safe_regex=_regex(f"/{encodings(model.name)}(?:/.*)?")), model, data_plane)
    if route.HasField("route"):
        route.route.regex_rewrite.pattern.CopyFrom(_regex("^/[^/]+/*"))
        route.route.regex_rewrite.substitution = "/"
    return route


def encodings(name: str) -> str:
    """Give a regular expression for every legal percent-encoding of a name as one path segment.

    Unreserved characters stand for themselves alone: Envoy's path normalisation has decoded them by then
    (RFC 3986, sections 2.1 and 2.3).
    """
    return "".join(_encodings(character) for character in name)


def _encodings(character: str) -> str:
    if _UNRESERVED.fullmatch(character):
        return re.escape(character)
    encoded = "".join(
        "%" + "".join(_either_case(digit) for digit in f"{byte:02X}") for byte in character.encode()
    )
    return f"(?:{re.escape(character)}|{encoded})" if character in _PATH_LITERALS else encoded


def _either_case(digit: str) -> str:
    return f"[{digit}{digit.lower()}]" if digit.isalpha() else digit


def _model_list(gateway: PlannedGateway) -> Route:
    """Answer the list of models without asking anyone; it has no body to read."""
    return Route(
        match=Match(path="/v1/models", headers=[_header(":method", "GET")]),
        direct_response=model_list_action(gateway),
        typed_per_filter_config=filters.body_not_read(),
    )


def _model(match: Match, model: PlannedModel, data_plane: DataPlane) -> Route:
    if not model.shares:
        text = f"No deployment of the model '{_plain(model.name)}' is enabled."
        route = error_route(match, ApiError(503, "no_ready_replica", text, "model"))
    else:
        route = Route(match=match, route=_action(model, data_plane))
    route.metadata.CopyFrom(metadata(model=model.name))
    return route


def _action(model: PlannedModel, data_plane: DataPlane) -> route_components_pb2.RouteAction:
    """Send to the shares; a response may take as long as it streams, and no longer idle than the limit."""
    action = route_components_pb2.RouteAction(
        timeout=seconds(0),
        idle_timeout=seconds(data_plane.idle_seconds),
        retry_policy=_retry_policy(split=len(model.shares) > 1),
    )
    orders = fallback_orders(model)
    if not orders:
        action.cluster = names.deployment_cluster(model.shares[0].deployment_id)
        return action
    for share, order in zip(model.shares, orders, strict=True):
        arm = action.weighted_clusters.clusters.add(name=names.split_cluster(order))
        arm.weight.value = share.weight
    return action


@cache
def _retry_policy(*, split: bool) -> route_components_pb2.RetryPolicy:
    """Try another replica where the first was not reached at all; a request that was sent is not repeated."""
    policy = route_components_pb2.RetryPolicy(
        retry_on="connect-failure,refused-stream,reset-before-request",
        num_retries=wrappers_pb2.UInt32Value(value=3),
        host_selection_retry_max_attempts=20,
    )
    policy.retry_host_predicate.append(not_tried_before())
    if split:
        policy.retry_priority.name = "envoy.retry_priorities.previous_priorities"
        policy.retry_priority.typed_config.CopyFrom(
            packed(previous_priorities_config_pb2.PreviousPrioritiesConfig(update_frequency=2))
        )
    return policy


def _header_match(header: str, value: str) -> Match:
    return Match(prefix="/", headers=[_header(header, value)])


def _header(name: str, value: str) -> route_components_pb2.HeaderMatcher:
    return route_components_pb2.HeaderMatcher(name=name, string_match=string_pb2.StringMatcher(exact=value))


def _present(name: str) -> route_components_pb2.HeaderMatcher:
    return route_components_pb2.HeaderMatcher(name=name, present_match=True)


def _regex(pattern: str) -> regex_pb2.RegexMatcher:
    return regex_pb2.RegexMatcher(regex=pattern)


def _plain(text: str) -> str:
    """Keep a definition's text from being read as a format operator."""
    return text.replace("%", "%%")
