"""The API's transports as one: a method, a document and a token in; what a client of that transport reads out.

Requests and answers in binary go through the messages of the .proto files, so a document may be compared between all.
"""

import base64
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import grpc.aio
import httpx
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, PreconditionFailure, ResourceInfo
from google.rpc.status_pb2 import Status
from igw_api.caller import Authenticate
from igw_api.connect import connect_routes
from igw_api.failure import Code
from igw_api.grpc_shell import serve
from igw_api.http_server import app
from igw_api.messages import PROCEDURES, Procedure
from igw_api.methods import Method
from igw_api.operations import Operations
from igw_ops.listening import listening_socket
from igw_ops.server import serving

DETAILS: dict[str, type[Message]] = {
    kind.DESCRIPTOR.full_name: kind for kind in (BadRequest, PreconditionFailure, ResourceInfo)
}
BY_METHOD = {procedure.method: procedure for procedure in PROCEDURES}


@dataclass(frozen=True, slots=True)
class Failed:
    """What a client reads of a refusal; `status` is HTTP's, where the transport has one."""

    code: str
    message: str
    details: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """What a client was told: the answer's document or the failure, and HTTP's status (None: there is none)."""

    outcome: dict[str, Any] | Failed
    status: int | None


class Transport(Protocol):
    """One way to call."""

    async def ask(self, method: Method, document: Mapping[str, Any], token: str) -> Told:
        """Call a method."""


@dataclass(frozen=True, slots=True)
class Rest:
    """REST: a verb and a path, the document as the body or the query."""

    client: httpx.AsyncClient

    async def ask(self, method: Method, document: Mapping[str, Any], token: str) -> Told:
        """Call a method."""
        verb, path = rest_target(method, document.get("id", ""))
        rest = {key: value for key, value in document.items() if key != "id" or verb == "POST"}
        sent: dict[str, Any] = {"json": rest} if verb in {"POST", "PATCH"} else {"params": rest}
        answer = await self.client.request(verb, path, headers=bearer(token), **sent)
        return from_json(answer)


@dataclass(frozen=True, slots=True)
class ConnectJson:
    """Connect with JSON."""

    client: httpx.AsyncClient

    async def ask(self, method: Method, document: Mapping[str, Any], token: str) -> Told:
        """Call a method."""
        path = BY_METHOD[method].path
        return from_json(await self.client.post(path, json=document, headers=bearer(token)))


@dataclass(frozen=True, slots=True)
class ConnectBinary:
    """Connect with protobuf's wire format."""

    client: httpx.AsyncClient

    async def ask(self, method: Method, document: Mapping[str, Any], token: str) -> Told:
        """Call a method."""
        procedure = BY_METHOD[method]
        headers = bearer(token) | {"content-type": "application/proto"}
        answer = await self.client.post(procedure.path, content=written(procedure, document), headers=headers)
        return Told(read(procedure, answer.content), 200) if answer.status_code == 200 else from_json(answer)


@dataclass(frozen=True, slots=True)
class Grpc:
    """gRPC."""

    channel: grpc.aio.Channel

    async def ask(self, method: Method, document: Mapping[str, Any], token: str) -> Told:
        """Call a method."""
        procedure = BY_METHOD[method]
        metadata = tuple(bearer(token).items())
        try:
            call = self.channel.unary_unary(procedure.path)(written(procedure, document), metadata=metadata)
            return Told(read(procedure, await call), None)
        except grpc.aio.AioRpcError as error:
            return Told(_from_status(error), None)


def bearer(token: str) -> dict[str, str]:
    """Give the header of a token; none for an empty one."""
    return {"authorization": f"Bearer {token}"} if token else {}


def rest_target(method: Method, object_id: str) -> tuple[str, str]:
    """Give the verb and the path of a method over REST."""
    verbs = {"Create": "POST", "Get": "GET", "List": "GET", "Update": "PATCH", "Delete": "DELETE"}
    collections = {"Gateway": "gateways", "Deployment": "deployments", "CapacityClaim": "capacityclaims"}
    verb = next(verb for verb in verbs if method.startswith(verb))
    path = next(f"/v1alpha1/inference/{path}" for kind, path in collections.items() if kind in method)
    if method.endswith("Parameters"):
        return verbs[verb], f"{path}/parameters"
    return verbs[verb], path if verb in {"Create", "List"} else f"{path}/{object_id}"


def written(procedure: Procedure, document: Mapping[str, Any]) -> bytes:
    """Give a request as a client with the .proto files sends it; what they have no field for, it cannot say."""
    request = json_format.ParseDict(dict(document), procedure.request(), ignore_unknown_fields=True)
    return request.SerializeToString()


def read(procedure: Procedure, answer: bytes) -> dict[str, Any]:
    """Give an answer as a client with the .proto files reads it."""
    return json_format.MessageToDict(procedure.answer.FromString(answer))


def without_empties(value: Any) -> Any:
    """Give a document without its empty lists and maps of lists, which protobuf does not tell from absent ones."""
    match value:
        case dict():
            return {key: without_empties(item) for key, item in value.items() if item != []}
        case list():
            return [without_empties(item) for item in value]
        case _:
            return value


def from_json(answer: httpx.Response) -> Told:
    """Read an answer in JSON, of REST or Connect."""
    body = answer.json()
    assert answer.headers["content-type"] == "application/json"
    if answer.status_code == 200:
        return Told(body, 200)
    details = tuple(_detail(detail["type"], _unpadded(detail["value"])) for detail in body["details"])
    return Told(Failed(body["code"], body["message"], details), answer.status_code)


def _unpadded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))


def _from_status(error: grpc.aio.AioRpcError) -> Failed:
    metadata = error.trailing_metadata()
    assert metadata is not None
    status = Status.FromString(metadata["grpc-status-details-bin"])
    assert (status.code, status.message) == (error.code().value[0], error.details())
    details = tuple(_detail(packed.TypeName(), packed.value) for packed in status.details)
    return Failed(Code[error.code().name].value, status.message, details)


def _detail(kind: str, value: bytes) -> Message:
    return DETAILS[kind].FromString(value)


HTTP_TRANSPORTS: Mapping[str, Callable[[httpx.AsyncClient], Transport]] = {
    "rest": Rest,
    "connect-json": ConnectJson,
    "connect-binary": ConnectBinary,
}
TRANSPORTS = (*HTTP_TRANSPORTS, "grpc")


@asynccontextmanager
async def reached(
    transport: str, operations: Operations, authenticate: Authenticate
) -> AsyncIterator[Transport]:
    """Serve the operations on loopback and give a way to them."""
    if transport == "grpc":
        server = await serve(operations.call, authenticate, "127.0.0.1", 0)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield Grpc(channel)
        await server.stop(grace=0)
        return
    listening = listening_socket("test", "127.0.0.1", 0)
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    routes = connect_routes(operations.call, authenticate)
    served = serving(app(operations.call, authenticate, routes), listening)
    async with served, httpx.AsyncClient(base_url=address) as client:
        yield HTTP_TRANSPORTS[transport](client)
