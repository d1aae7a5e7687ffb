"""Envoy's ext_authz over gRPC: ``envoy.service.auth.v3.Authorization/Check``.

Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/auth/v3/external_auth.proto
"""

from http import HTTPStatus
from typing import Any

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2
from google.rpc import code_pb2, status_pb2
from igw_model.policy import policy_of_extensions

from igw_extauth.answer import Answer
from igw_extauth.attempt import Attempt, bearer_token
from igw_extauth.check import Check

SERVICE = "envoy.service.auth.v3.Authorization"

_CODES: dict[int, int] = {
    HTTPStatus.OK: code_pb2.OK,
    HTTPStatus.UNAUTHORIZED: code_pb2.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: code_pb2.PERMISSION_DENIED,
    HTTPStatus.NOT_FOUND: code_pb2.NOT_FOUND,
    HTTPStatus.SERVICE_UNAVAILABLE: code_pb2.UNAVAILABLE,
}


def grpc_server(check: Check) -> grpc.aio.Server:
    """Make the gRPC server that answers checks; ports are added by the caller."""

    async def answered(request: Any, _context: grpc.aio.ServicerContext) -> Any:
        return response(await check(attempt(request)))

    method = grpc.unary_unary_rpc_method_handler(
        answered,
        request_deserializer=external_auth_pb2.CheckRequest.FromString,
        response_serializer=external_auth_pb2.CheckResponse.SerializeToString,
    )
    # Without this a second process could take the same port, and half the checks, in silence.
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {"Check": method})])
    return server


def attempt(request: Any) -> Attempt:
    """Read a CheckRequest; Envoy has joined several ``Authorization`` headers by commas."""
    attributes = request.attributes
    value = attributes.request.http.headers.get("authorization")
    policy = policy_of_extensions(attributes.context_extensions)
    return Attempt(policy, bearer_token([] if value is None else [value]))


def response(answer: Answer) -> external_auth_pb2.CheckResponse:
    """Give an answer as a CheckResponse."""
    status = status_pb2.Status(code=_CODES[answer.status])
    headers = _headers(answer)
    if answer.status == HTTPStatus.OK:
        ok = external_auth_pb2.OkHttpResponse(headers=headers)
        return external_auth_pb2.CheckResponse(status=status, ok_response=ok)
    denied = external_auth_pb2.DeniedHttpResponse(
        status={"code": answer.status}, headers=headers, body=answer.body.decode()
    )
    return external_auth_pb2.CheckResponse(status=status, denied_response=denied)


def _headers(answer: Answer) -> list[base_pb2.HeaderValueOption]:
    overwrite = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    headers = [{"key": name.decode(), "value": value.decode()} for name, value in answer.headers]
    return [base_pb2.HeaderValueOption(header=header, append_action=overwrite) for header in headers]
