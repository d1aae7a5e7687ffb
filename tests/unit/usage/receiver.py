"""Who is told of usage, over HTTP, and a sender whose waiting takes no time."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from igw_demo.reports import Reports
from igw_demo.serving import running
from igw_usage.delivery import Verdict
from igw_usage.ledger import Ledger
from igw_usage.reports import Endpoint, Pace, Sender, World
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.unit.usage.lines import export, line
from tests.unit.usage.scene import Clock


@dataclass
class Receiver:
    """Who is told of usage, over HTTP; `meets` may answer in its stead."""

    reports: Reports = field(default_factory=Reports)
    meets: Callable[[], Response | None] = lambda: None
    seen: list[tuple[str, bytes, str | None]] = field(default_factory=list)

    async def take(self, request: Request) -> Response:
        """Answer a report."""
        key, body = request.headers["idempotency-key"], await request.body()
        self.seen.append((key, body, request.headers.get("authorization")))
        assert request.headers["content-type"] == "application/json"
        if (met := self.meets()) is not None:
            return met
        status, document = self.reports.take(key, body)
        return Response(json.dumps(document), status)

    @property
    def numbers(self) -> list[list[int]]:
        """Give which requests each report that came had, by their request ids."""
        return [
            [int(record["requestId"].removeprefix("id-")) for record in json.loads(body)["records"]]
            for _, body, _ in self.seen
        ]


@asynccontextmanager
async def receiving(receiver: Receiver) -> AsyncIterator[str]:
    """Serve; give the URL."""
    app = Starlette(routes=[Route("/reports", receiver.take, methods=["POST"])])
    async with running(app) as address:
        yield f"{address.url}/reports"


def world(clock: Clock, *, most: float = float("inf")) -> World:
    """Give a world in which waiting takes no time; it ends when the clock is past `most`."""
    ids = iter(f"batch-{number}" for number in range(10_000))

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(0)
        clock.at += seconds
        if clock.at > most:
            raise asyncio.CancelledError

    chance = random.Random(7)  # noqa: S311 - to be the same each time
    return World(clock.now, sleep, chance.random, lambda: next(ids))


@asynccontextmanager
async def sending(
    ledger: Ledger, url: str, clock: Clock, token_file: Path | None = None, records: int = 3
) -> AsyncIterator[tuple[Sender, list[tuple[Verdict, int]]]]:
    """Have a sender; give what it was told, too."""
    endpoint = Endpoint(url, token_file, clock.now)
    told: list[tuple[Verdict, int]] = []
    pace = Pace(records, 10)
    try:
        yield Sender(ledger, endpoint.send, pace, lambda *one: told.append(one), world(clock)), told
    finally:
        await endpoint.aclose()


def reported(*numbers: int) -> bytes:
    """Give an export of requests that are to be reported."""
    return export(*(line(number, reports="true", project="team/a", entity="team") for number in numbers))
