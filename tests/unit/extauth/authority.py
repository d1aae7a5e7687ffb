"""A real HTTP server that answers as CoreWeave's whoami and as W&B's GraphQL do, well or badly, per token."""

import asyncio
import base64
import gzip
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto

from igw_ops.listening import listening_socket
from igw_ops.server import http_server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class Mode(Enum):
    """How a token is treated."""

    TRUE = auto()
    SLOW = auto()
    FAILING = auto()
    THROTTLING = auto()
    MISSING = auto()
    REDIRECTING = auto()
    RUBBISH = auto()
    NAMELESS = auto()
    DEEP = auto()
    HUGE = auto()
    BOMB = auto()
    EMPTY = auto()
    HANGING_UP = auto()
    BUSY = auto()
    ERRING = auto()
    PARTIAL = auto()


@dataclass(frozen=True, slots=True)
class Person:
    """Who a token belongs to; teams are W&B's alone."""

    name: str
    organization: str
    teams: tuple[str, ...] = ()


@dataclass(slots=True)
class FakeAuthority:
    """What the server knows, and what it was asked."""

    url: str
    people: dict[str, Person] = field(default_factory=dict)
    modes: dict[str, Mode] = field(default_factory=dict)
    mode: Mode = Mode.TRUE
    """Of tokens without one of their own."""
    once: list[Mode] = field(default_factory=list)
    """Of the next calls, whosever tokens they are about."""
    most_at_once: int = 0
    at_once: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    cookies: list[str] = field(default_factory=list)
    encodings: set[str] = field(default_factory=set)
    elsewhere: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def whoami(self, request: Request) -> Response:
        """Answer CoreWeave's question."""
        token = request.headers["authorization"].removeprefix("Bearer ")
        person = self.people.get(token)
        good = person and {"principal": {"uid": person.name, "orgUid": person.organization, "more": 1}}
        return await self._answer(request, token, good, JSONResponse({"code": 16}, 401))

    async def graphql(self, request: Request) -> Response:
        """Answer W&B's question."""
        credentials = base64.b64decode(request.headers["authorization"].removeprefix("Basic "))
        user, _, key = credentials.partition(b":")
        assert user == b"api"
        assert "viewer" in (await request.json())["query"]
        person = self.people.get(key.decode())
        good = person and {"data": {"viewer": _viewer(person)}}
        return await self._answer(request, key.decode(), good, JSONResponse({"data": {"viewer": None}}))

    async def look_elsewhere(self, _: Request) -> Response:
        """Count who follows a redirect; nobody should."""
        self.elsewhere += 1
        return JSONResponse({"principal": {"uid": "thief", "orgUid": "org-1"}})

    async def _answer(self, request: Request, token: str, good: object, bad: Response) -> Response:
        self.calls[token] += 1
        self.cookies += [request.headers["cookie"]] if "cookie" in request.headers else []
        self.encodings.add(request.headers["accept-encoding"])
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.open.wait()
        finally:
            self.at_once -= 1
        mode = self.once.pop(0) if self.once else self.modes.get(token, self.mode)
        if mode is Mode.SLOW:
            await asyncio.sleep(0.8)
        if mode is Mode.HANGING_UP:
            raise RuntimeError("the connection ends here")
        if mode in {Mode.TRUE, Mode.SLOW}:
            response = JSONResponse(good) if good else bad
            response.set_cookie("session", "of-one-caller")
            return response
        return _badly(mode)


def _viewer(person: Person) -> dict[str, object]:
    edges = [{"node": {"name": team}} for team in person.teams]
    return {"id": "1", "entity": person.organization, "username": person.name, "teams": {"edges": edges}}


def _badly(mode: Mode) -> Response:
    statuses = {Mode.FAILING: 500, Mode.THROTTLING: 429, Mode.MISSING: 404, Mode.EMPTY: 204, Mode.BUSY: 503}
    bodies = {
        Mode.RUBBISH: b"<html>welcome</html>",
        Mode.NAMELESS: b'{"principal": {"uid": "", "orgUid": "org-1"}}',
        Mode.ERRING: b'{"errors": [{"message": "x"}], "data": null}',
        Mode.PARTIAL: b'{"errors": [{"message": "x"}], "data": {"viewer": {"username": "u", "teams": null}}}',
        Mode.DEEP: b'{"x": ' + b"[" * 60_000,
        Mode.HUGE: json.dumps({"principal": {"uid": "u", "orgUid": "org-1", "x": "x" * 200_000}}).encode(),
    }
    if mode in statuses:
        return Response(status_code=statuses[mode])
    if mode is Mode.REDIRECTING:
        return Response(status_code=307, headers={"location": "/elsewhere"})
    if mode is Mode.BOMB:
        return Response(gzip.compress(b" " * 10_000_000), headers={"content-encoding": "gzip"})
    return Response(bodies[mode])


@asynccontextmanager
async def fake_authority() -> AsyncIterator[FakeAuthority]:
    """Run an authority on a free port."""
    with listening_socket("fake authority", "127.0.0.1", 0) as sock:
        fake = FakeAuthority(f"http://127.0.0.1:{sock.getsockname()[1]}")
        fake.open.set()
        routes = [
            Route("/whoami", fake.whoami),
            Route("/graphql", fake.graphql, methods=["POST"]),
            Route("/elsewhere", fake.look_elsewhere, methods=["GET", "POST"]),
        ]
        server = http_server(Starlette(routes=routes), "127.0.0.1", 0)
        serving = asyncio.create_task(server.serve(sockets=[sock]))
        yield fake
        fake.open.set()
        server.should_exit = True
        await serving
