"""A usage collector's place taken: the real one's reading of a question, over a real socket, and answers as told.

It counts nothing: its answers have one item, of what was asked.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from igw_ops.listening import listening_socket
from igw_ops.server import serving
from igw_usage.query import WrongError, query
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

NOW = 1_769_846_400.0
"""2026-01-31T08:00:00Z."""
COUNTS = {
    "requests": 12,
    "errors": 1,
    "streamed": 8,
    "partial": 2,
    "promptTokens": 340,
    "completionTokens": 1200,
    "cachedTokens": 64,
    "totalTokens": 1540,
    "durationSeconds": 31.25,
}


@dataclass
class StandIn:
    """What it was asked, in the order of asking, and what it answers instead of the truth."""

    url: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)
    instead: Response | None = None
    delay: float = 0.0

    async def usage(self, request: Request) -> Response:
        """Answer one question."""
        self.asked.append(dict(request.query_params))
        await asyncio.sleep(self.delay)
        return self.instead or _answer(request)


def _answer(request: Request) -> Response:
    try:
        asked = query(request.query_params.multi_items(), NOW)
    except WrongError as error:
        return JSONResponse({"field": error.field, "message": str(error)}, 400)
    return JSONResponse(document(asked.group, asked.interval))


def document(group: str | None = None, interval: str | None = None) -> dict[str, Any]:
    """Give an answer."""
    start = None if interval is None else "2026-01-31T07:00:00Z"
    item = {"start": start, "key": None if group is None else f"a {group}", **COUNTS}
    times = {"from": "2026-01-30T08:01:00Z", "to": "2026-01-31T08:01:00Z"}
    return {**times, "groupBy": group, "interval": interval, "items": [item], "totals": COUNTS}


@contextlib.asynccontextmanager
async def usage_collector() -> AsyncIterator[StandIn]:
    """Serve one while the context is open."""
    stand_in = StandIn()
    listening = listening_socket("collector", "127.0.0.1", 0)
    stand_in.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    async with serving(Starlette(routes=[Route("/usage", stand_in.usage)]), listening):
        yield stand_in
