"""A ledger in a folder, with a clock of the test's own, and what it says."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from igw_usage import clock as clocks
from igw_usage.ledger import Ledger, Stored
from igw_usage.query import answer, query
from igw_usage.record import Record
from igw_usage.storing import Bounds

from tests.unit.usage.lines import START


@dataclass
class Clock:
    """Seconds since 1970, as the test has it; `wrong` is by how much it was set wrong."""

    at: float = START + 60.0
    wrong: float = 0.0

    def now(self) -> float:
        """Give the time."""
        return self.at + self.wrong

    def ticks(self) -> float:
        """Give a time that nobody sets."""
        return self.at


@asynccontextmanager
async def opened(
    folder: Path, clock: Clock | None = None, *, reports: bool = True, **bounds: int
) -> AsyncIterator[Ledger]:
    """Have a ledger open."""
    clock = clock or Clock()
    ledger = Ledger(folder, Bounds(**bounds), clocks.Clock(clock.now, clock.ticks), reports=reports)
    try:
        yield ledger
    finally:
        await ledger.aclose()


async def swept(ledger: Ledger, message: bytes = b"") -> Stored:
    """Export, and wait until the sweep behind it is done, too: the thread that writes does one thing at a time."""
    stored = await ledger.export(message)
    await ledger.send_again()
    return stored


async def asked(ledger: Ledger, **parameters: str) -> dict[str, Any]:
    """Ask a question about all times but those that are named."""
    times = {"from": "1970-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
    question = query((times | parameters).items(), 0)
    return await ledger.read(lambda connection: answer(connection, question))


async def totals(ledger: Ledger, **parameters: str) -> dict[str, Any]:
    """Give the sums of all that was counted."""
    found: dict[str, Any] = (await asked(ledger, **parameters))["totals"]
    return found


def sums(records: Iterable[Record]) -> dict[str, Any]:
    """Add records up, each key once, by another way than the ledger's."""
    found: Counter[str] = Counter()
    micros = 0
    for record in {record.key: record for record in records}.values():
        found["requests"] += 1
        found["errors"] += record.status == 0 or record.status > 399
        found["streamed"] += record.streamed
        found["partial"] += record.partial
        found["promptTokens"] += record.prompt_tokens or 0
        found["completionTokens"] += record.completion_tokens or 0
        found["cachedTokens"] += record.cached_tokens or 0
        found["totalTokens"] += record.total_tokens
        micros += round(record.seconds * 1e6)
    names = (
        "requests",
        "errors",
        "streamed",
        "partial",
        "promptTokens",
        "completionTokens",
        "cachedTokens",
        "totalTokens",
    )
    return {name: found[name] for name in names} | {"durationSeconds": micros / 1e6}


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 20) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not await _so(condition()):  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def _so(found: bool | Awaitable[bool]) -> bool:  # noqa: FBT001
    return found if isinstance(found, bool) else await found
