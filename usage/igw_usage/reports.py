"""Sends the outbox to where usage is reported, oldest first, one report at a time, until it is taken (docs/usage.md).

A report is on disk with its id before it is sent, so whatever ends this process, it is sent again as it was.
"""

import asyncio
import random
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import structlog

from igw_usage.delivery import Verdict, pause, retry_after, verdict
from igw_usage.ledger import Ledger, UnavailableError
from igw_usage.outbox import Batch

ANSWER_SECONDS: Final = 30.0
POLL_SECONDS: Final = 1.0
"""How often it is looked whether enough waits, or for long enough."""
LINE_SECONDS: Final = 60.0
"""Between two log lines of an outage."""

_TOKEN: Final = re.compile(r"[!-~]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class World:
    """What a sender is given of time and chance."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random
    new_id: Callable[[], str] = lambda: uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class Pace:
    """How many records a report has at most, and how long one waits for others, in seconds."""

    records: int = 500
    seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of sending a report once, and how long to wait before the next at least."""

    verdict: Verdict
    status: int = 0
    """0: there was no answer."""
    reason: str = ""
    retry_after: float = 0.0


class Endpoint:
    """Where reports go: TLS is verified, redirects are not followed, and no answer is believed but its status."""

    def __init__(self, url: str, token_file: Path | None, now: Callable[[], float]) -> None:
        """Take the address, and the file with the bearer token, which is read for each report."""
        self._url = url
        self._token_file = token_file
        self._now = now
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(ANSWER_SECONDS),
            limits=httpx.Limits(max_connections=2, max_keepalive_connections=1),
            headers={"accept-encoding": "identity"},
            follow_redirects=False,
        )

    async def send(self, batch: Batch) -> Attempt:
        """Send a report once."""
        try:
            headers = {
                "content-type": "application/json",
                "idempotency-key": batch.id,
                **self._authorization(),
            }
        except (OSError, ValueError) as error:
            return Attempt(Verdict.FAILED, reason=f"reports_token_file: {_reason(error)}")
        try:
            async with (
                asyncio.timeout(ANSWER_SECONDS),
                self._client.stream("POST", self._url, content=batch.content, headers=headers) as response,
            ):
                wait = retry_after(response.headers.get("retry-after"), self._now())
                status = response.status_code
                return Attempt(verdict(status), status, f"status {status}", wait)
        except TimeoutError:
            return Attempt(Verdict.FAILED, reason="timeout")
        except (httpx.HTTPError, OSError, ValueError) as error:
            return Attempt(Verdict.FAILED, reason=type(error).__name__)  # its text may quote what was sent

    def _authorization(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        token = self._token_file.read_text(encoding="utf-8").strip()
        if not _TOKEN.fullmatch(token):
            raise ValueError("must hold one token, of visible ASCII, and nothing else")
        return {"authorization": f"Bearer {token}"}

    async def aclose(self) -> None:
        """Close its connections."""
        await self._client.aclose()


def _reason(error: OSError | ValueError) -> str:
    """Give what is wrong with a file, and nothing of what it holds."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "is not UTF-8" if isinstance(error, UnicodeError) else str(error)


class Sender:
    """Empties an outbox."""

    def __init__(
        self,
        ledger: Ledger,
        send: Callable[[Batch], Awaitable[Attempt]],
        pace: Pace,
        told: Callable[[Verdict, int], None],
        world: World,
    ) -> None:
        """Take from a ledger; `told` hears what came of each attempt, and of how many records."""
        self._ledger = ledger
        self._send = send
        self._pace = pace
        self._told = told
        self._world = world
        self._log = structlog.get_logger("igw_usage")
        self._failures = 0
        self._line_at = float("-inf")

    async def run(self) -> None:
        """Send for ever; to be cancelled."""
        while True:
            try:
                await self._world.sleep(await self.step())
            except Exception as error:  # noqa: BLE001 - reports must go on
                if not isinstance(error, UnavailableError):
                    self._log.exception("reports_failed")
                self._failed(str(error))
                await self._world.sleep(pause(self._failures, self._world.chance()))

    async def step(self) -> float:
        """Send the next report, if there is one; give the seconds to wait before the next step.

        Raises UnavailableError where the ledger cannot say.
        """
        if not self._ledger.depth.waiting:
            return min(POLL_SECONDS, self._pace.seconds)
        pace = self._pace
        batch = await self._ledger.next_batch(pace.records, pace.seconds, self._world.new_id())
        if batch is None:
            return min(POLL_SECONDS, self._pace.seconds)
        return await self._sent(batch, await self._send(batch))

    async def _sent(self, batch: Batch, attempt: Attempt) -> float:
        match attempt.verdict:
            case Verdict.DELIVERED:
                await self._ledger.delivered(batch.id)
            case Verdict.REFUSED:
                await self._ledger.set_aside(batch.id, attempt.status)
                self._log.error(
                    "report_refused", batch=batch.id, records=batch.records, status=attempt.status
                )
        self._told(attempt.verdict, batch.records)  # not before it is on disk: else the report comes again
        if attempt.verdict is Verdict.FAILED:
            self._failed(attempt.reason)
            return pause(self._failures, self._world.chance(), attempt.retry_after)
        self._answered()
        return 0.0

    def _answered(self) -> None:
        if self._failures:
            self._log.info("reports_available", failures=self._failures)
        self._failures = 0

    def _failed(self, reason: str) -> None:
        self._failures += 1
        now = self._world.now()
        if abs(now - self._line_at) >= LINE_SECONDS:  # the clock may have been set back
            self._line_at = now
            waiting = self._ledger.depth.waiting
            self._log.warning("reports_unavailable", reason=reason, failures=self._failures, waiting=waiting)
