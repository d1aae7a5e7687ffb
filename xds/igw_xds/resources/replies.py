"""Replies that the gateway makes itself, each an OpenAI error object (or OpenAI's list of models).

Envoy formats them: a route's direct response where the route knows the reason, else the listener's table of
local replies, chosen by Envoy's response code details.
"""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import base_pb2, substitution_format_string_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from google.protobuf import struct_pb2
from igw_model.openai import MISSING_MODEL, ApiError

from igw_xds.plan import PlannedGateway
from igw_xds.resources.filters import UNKNOWN_GATEWAY
from igw_xds.resources.messages import packed

RETRY_AFTER_SECONDS = 1

# Replies whose body is already right: our routes' direct responses, the refusals of extproc and of the scripts, and
# extauth's denials, but not what extauth's parser refuses of a request that Envoy let through.
KEPT = (
    "response.code_details in ['direct_response', 'lua_response'] || response.code_details.startsWith('igw_')"
    " || (response.code_details == 'ext_authz_denied' && 'content-type' in response.headers)"
)

NO_BODY = "response.code_details == 'cluster_not_found' && response.code == 404 && request.size == 0"
"""No body, which extproc is not asked about, so the model is not known: the route that waits for it was the last."""

BY_REASON: tuple[tuple[str, ApiError], ...] = (
    (
        f"response.code_details in ['route_not_found', 'rbac_access_denied_matched_policy[{UNKNOWN_GATEWAY}]']",
        ApiError(404, "unknown_gateway", "No gateway is served under this host name."),
    ),
    (
        "response.code_details.startsWith('rbac_access_denied')",
        ApiError(403, "address_not_allowed", "Your address may not use this gateway."),
    ),
    (
        "response.code_details.startsWith('ext_authz_error')",
        ApiError(503, "auth_unavailable", "Your token could not be checked now. Try again soon."),
    ),
    (
        "response.code_details.startsWith('ext_proc')",
        ApiError(
            503, "routing_unavailable", "The model could not be read from your request now. Try again soon."
        ),
    ),
    (
        "response.code_details == 'overload'",
        ApiError(503, "overloaded", "The gateway has too much to do now. Try again soon."),
    ),
    (
        "response.code == 501",
        ApiError(400, "bad_request", "The gateway knows no transfer coding but chunked."),
    ),
    (
        "response.code_details == 'absolute_path_rejected'",
        ApiError(400, "bad_request", "The gateway could not read the request."),
    ),
)
"""Where Envoy names the reason. The status is set too: the RBAC filter can only say 403, and an ext_proc that
does not answer in time is 504 to Envoy."""

BY_STATUS: tuple[tuple[str, ApiError], ...] = (
    ("== 413", ApiError(413, "request_too_large", "The request's body is too large.")),
    (
        "== 503",
        ApiError(503, "no_ready_replica", "No replica of the model could take the request. Try again soon."),
    ),
    ("== 408", ApiError(408, "timeout", "The request did not arrive in time.")),
    ("== 504", ApiError(504, "timeout", "The model server did not answer in time.")),
    (">= 500", ApiError(500, "internal_error", "The gateway could not answer.")),
    (">= 400", ApiError(400, "bad_request", "The gateway could not read the request.")),
)
"""All else that Envoy refuses; its status stays."""


def local_replies() -> hcm_pb2.LocalReplyConfig:
    """Give the listener's table of local replies."""
    kept = _text_mapper(KEPT, "%LOCAL_REPLY_BODY%")
    no_body = _text_mapper(NO_BODY, MISSING_MODEL.body().decode())
    no_body.status_code.value = MISSING_MODEL.status
    by_reason = [_error_mapper(expression, error) for expression, error in BY_REASON]
    for mapper, (_, error) in zip(by_reason, BY_REASON, strict=True):
        mapper.status_code.value = error.status
    by_status = [_error_mapper(f"response.code {condition}", error) for condition, error in BY_STATUS]
    return hcm_pb2.LocalReplyConfig(mappers=[kept, no_body, *by_reason, *by_status])


def error_route(match: route_components_pb2.RouteMatch, error: ApiError) -> route_components_pb2.Route:
    """Give a route that answers with an error; its message may hold Envoy's format operators."""
    return route_components_pb2.Route(
        match=match,
        direct_response=route_components_pb2.DirectResponseAction(
            status=error.status, body_format=_error_format(error)
        ),
        response_headers_to_add=_retry_after(error.status),
    )


def model_list_action(gateway: PlannedGateway) -> route_components_pb2.DirectResponseAction:
    """Give OpenAI's list of the models that the gateway serves now (API reference, "List models").

    `created` is 0: definitions carry no time, and equal definitions must give equal resources.
    """
    data = [
        {"id": model.name, "object": "model", "created": 0, "owned_by": gateway.policy.organization}
        for model in gateway.models
        if model.shares
    ]
    body = json.dumps({"object": "list", "data": data}, ensure_ascii=False)
    return route_components_pb2.DirectResponseAction(status=200, body=base_pb2.DataSource(inline_string=body))


@lru_cache(maxsize=4096)
def _error_format(error: ApiError) -> substitution_format_string_pb2.SubstitutionFormatString:
    """Format an error; most gateways have the same few."""
    return _json_format(error.document())


def _error_mapper(expression: str, error: ApiError) -> hcm_pb2.ResponseMapper:
    mapper = _mapper(expression)
    mapper.body_format_override.CopyFrom(_json_format(error.document()))
    mapper.headers_to_add.extend(_retry_after(error.status))
    return mapper


def _text_mapper(expression: str, text: str) -> hcm_pb2.ResponseMapper:
    mapper = _mapper(expression)
    mapper.body_format_override.text_format_source.inline_string = text
    mapper.body_format_override.content_type = "application/json"
    return mapper


def _mapper(expression: str) -> hcm_pb2.ResponseMapper:
    cel = cel_pb2.ExpressionFilter(expression=expression)
    by_expression = accesslog_pb2.ExtensionFilter(
        name="envoy.access_loggers.extension_filters.cel", typed_config=packed(cel)
    )
    return hcm_pb2.ResponseMapper(filter=accesslog_pb2.AccessLogFilter(extension_filter=by_expression))


def _json_format(document: Mapping[str, Any]) -> substitution_format_string_pb2.SubstitutionFormatString:
    """Format a JSON object; operators in its strings are filled in and escaped by Envoy."""
    body = struct_pb2.Struct()
    body.update(document)
    return substitution_format_string_pb2.SubstitutionFormatString(json_format=body)


def _retry_after(status: int) -> Iterable[base_pb2.HeaderValueOption]:
    if status != 503:
        return []
    header = base_pb2.HeaderValue(key="retry-after", value=str(RETRY_AFTER_SECONDS))
    return [
        base_pb2.HeaderValueOption(
            header=header, append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
        )
    ]
