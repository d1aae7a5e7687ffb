"""One connection of Envoy's over HTTP/1.1: requests are answered in their order, one at a time.

What is remembered is answered before the next event of the loop; what must be looked up is waited for in a task,
and meanwhile nothing more is read.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any, assert_never

import structlog

from igw_extauth.answer import Answer
from igw_extauth.check import Check
from igw_extauth.http_reply import refusal_reply, reply
from igw_extauth.http_request import Policies, Refusal, Request, RequestReader

IDLE_SECONDS = 75.0
"""From one reply to the end of the next request, be the caller silent or slow. Envoy closes after 30 s itself."""
REMEMBERED_REPLIES = 10_000


class Shared:
    """What the connections of one server have in common."""

    def __init__(self, check: Check, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self.check = check
        self.idle_seconds = idle_seconds
        self.policies = Policies()
        # Writing the same bytes anew costs more than finding them.
        self.reply: Callable[[Answer, bool, bool], bytes] = lru_cache(REMEMBERED_REPLIES)(_reply)
        self.connections: set[Connection] = set()
        self.finishing = False


def _reply(answer: Answer, bodiless: bool, last: bool) -> bytes:  # noqa: FBT001 - lru_cache is cheaper by position
    return reply(answer, bodiless=bodiless, last=last)


class Connection(asyncio.Protocol):
    """The protocol of one connection."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._reader = RequestReader(shared.policies)
        self._waiting: deque[Request | Refusal] = deque()
        self._lookup: asyncio.Task[None] | None = None
        self._writable = True
        self._reading = True

    def connection_made(self, transport: Any) -> None:
        """Begin: the connection has `idle_seconds` for its first request."""
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._expiry = self._loop.call_later(self._shared.idle_seconds, self._expire)
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._shared.connections.add(self)
        self.finish_if_asked()

    def connection_lost(self, exc: Exception | None) -> None:
        """End. The look-up itself goes on, for others and for the cache; only the wait for it ends."""
        del exc
        self._expiry.cancel()
        self._shared.connections.discard(self)
        self._waiting.clear()
        if self._lookup is not None:
            self._lookup.cancel()
        self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Take what Envoy sent, and answer what can be answered at once."""
        self._waiting.extend(self._reader.receive(data))
        self._go_on()

    def pause_writing(self) -> None:
        """Answer no more until the caller has read."""
        self._writable = False

    def resume_writing(self) -> None:
        """Answer again."""
        self._writable = True
        self._go_on()

    def finish_if_asked(self) -> None:
        """Close if the server is finishing and no request is under way; one that is gets its reply first."""
        if self._shared.finishing and not self._is_answering() and not self._reader.within_request:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _is_answering(self) -> bool:
        return bool(self._waiting) or self._lookup is not None

    def _go_on(self) -> None:
        while self._waiting and self._lookup is None and self._writable:
            self._take(self._waiting.popleft())
        self._read(reading=not self._is_answering())

    def _take(self, request: Request | Refusal) -> None:
        match request:
            case Request():
                answer = self._shared.check.remembered(request.attempt)
                if answer is None:
                    self._lookup = self._loop.create_task(self._look_up(request))
                else:
                    self._answer(request, answer)
            case Refusal():
                self._write(refusal_reply(request), last=True)
            case _:
                assert_never(request)

    async def _look_up(self, request: Request) -> None:
        try:
            answer = await self._shared.check(request.attempt)
            self._lookup = None
            self._answer(request, answer)
            self._go_on()
        except Exception:  # noqa: BLE001 - a fault of ours; Envoy must hear of it, and denies what has no answer
            structlog.get_logger().exception("check_failed")
            self._transport.abort()

    def _answer(self, request: Request, answer: Answer) -> None:
        last = request.last or (self._shared.finishing and not self._waiting)
        self._write(self._shared.reply(answer, request.bodiless, last), last=last)

    def _write(self, data: bytes, *, last: bool) -> None:
        self._since = self._loop.time()
        self._transport.write(data)
        if last:
            self._waiting.clear()
            self._transport.close()

    def _read(self, *, reading: bool) -> None:
        if reading == self._reading or self._transport.is_closing():
            return
        self._reading = reading
        if reading:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _expire(self) -> None:
        """Close a connection whose time is over; look-ups have their own time.

        One timer that looks again, for moving it with each request would cost more than the request's parsing.
        """
        if self._lookup is not None:
            self._since = self._loop.time()
        left = self._since + self._shared.idle_seconds - self._loop.time()
        if left > 0:
            self._expiry = self._loop.call_later(left, self._expire)
        else:
            self._transport.abort()
