"""The Connect protocol, unary, over the operations: POST (and GET for what only reads) of `/<service>/<method>`.

Our own shell: PyPI's connectrpc needs a second protobuf runtime beside Google's and cannot show our error details.
JSON is the operations' document as it is; binary goes through `messages`. Errors are JSON always.
"""

import asyncio
import gzip
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from igw_api import connect_wire as wire
from igw_api.body import json_object
from igw_api.caller import Authenticate, Operation
from igw_api.connect_wire import Codec
from igw_api.failure import Code, RefusedError
from igw_api.messages import PROCEDURES, Procedure, document, message
from igw_api.methods import PACKAGE
from igw_api.reply import refusal_reply

GZIP_FROM_BYTES = 1024
"""Smaller answers are sent as they are."""

CANCELLED = 499
"""Connect's status for a caller who left; nobody reads it."""


def connect_routes(call: Operation, authenticate: Authenticate) -> list[Route]:
    """Give the route that serves all services of the package."""
    shell = _Shell(call, authenticate, {procedure.path: procedure for procedure in PROCEDURES})
    return [Route(f"/{PACKAGE}.{{service}}/{{method}}", shell.serve, methods=["GET", "POST"])]


@dataclass(frozen=True, slots=True)
class _Shell:
    call: Operation
    authenticate: Authenticate
    procedures: dict[str, Procedure]

    async def serve(self, request: Request) -> Response:
        """Answer one request. Our own mistakes are raised: who logs calls answers those."""
        try:
            return await self._answer(request)
        except RefusedError as refused:
            return refusal_reply(refused, status=wire.HTTP_STATUS[refused.code])
        except ClientDisconnect:
            return Response(status_code=CANCELLED)

    async def _answer(self, request: Request) -> Response:
        procedure = self.procedures.get(request.scope["path"])
        if procedure is None:
            raise RefusedError(Code.UNIMPLEMENTED, "there is no such method")
        reads = request.method != "POST"
        if reads and not procedure.safe:
            return Response(status_code=405, headers={"allow": "POST"})
        codec = (
            wire.codec_of_query(request.query_params.get("encoding", ""))
            if reads
            else wire.codec_of_content(request.headers.get("content-type", ""))
        )
        if codec is None:
            return Response(status_code=415, headers={"accept-post": "application/json, application/proto"})
        timeout = asyncio.timeout(wire.seconds(request.headers.get("connect-timeout-ms")))
        try:
            async with timeout:
                answer = await self._called(procedure, codec, request)
        except TimeoutError:
            if timeout.expired():
                return _late()
            raise
        return await asyncio.to_thread(_answered, request, procedure, codec, answer)

    async def _called(self, procedure: Procedure, codec: Codec, request: Request) -> dict[str, Any]:
        caller = await self.authenticate(request.headers.getlist("authorization"))
        asked = await asyncio.to_thread(_document, procedure, codec, await _payload(request))
        return await self.call(procedure.method, caller, asked)


async def _payload(request: Request) -> bytes:
    if request.method != "POST":
        wire.check_version("connect", request.query_params.get("connect"), "v1")
        return wire.payload_of_query(request.query_params)
    version = "connect-protocol-version"
    wire.check_version(version, request.headers.get(version), "1")
    return wire.payload_of_body(await _body(request), request.headers.get("content-encoding"))


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > wire.MESSAGE_BYTES:
            raise wire.too_large()
    return bytes(body)


def _document(procedure: Procedure, codec: Codec, payload: bytes) -> dict[str, Any]:
    """Read a request; in a thread, since many small parts take their time."""
    match codec:
        case Codec.PROTO:
            return document(procedure, payload)
        case Codec.JSON:
            return json_object(payload)


def _answered(request: Request, procedure: Procedure, codec: Codec, answer: dict[str, Any]) -> Response:
    """Write an answer; in a thread, since a list of thousands takes its time."""
    match codec:
        case Codec.PROTO:
            body = message(procedure, answer)
        case Codec.JSON:
            body = msgspec.json.encode(answer)
    headers = {"content-type": codec.media_type, "vary": "accept-encoding", "cache-control": "no-store"}
    accepted = wire.gzip_accepted(
        request.headers.get("accept-encoding"), request.headers.get("content-encoding")
    )
    if accepted and len(body) >= GZIP_FROM_BYTES:
        body, headers["content-encoding"] = gzip.compress(body, compresslevel=1), "gzip"
    return Response(body, headers=headers)


def _late() -> Response:
    """Say what no operation says: the caller would not have waited so long."""
    text = "the call took longer than connect-timeout-ms"
    error = {"code": "deadline_exceeded", "message": text, "details": []}
    return Response(msgspec.json.encode(error), 504, media_type="application/json")
