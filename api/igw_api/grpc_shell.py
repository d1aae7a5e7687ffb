"""gRPC over the operations: every method of every service, found in the descriptors, on a port of its own.

Bytes go through `messages`; a refusal becomes a gRPC status, with its details as google.rpc.Status in the metadata
`grpc-status-details-bin` (github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, "Status-Details").
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import grpc.aio
import structlog
from google.rpc.status_pb2 import Status
from igw_ops.listening import GrpcServer, add_grpc_port

from igw_api.caller import Authenticate, Operation
from igw_api.connect_wire import MESSAGE_BYTES, too_large
from igw_api.details import packed
from igw_api.failure import Code, Detail, RefusedError
from igw_api.messages import PROCEDURES, Procedure, document, message
from igw_api.methods import Method
from igw_api.metrics import CALL_SECONDS, CALLS

log = structlog.get_logger(__name__)

OPTIONS = (
    # Up to here a request over our own bound gets our own answer, which clients do not try again.
    ("grpc.max_receive_message_length", 4 * MESSAGE_BYTES),
    ("grpc.max_send_message_length", -1),  # lists have no pages
    ("grpc.max_concurrent_streams", 100),
    ("grpc.so_reuseport", 0),  # a second control plane on the port is an error, not a coin toss
)

STATUS: Mapping[Code, grpc.StatusCode] = {
    Code.INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    Code.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Code.PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    Code.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Code.ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Code.FAILED_PRECONDITION: grpc.StatusCode.FAILED_PRECONDITION,
    Code.RESOURCE_EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.UNIMPLEMENTED: grpc.StatusCode.UNIMPLEMENTED,
    Code.INTERNAL: grpc.StatusCode.INTERNAL,
    Code.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}

TEXT_CHARACTERS = 500
TEXT_BYTES = 1000
"""Of UTF-8; on the wire each may be percent-encoded, as three."""
STATUS_BYTES = 3 * 1024
"""Clients take 8 KiB of metadata in all; beyond that they see no status at all, so we cut ours short."""


async def serve(
    call: Operation,
    authenticate: Authenticate,
    host: str,
    port: int,
    tls: grpc.ServerCredentials | None = None,
) -> GrpcServer:
    """Listen and serve. Raises CannotListenError."""
    server = grpc.aio.server(options=OPTIONS)
    shell = _Shell(call, authenticate)
    for service, procedures in groupby(PROCEDURES, key=lambda procedure: procedure.service):
        server.add_generic_rpc_handlers((shell.service(service, procedures),))
    bound = add_grpc_port(server, "api, gRPC", host, port, tls)
    await server.start()
    log.info("api server listening", transport="grpc", address=f"{host}:{bound}")
    return GrpcServer(bound, server)


@dataclass(frozen=True, slots=True)
class _Shell:
    call: Operation
    authenticate: Authenticate

    def service(self, name: str, procedures: Iterable[Procedure]) -> grpc.GenericRpcHandler:
        """Give gRPC's table of a service; messages stay bytes, so that malformed ones get our answer."""
        methods = {
            procedure.method.value: grpc.unary_unary_rpc_method_handler(self._method(procedure))
            for procedure in procedures
        }
        return grpc.method_handlers_generic_handler(name, methods)

    def _method(self, procedure: Procedure) -> Any:
        async def answer(data: bytes, context: grpc.aio.ServicerContext) -> bytes:
            begun, status_name = time.perf_counter(), grpc.StatusCode.CANCELLED.name
            try:
                outcome = await self._outcome(procedure, data, context)
                status_name = "OK" if isinstance(outcome, bytes) else STATUS[outcome.code].name
            finally:
                _told(procedure.method, status_name, time.perf_counter() - begun)
            if isinstance(outcome, bytes):
                return outcome
            status = status_of(outcome)
            metadata = (("grpc-status-details-bin", status.SerializeToString(deterministic=True)),)
            await context.abort(STATUS[outcome.code], status.message, metadata)
            raise AssertionError("abort raises")

        return answer

    async def _outcome(
        self, procedure: Procedure, data: bytes, context: grpc.aio.ServicerContext
    ) -> bytes | RefusedError:
        try:
            return await self._answer(procedure, data, context)
        except RefusedError as refused:
            return refused
        except Exception:
            log.exception("call failed", transport="grpc", method=procedure.method)
            return RefusedError(Code.INTERNAL, "internal error")

    async def _answer(self, procedure: Procedure, data: bytes, context: grpc.aio.ServicerContext) -> bytes:
        if len(data) > MESSAGE_BYTES:
            raise too_large()
        metadata = context.invocation_metadata() or ()
        caller = await self.authenticate([value for key, value in metadata if key == "authorization"])
        # In threads, since a message of many small parts and a list of thousands take their time.
        asked = await asyncio.to_thread(document, procedure, data)
        answer = await self.call(procedure.method, caller, asked)
        return await asyncio.to_thread(message, procedure, answer)


def _told(method: Method, status: str, seconds: float) -> None:
    """Log and count a call as HTTP's access log does; no token, message or answer is in it."""
    CALLS.labels(method, status).inc()
    CALL_SECONDS.labels(method, status).observe(seconds)
    milliseconds = round(seconds * 1000, 3)
    log.info("call", transport="grpc", method=method, status=status, milliseconds=milliseconds)


def status_of(refused: RefusedError) -> Status:
    """Give a refusal as google.rpc.Status, with the text and as many details as the metadata has room for."""
    details: Sequence[Detail] = refused.details
    text = _shortened(refused.message)
    while True:
        number = STATUS[refused.code].value[0]
        status = Status(code=number, message=text, details=packed(details))
        if not details or status.ByteSize() <= STATUS_BYTES:
            return status
        details = details[: len(details) // 2]


def _shortened(text: str) -> str:
    if len(text) <= TEXT_CHARACTERS and len(text.encode()) <= TEXT_BYTES:
        return text
    kept = text[: TEXT_CHARACTERS - 1].encode()[: TEXT_BYTES - len("…".encode())]
    return f"{kept.decode(errors='ignore')}…"
