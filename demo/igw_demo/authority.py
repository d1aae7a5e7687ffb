"""A local identity authority: answers as CoreWeave's whoami and W&B's GraphQL do, for tokens given to it.

Source: docs/inference-api.md, section 5. It is for demos and tests on loopback; `/demo/...` counts the
calls, adds and revokes tokens, and makes it fail or slow, so that a test can see what a gateway then does.
"""

import asyncio
import base64
import binascii
import json
import re
import secrets
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from igw_demo.serving import serve
from igw_demo.tokens import CoreWeaveToken, DemoToken, WandbToken, kept_tokens, token_of

MAX_DELAY_MS = 60_000


@dataclass(frozen=True, slots=True)
class AuthoritySettings:
    """The file with the tokens (see `igw_demo.tokens`) and where the authority listens."""

    tokens_file: Path
    host: str = "127.0.0.1"
    port: int = 0


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How every answer is made late, or replaced by an error status."""

    status: Annotated[int, Meta(ge=400, le=599)] | None = None
    delay_ms: Annotated[int, Meta(ge=0, le=MAX_DELAY_MS)] = 0


class _TokenChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    add: list[Any] = []
    revoke: list[str] = []


async def serve_authority(settings: AuthoritySettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; a file that is missing is made. Raises OSError and ValueError for one of no use."""
    tokens = kept_tokens(settings.tokens_file, secrets.token_urlsafe)
    await serve(authority_app(tokens.all()), settings.host, settings.port, stop)


def authority_app(tokens: Iterable[DemoToken]) -> Starlette:
    """Build the app that knows these tokens."""
    authority = Authority(tokens)
    return Starlette(
        routes=[
            Route("/v1beta1/auth/whoami", authority.whoami),
            Route("/graphql", authority.graphql, methods=["POST"]),
            Route("/demo/calls", authority.calls),
            Route("/demo/tokens", authority.change_tokens, methods=["POST"]),
            Route("/demo/fault", authority.change_fault, methods=["POST"]),
        ]
    )


class Authority:
    """The tokens that are good now, the calls so far, and the fault in force."""

    def __init__(self, tokens: Iterable[DemoToken]) -> None:
        self._tokens = {token.token: token for token in tokens}
        self._calls: Counter[str] = Counter(whoami=0, graphql=0)
        self._fault = Fault()

    async def whoami(self, request: Request) -> Response:
        """Answer CoreWeave's ``GET /v1beta1/auth/whoami``: the principal of a bearer token, or 401."""
        self._calls["whoami"] += 1
        if failure := await self._failure():
            return failure
        match self._tokens.get(bearer_token(request.headers.get("authorization", "")) or ""):
            case CoreWeaveToken(uid=uid, organization=organization):
                return JSONResponse({"principal": {"uid": uid, "orgUid": organization}})
            case _:
                return JSONResponse({"code": "unauthenticated", "message": "invalid token"}, 401)

    async def graphql(self, request: Request) -> Response:
        """Answer W&B's ``POST /graphql``: the viewer of an API key, or a null viewer with 200."""
        self._calls["graphql"] += 1
        if failure := await self._failure():
            return failure
        query = _query(await request.body())
        if query is None or not re.search(r"\bviewer\b", query):
            return JSONResponse({"errors": [{"message": "the query must ask for viewer"}]}, 400)
        match self._tokens.get(basic_key(request.headers.get("authorization", "")) or ""):
            case WandbToken() as token:
                return JSONResponse({"data": {"viewer": _selected(viewer(token), query)}})
            case _:
                return JSONResponse({"data": {"viewer": None}})

    async def calls(self, _: Request) -> Response:
        """Answer ``GET /demo/calls``: ``{"whoami": n, "graphql": n}``."""
        return JSONResponse(dict(self._calls))

    async def change_tokens(self, request: Request) -> Response:
        """Answer ``POST /demo/tokens``: ``{"add": [{"coreweave": {...}}], "revoke": ["<token>"]}``."""
        try:
            change = await _control(request, _TokenChange)
            added = [token_of(document) for document in change.add]
        except ValueError as error:
            return JSONResponse({"message": str(error)}, 400)
        self._tokens |= {token.token: token for token in added}
        for token in change.revoke:
            self._tokens.pop(token, None)
        return JSONResponse({"tokens": len(self._tokens)})

    async def change_fault(self, request: Request) -> Response:
        """Answer ``POST /demo/fault``: ``{"status": 503, "delay_ms": 100}``; ``{}`` ends the fault."""
        try:
            self._fault = await _control(request, Fault)
        except ValueError as error:
            return JSONResponse({"message": str(error)}, 400)
        return JSONResponse({"status": self._fault.status, "delay_ms": self._fault.delay_ms})

    async def _failure(self) -> Response | None:
        fault = self._fault
        if fault.delay_ms:
            await asyncio.sleep(fault.delay_ms / 1000)
        return None if fault.status is None else JSONResponse({"message": "asked to fail"}, fault.status)


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
