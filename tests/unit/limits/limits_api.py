"""A real HTTP server that says what projects may, well or badly, by project."""

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from igw_ops.listening import listening_socket
from igw_ops.server import serving
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TOKEN = "service-token"


class Mode(Enum):
    """How a question is answered."""

    TRUE = auto()
    FAILING = auto()
    REFUSING = auto()
    REDIRECTING = auto()
    RUBBISH = auto()
    WRONG = auto()
    NEGATIVE = auto()
    DEEP = auto()
    HUGE = auto()
    BOMB = auto()
    EMPTY = auto()
    HANGING_UP = auto()


_BODIES = {
    Mode.RUBBISH: b"<html>welcome</html>",
    Mode.WRONG: b'{"concurrency": "many"}',
    Mode.NEGATIVE: b'{"concurrency": -1}',
    Mode.DEEP: b'{"x": ' + b"[" * 10_000,
    Mode.HUGE: json.dumps({"concurrency": 1, "x": "x" * 100_000}).encode(),
}
_STATUSES = {Mode.FAILING: 500, Mode.REFUSING: 401, Mode.EMPTY: 204}


@dataclass(slots=True)
class LimitsApi:
    """What the server knows, and what it was asked."""

    url: str
    projects: dict[str, dict[str, Any]] = field(default_factory=dict)
    mode: Mode = Mode.TRUE
    calls: Counter[str] = field(default_factory=Counter)
    elsewhere: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def limits(self, request: Request) -> Response:
        """Say what a project may."""
        project = f"{request.query_params['entity']}/{request.query_params['project']}"
        self.calls[project] += 1
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        assert request.query_params["zone"] == "eu"
        await self.open.wait()
        return _good(self.projects.get(project)) if self.mode is Mode.TRUE else _badly(self.mode)

    async def look_elsewhere(self, _: Request) -> Response:
        """Count who follows a redirect; nobody should."""
        self.elsewhere += 1
        return JSONResponse({"concurrency": 1})


def _good(limits: dict[str, Any] | None) -> Response:
    return JSONResponse({"code": "not_found"}, 404) if limits is None else JSONResponse(limits)


def _badly(mode: Mode) -> Response:
    if mode in _STATUSES:
        return Response(status_code=_STATUSES[mode])
    if mode is Mode.REDIRECTING:
        return Response(status_code=307, headers={"location": "/elsewhere"})
    if mode is Mode.BOMB:
        return Response(gzip.compress(b" " * 10_000_000), headers={"content-encoding": "gzip"})
    if mode is Mode.HANGING_UP:
        raise RuntimeError("the connection ends here")
    return Response(_BODIES[mode])


@asynccontextmanager
async def limits_api() -> AsyncIterator[LimitsApi]:
    """Run one on a free port."""
    with listening_socket("limits", "127.0.0.1", 0) as sock:
        api = LimitsApi(f"http://127.0.0.1:{sock.getsockname()[1]}/limits?zone=eu")
        api.open.set()
        routes = [Route("/limits", api.limits), Route("/elsewhere", api.look_elsewhere)]
        async with serving(Starlette(routes=routes), sock):
            yield api
            api.open.set()
