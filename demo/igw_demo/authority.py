"""A local identity authority: answers as CoreWeave's whoami and W&B's GraphQL do, for tokens given to it.

Source: docs/inference-api.md, section 5; docs/limits.md for what W&B says of a project's limits, docs/usage.md for what
it is told of usage. It is for demos and tests; over `/demo/...` it is told of tokens and limits, made to misbehave, and
asked for the calls so far.
"""

import asyncio
import base64
import binascii
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from igw_demo.calls import Calls
from igw_demo.faults import REDIRECTED, Call, Faults, Unknowing, fault_of
from igw_demo.limits import LimitsChange, Projects
from igw_demo.misbehaving import misbehaving
from igw_demo.reports import Reports
from igw_demo.serving import serve
from igw_demo.tokens import CoreWeaveToken, DemoToken, WandbToken, kept_tokens, token_of

_REDIRECTED = "redirected"


@dataclass(frozen=True, slots=True)
class AuthoritySettings:
    """The file with the tokens (see `igw_demo.tokens`) and where the authority listens."""

    tokens_file: Path
    host: str = "127.0.0.1"
    port: int = 0
    service_token_file: Path | None = None
    """Holds the bearer token that may ask for limits and report usage; None: whoever comes may."""
    reports_file: Path | None = None
    """Keeps the usage reports that were taken (`igw_demo.reports`); None: they are forgotten at the end."""


class _TokenChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    add: list[Any] = []
    revoke: list[str] = []


class _ServiceToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    token: Annotated[str, Meta(min_length=1)] | None


async def serve_authority(settings: AuthoritySettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; a file that is missing is made. Raises OSError and ValueError for one of no use."""
    tokens = kept_tokens(settings.tokens_file, secrets.token_urlsafe)
    file = settings.service_token_file
    service = None if file is None else file.read_text(encoding="utf-8").strip()
    app = authority_app(tokens.all(), service, settings.reports_file)
    await serve(app, settings.host, settings.port, stop)


def authority_app(
    tokens: Iterable[DemoToken], service_token: str | None = None, reports_file: Path | None = None
) -> Starlette:
    """Build the app that knows these tokens, and the one token, if any, that may ask for limits and report usage."""
    authority = Authority(tokens, service_token, reports_file)
    return Starlette(
        routes=[
            Route("/v1beta1/auth/whoami", authority.whoami),
            Route("/graphql", authority.graphql, methods=["POST"]),
            Route("/limits", authority.limits),
            Route("/reports", authority.reports, methods=["POST"]),
            Route("/demo/reports", authority.reported),
            Route("/demo/calls", authority.calls),
            Route("/demo/calls", authority.reset_calls, methods=["DELETE"]),
            Route("/demo/tokens", _controlled(authority.change_tokens), methods=["POST"]),
            Route("/demo/service-token", _controlled(authority.change_service_token), methods=["PUT"]),
            Route("/demo/limits", _controlled(authority.change_limits), methods=["PUT"]),
            Route("/demo/fault", _controlled(authority.change_fault), methods=["POST"]),
            Route(REDIRECTED, authority.redirected, methods=["GET", "POST"]),
        ]
    )


class Authority:
    """The tokens that are good now, what projects may, the calls so far, and the faults in force."""

    def __init__(
        self,
        tokens: Iterable[DemoToken],
        service_token: str | None = None,
        reports_file: Path | None = None,
    ) -> None:
        self._reports = Reports(reports_file)
        self._tokens = {token.token: token for token in tokens}
        self._service_token = service_token
        self._projects = Projects()
        self._calls = Calls([*Call, _REDIRECTED])
        self._faults = Faults()

    async def whoami(self, request: Request) -> Response:
        """Answer CoreWeave's ``GET /v1beta1/auth/whoami``: the principal of a bearer token, or 401."""
        token = bearer_token(request.headers.get("authorization", "")) or ""
        return await self._answer(request, Call.WHOAMI, token, self._whoami)

    async def graphql(self, request: Request) -> Response:
        """Answer W&B's ``POST /graphql``: the viewer of an API key, or a null viewer with 200."""
        key = basic_key(request.headers.get("authorization", "")) or ""
        query = _query(await request.body())
        return await self._answer(request, Call.GRAPHQL, key, lambda token: self._graphql(query, token))

    async def limits(self, request: Request) -> Response:
        """Answer W&B's ``GET /limits?entity=&project=`` (docs/limits.md): what a project may, or 404."""
        token = bearer_token(request.headers.get("authorization", "")) or ""
        return await self._answer(request, Call.LIMITS, token, lambda token: self._limits(request, token))

    async def reports(self, request: Request) -> Response:
        """Answer W&B's ``POST /reports`` (docs/usage.md): each report is counted once, whatever comes again."""
        token = bearer_token(request.headers.get("authorization", "")) or ""
        key, body = request.headers.get("idempotency-key", ""), await request.body()
        return await self._answer(request, Call.REPORTS, token, lambda token: self._report(key, body, token))

    async def reported(self, _: Request) -> Response:
        """Answer ``GET /demo/reports``: how many reports and records came, and totals by gateway, project, model."""
        return JSONResponse(self._reports.document())

    async def calls(self, _: Request) -> Response:
        """Answer ``GET /demo/calls``: counts by call, `under_way`, `most_at_once` and `most_of_one_token`."""
        return JSONResponse(self._calls.document())

    async def reset_calls(self, _: Request) -> Response:
        """Answer ``DELETE /demo/calls``: all counts but those of calls under way begin anew."""
        self._calls.reset()
        return JSONResponse(self._calls.document())

    async def redirected(self, _: Request) -> Response:
        """Count whoever follows a redirect."""
        self._calls.count(_REDIRECTED)
        return JSONResponse({"message": "a redirect was followed"})

    async def change_tokens(self, request: Request) -> Response:
        """Answer ``POST /demo/tokens``: ``{"add": [{"coreweave": {...}}], "revoke": ["<token>"]}``."""
        change = await _control(request, _TokenChange)
        added = [token_of(document) for document in change.add]
        self._tokens |= {token.token: token for token in added}
        for token in change.revoke:
            self._tokens.pop(token, None)
        return JSONResponse({"tokens": len(self._tokens)})

    async def change_service_token(self, request: Request) -> Response:
        """Answer ``PUT /demo/service-token``: ``{"token": "<token>"}`` may ask for limits; with null whoever asks."""
        self._service_token = (await _control(request, _ServiceToken)).token
        return JSONResponse({})

    async def change_limits(self, request: Request) -> Response:
        """Answer ``PUT /demo/limits``: ``{"entity": "e", "project": "p", "limits": {...}}`` (`LimitsChange`)."""
        self._projects.change(await _control(request, LimitsChange))
        return JSONResponse({"projects": len(self._projects.named)})

    async def change_fault(self, request: Request) -> Response:
        """Answer ``POST /demo/fault``: ``{"kind": "status", "status": 503}`` (`igw_demo.faults`); ``{}`` ends all."""
        self._faults.change(fault_of(await _control(request, Any)))
        return JSONResponse({"faults": len(self._faults)})

    async def _answer(
        self, request: Request, call: Call, token: str, right: Callable[[str], Response]
    ) -> Response:
        """Answer a call as the fault that it meets has it; `right` gives the right answer for a token."""
        with self._calls.under_way(call, token):
            fault = self._faults.met(call, token)
            if fault.delay_ms:
                await _late(request, fault.delay_ms / 1000)
            return misbehaving(fault) or right("" if isinstance(fault, Unknowing) else token)

    def _whoami(self, token: str) -> Response:
        match self._tokens.get(token):
            case CoreWeaveToken(uid=uid, organization=organization):
                return JSONResponse({"principal": {"uid": uid, "orgUid": organization}})
            case _:
                return JSONResponse({"code": "unauthenticated", "message": "invalid token"}, 401)

    def _graphql(self, query: str | None, token: str) -> Response:
        if query is None or not re.search(r"\bviewer\b", query):
            return JSONResponse({"errors": [{"message": "the query must ask for viewer"}]}, 400)
        match self._tokens.get(token):
            case WandbToken() as known:
                return JSONResponse({"data": {"viewer": _selected(viewer(known), query)}})
            case _:
                return JSONResponse({"data": {"viewer": None}})

    def _report(self, key: str, body: bytes, token: str) -> Response:
        if not self._serves(token):
            return JSONResponse({"message": "invalid service token"}, 401)
        status, document = self._reports.take(key, body)
        return JSONResponse(document, status)

    def _serves(self, token: str) -> bool:
        return self._service_token is None or token == self._service_token

    def _limits(self, request: Request, token: str) -> Response:
        if not self._serves(token):
            return JSONResponse({"message": "invalid service token"}, 401)
        match request.query_params.get("entity"), request.query_params.get("project"):
            case str(entity), str(project) if entity and project:
                limits = self._projects.limits(entity, project)
            case _:
                return JSONResponse({"message": "entity and project must be named"}, 400)
        if limits is None:
            return JSONResponse({"message": "no such project"}, 404)
        return Response(msgspec.json.encode(limits), media_type="application/json")


async def _late(request: Request, seconds: float) -> None:
    """Wait, but not for longer than the caller does: a call that was given up is not under way."""
    await request.body()
    leaving = asyncio.ensure_future(request.receive())
    await asyncio.wait((leaving,), timeout=seconds)
    leaving.cancel()


def bearer_token(authorization: str) -> str | None:
    """Give the token of ``Authorization: Bearer <token>`` (RFC 6750)."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def basic_key(authorization: str) -> str | None:
    """Give the password of ``Authorization: Basic`` when the user is ``api`` (RFC 7617)."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, key = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return key if user == "api" else None


def viewer(token: WandbToken) -> dict[str, Any]:
    """Give the viewer of a key, all fields."""
    return {
        "id": base64.b64encode(f"User:{token.username}".encode()).decode(),
        "entity": token.entity,
        "username": token.username,
        "teams": {"edges": [{"node": {"name": team}} for team in token.teams]},
    }


def _selected(fields: dict[str, Any], query: str) -> dict[str, Any]:
    """Give the fields that a query names; GraphQL gives no others, so a query that forgets one shows here."""
    return {name: value for name, value in fields.items() if re.search(rf"\b{name}\b", query)}


def _query(body: bytes) -> str | None:
    try:
        match json.loads(body):
            case {"query": str(query)}:
                return query
            case _:
                return None
    except ValueError:
        return None


C = TypeVar("C")
Endpoint = Callable[[Request], Awaitable[Response]]


def _controlled(endpoint: Endpoint) -> Endpoint:
    """Give an endpoint that answers 400, with what is wrong, to a request that makes no sense."""

    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ValueError as error:
            return JSONResponse({"message": str(error)}, 400)

    return answered


async def _control(request: Request, kind: type[C]) -> C:
    """Read a control request; raises ValueError.

    Its content type must be JSON, because a web page can't send that to loopback without being asked first.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise ValueError("the content type must be application/json")
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
