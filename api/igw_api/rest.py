"""REST/JSON over the operations: paths and verbs to methods, bodies and queries to documents.

Source: docs/inference-api.md, sections 1 and 3. Replicas, events, proxies and usage are this project's extension.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from igw_model.document import FieldError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from igw_api.body import json_object
from igw_api.caller import Authenticate, Operation
from igw_api.document import identifier
from igw_api.failure import Code, RefusedError
from igw_api.methods import Method
from igw_api.refusal import invalid
from igw_api.reply import json_reply, refusal_reply

BASE = "/v1alpha1/inference"
MAX_BODY_BYTES = 1024 * 1024
REPEATED = {"gatewayIds"}
"""Query parameters that are lists."""
CALLED = "igw.method"
"""Where the scope says which method was called, for the access log."""

Verbs = Mapping[str, Method]

TABLE: Mapping[str, Verbs] = {
    "/gateways": {"GET": Method.LIST_GATEWAYS, "POST": Method.CREATE_GATEWAY},
    "/gateways/parameters": {"GET": Method.GET_GATEWAY_PARAMETERS},
    "/gateways/{id}": {
        "GET": Method.GET_GATEWAY,
        "PATCH": Method.UPDATE_GATEWAY,
        "DELETE": Method.DELETE_GATEWAY,
    },
    "/deployments": {"GET": Method.LIST_DEPLOYMENTS, "POST": Method.CREATE_DEPLOYMENT},
    "/deployments/parameters": {"GET": Method.GET_DEPLOYMENT_PARAMETERS},
    "/deployments/{id}": {
        "GET": Method.GET_DEPLOYMENT,
        "PATCH": Method.UPDATE_DEPLOYMENT,
        "DELETE": Method.DELETE_DEPLOYMENT,
    },
    "/deployments/{id}/replicas": {"GET": Method.LIST_REPLICAS},
    "/deployments/{id}/replicas/{name}": {"PUT": Method.PUT_REPLICA, "DELETE": Method.DELETE_REPLICA},
    "/capacityclaims": {"GET": Method.LIST_CAPACITY_CLAIMS, "POST": Method.CREATE_CAPACITY_CLAIM},
    "/capacityclaims/parameters": {"GET": Method.GET_CAPACITY_CLAIM_PARAMETERS},
    "/capacityclaims/{id}": {
        "GET": Method.GET_CAPACITY_CLAIM,
        "PATCH": Method.UPDATE_CAPACITY_CLAIM,
        "DELETE": Method.DELETE_CAPACITY_CLAIM,
    },
    "/events": {"GET": Method.LIST_EVENTS},
    "/usage": {"GET": Method.GET_USAGE},
    "/proxies": {"GET": Method.LIST_PROXIES},
    "/proxies/{id}": {"GET": Method.GET_PROXY},
    "/proxies/{id}/resources": {"GET": Method.LIST_PROXY_RESOURCES},
    "/proxies/{id}/resources/{type}/{name:path}": {"GET": Method.GET_PROXY_RESOURCE},
}
"""Path templates, those with fixed segments before those with parameters; a `path` may have slashes in it."""


def rest_routes(call: Operation, authenticate: Authenticate) -> list[BaseRoute]:
    """Give the routes of all methods."""
    return [Route(BASE + path, _Path(verbs, call, authenticate)) for path, verbs in TABLE.items()]


class _BodyError(Exception):
    """A body that is refused before it is read, with HTTP's own status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class _Path:
    """One path, an ASGI app: Starlette's own routes know only the verbs of the first that matches."""

    verbs: Verbs
    call: Operation
    authenticate: Authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if not scope["path"].isprintable():  # the router's patterns let a line break pass at the end
            raise HTTPException(HTTPStatus.NOT_FOUND)
        request = Request(scope, receive)
        response = await self._answer(request)
        if request.method == "HEAD":
            response.body = b""
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        method = self.verbs.get("GET" if request.method == "HEAD" else request.method)
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"allow": self._allowed()})
        if method is None:
            message = f"{request.method} is not a method of this path"
            return refusal_reply(RefusedError(Code.UNIMPLEMENTED, message), status=405, allow=self._allowed())
        request.scope[CALLED] = method
        try:
            return await self._called(method, request)
        except RefusedError as refused:
            return refusal_reply(refused)
        except _BodyError as error:
            return refusal_reply(RefusedError(Code.INVALID_ARGUMENT, str(error)), status=error.status)
        except ClientDisconnect:
            return Response(status_code=499)

    async def _called(self, method: Method, request: Request) -> Response:
        caller = await self.authenticate(request.headers.getlist("authorization"))
        document = await _document(request)
        answer = await self.call(method, caller, document)
        if method.startswith("List"):
            return await asyncio.to_thread(json_reply, answer)  # thousands of objects take their time
        return json_reply(answer)

    def _allowed(self) -> str:
        head = ["HEAD"] if "GET" in self.verbs else []
        return ", ".join(sorted([*self.verbs, *head, "OPTIONS"]))


async def _document(request: Request) -> dict[str, Any]:
    query = _query(request.query_params.multi_items())
    errors = [FieldError(key, "unknown field") for key in query if key in request.path_params]
    if request.method in {"POST", "PATCH", "PUT"}:
        errors += [FieldError(key, "unknown field") for key in query if key not in request.path_params]
        document = json_object(await _body(request))
        errors += _contradictions(document, request.path_params)
    else:
        document = query
    if errors:
        raise invalid(errors)
    return {**document, **request.path_params}


def _query(items: Iterable[tuple[str, str]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for key, value in items:
        if key in REPEATED:
            document.setdefault(key, []).append(value)
        elif key in document:
            raise invalid([FieldError(key, "must be given once")])
        else:
            document[key] = value
    return document


def _contradictions(document: Mapping[str, Any], path: Mapping[str, str]) -> list[FieldError]:
    """Name what a body says otherwise than its path; to say it again is allowed."""
    return [
        FieldError(key, "must be left out, or be the one in the path")
        for key, value in path.items()
        if (sent := document.get(key)) is not None
        and sent != value
        and (identifier(sent) is None or identifier(sent) != identifier(value))
    ]


async def _body(request: Request) -> bytes:
    _check_media_type(request.headers)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _BodyError(413, f"the body must have at most {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _check_media_type(headers: Headers) -> None:
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise _BodyError(415, "the body must not be compressed")
    media_type = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise _BodyError(415, "the body must be application/json")
