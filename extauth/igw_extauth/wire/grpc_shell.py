"""Envoy's ext_authz over gRPC, ``envoy.service.auth.v3.Authorization/Check``, and beside it Envoy's access log.

What is remembered is answered before the next event of the loop; what must be asked for is waited for in a task.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/auth/v3/external_auth.proto
"""

import asyncio
import socket
from collections.abc import Callable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import structlog
from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, status_pb2
from igw_model.headers import OPENAI_PROJECT
from igw_model.policy import policy_of_extensions
from igw_ops.grpc.call import Call, Limits, Stream
from igw_ops.grpc.server import Server, serve_on
from igw_ops.grpc.wire import GrpcStatus
from igw_ops.guard import Guard

from igw_extauth.answer import Answer, Headers
from igw_extauth.attempt import Attempt, bearer_token, project_text
from igw_extauth.check import Check, Claim
from igw_extauth.keeper import Keeper
from igw_extauth.wire import access_log
from igw_extauth.wire.access_log import LogStream

METHOD = "/envoy.service.auth.v3.Authorization/Check"
LIMITS = Limits(connections=4_000, streams=1000, message_bytes=256 * 1024)
"""A check has the headers of one request, of which Envoy reads 60 KiB; a message of the access log some 16 KiB. Each
thread of an Envoy has a connection or two."""
REMEMBERED_RESPONSES = 10_000
LATE_CALLS_SECONDS = 0.2
"""How long calls begun before Envoy heard that we end may take to arrive."""

_CODES: dict[int, int] = {
    HTTPStatus.OK: code_pb2.OK,
    HTTPStatus.BAD_REQUEST: code_pb2.INVALID_ARGUMENT,
    HTTPStatus.UNAUTHORIZED: code_pb2.UNAUTHENTICATED,
    HTTPStatus.PAYMENT_REQUIRED: code_pb2.RESOURCE_EXHAUSTED,
    HTTPStatus.FORBIDDEN: code_pb2.PERMISSION_DENIED,
    HTTPStatus.NOT_FOUND: code_pb2.NOT_FOUND,
    HTTPStatus.TOO_MANY_REQUESTS: code_pb2.RESOURCE_EXHAUSTED,
    HTTPStatus.SERVICE_UNAVAILABLE: code_pb2.UNAVAILABLE,
}


class GrpcServer:
    """The gRPC server that answers checks and reads access logs."""

    def __init__(self, check: Check, keeper: Keeper) -> None:
        self._check = check
        self._keeper = keeper
        # Writing the same message anew costs more than finding it.
        self._message: Callable[[Answer], bytes] = lru_cache(REMEMBERED_RESPONSES)(message)
        self._asking: set[asyncio.Task[None]] = set()
        self._server: Server | None = None

    async def start(
        self, listening: socket.socket, *, shared_socket: bool = False, guard: Guard | None = None
    ) -> None:
        """Serve those who come to a socket that listens; with `shared_socket`, other processes do too."""
        self._server = await serve_on(
            self._opened, listening, LIMITS, shared_socket=shared_socket, guard=guard
        )

    async def stop(self, grace_seconds: float) -> None:
        """Take no more, answer what is under way for as long as `grace_seconds`, then hang up."""
        server, self._server = self._server, None
        if server is None:
            return
        now = asyncio.get_running_loop().time
        end = now() + grace_seconds
        server.send_away()
        if server.connections:
            await asyncio.sleep(min(LATE_CALLS_SECONDS, grace_seconds))
        if self._asking:
            await asyncio.wait(self._asking, timeout=max(0, end - now()))
        await server.close(max(0, end - now()))

    def _opened(self, stream: Stream) -> Call | None:
        if stream.path == METHOD:
            return _Question(stream, self._check, self._message, self._asking)
        return LogStream(stream, self._keeper) if stream.path == access_log.METHOD else None


class _Question:
    """One call of `Check` (`igw_ops.grpc.call.Call`)."""

    __slots__ = ("_asked", "_asking", "_check", "_message", "_task", "_wire")

    def __init__(
        self,
        wire: Stream,
        check: Check,
        message: Callable[[Answer], bytes],
        asking: set[asyncio.Task[None]],
    ) -> None:
        self._wire = wire
        self._check = check
        self._message = message
        self._asking = asking
        self._asked = False
        self._task: asyncio.Task[None] | None = None

    def receive(self, message: bytes) -> None:
        """Answer at once, or begin to ask."""
        if self._asked:
            return
        self._asked = True
        try:
            asked = attempt(external_auth_pb2.CheckRequest.FromString(message))
        except DecodeError:
            self._wire.end(GrpcStatus.INVALID_ARGUMENT, "not a CheckRequest")
            return
        claim = self._check.claim(asked)
        answer = self._check.remembered(claim)
        if answer is None:
            self._task = asyncio.get_running_loop().create_task(self._ask(claim, asked))
            self._asking.add(self._task)
            self._task.add_done_callback(self._asking.discard)
        else:
            self._answer(self._message(answer))

    def writable(self) -> None:
        """Nothing waits here."""

    def half_closed(self) -> None:
        """Refuse a call without a question; one that is asked is answered in its time."""
        if not self._asked:
            self._wire.end(GrpcStatus.INVALID_ARGUMENT, "no CheckRequest")

    def ended(self) -> None:
        """Wait no more; what is asked goes on for others."""
        if self._task is not None:
            self._task.cancel()

    async def _ask(self, claim: Claim, asked: Attempt) -> None:
        try:
            answer = await self._check(claim, lambda: asked.token)
        except Exception:  # noqa: BLE001 - a fault of ours; Envoy must hear of it, and denies what has no answer
            structlog.get_logger().exception("check_failed")
            self._wire.end(GrpcStatus.INTERNAL, "the check failed")
        else:
            self._answer(message(answer))  # not kept: with a lease it is like no other

    def _answer(self, content: bytes) -> None:
        self._wire.send(content)
        self._wire.end()


def attempt(request: Any) -> Attempt:
    """Read a CheckRequest; Envoy has joined several headers of one name by commas."""
    attributes = request.attributes
    headers = attributes.request.http.headers
    policy = policy_of_extensions(attributes.context_extensions)
    return Attempt(
        policy,
        bearer_token(_values(headers, "authorization")),
        project_text([_as_bytes(value) for value in _values(headers, OPENAI_PROJECT)]),
    )


def _values(headers: Mapping[str, str], name: str) -> list[str]:
    value = headers.get(name)
    return [] if value is None else [value]


def _as_bytes(value: str) -> str:
    """Give a header's bytes as HTTP's shells give them: a name outside ASCII is then the same for all."""
    return value.encode().decode("latin-1")


def message(answer: Answer) -> bytes:
    """Give an answer as the bytes of a CheckResponse."""
    return response(answer).SerializeToString()


def response(answer: Answer) -> external_auth_pb2.CheckResponse:
    """Give an answer as a CheckResponse."""
    status = status_pb2.Status(code=_CODES[answer.status])
    headers = _options(answer.headers)
    if answer.status != HTTPStatus.OK:
        denied = external_auth_pb2.DeniedHttpResponse(
            status={"code": answer.status}, headers=headers, body=answer.body.decode()
        )
        return external_auth_pb2.CheckResponse(status=status, denied_response=denied)
    ok = external_auth_pb2.OkHttpResponse(headers=headers, response_headers_to_add=_options(answer.client))
    told = external_auth_pb2.CheckResponse(status=status, ok_response=ok)
    for name, value in answer.metadata:
        told.dynamic_metadata.fields[name.decode()].string_value = value.decode()
    return told


def _options(headers: Headers) -> list[base_pb2.HeaderValueOption]:
    overwrite = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    pairs = [{"key": name.decode(), "value": value.decode()} for name, value in headers]
    return [base_pb2.HeaderValueOption(header=pair, append_action=overwrite) for pair in pairs]
