"""HTTP/1.1: requests are answered in their order, one at a time.

What is remembered is answered before the next event of the loop; what must be looked up is waited for in a task,
and meanwhile nothing more is read.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import assert_never

import structlog

from igw_extauth.answer import Answer
from igw_extauth.check import Claim
from igw_extauth.wire.conversation import Link, Shared, reply_once
from igw_extauth.wire.http_reply import refusal_reply
from igw_extauth.wire.http_request import Refusal, Request, RequestReader


class Http1:
    """One connection's conversation."""

    def __init__(self, link: Link, shared: Shared) -> None:
        self._link = link
        self._shared = shared
        self._reader = RequestReader(shared.policies)
        self._waiting: deque[Request | Refusal] = deque()
        self._lookup: asyncio.Task[None] | None = None
        self._writable = True

    @property
    def looking_up(self) -> bool:
        """Whether a look-up is under way."""
        return self._lookup is not None

    def receive(self, data: bytes) -> None:
        """Take what came, and answer what can be answered at once."""
        self._waiting.extend(self._reader.receive(data))
        self._go_on()

    def may_write(self, *, writable: bool) -> None:
        """Answer no more until the caller has read."""
        self._writable = writable
        self._go_on()

    def finish(self) -> None:
        """Close if no request is under way; one that is gets its reply first."""
        if not self._is_answering() and not self._reader.within_request:
            self._link.close()

    def lost(self) -> None:
        """Wait no more."""
        self._waiting.clear()
        if self._lookup is not None:
            self._lookup.cancel()

    def _is_answering(self) -> bool:
        return bool(self._waiting) or self._lookup is not None

    def _go_on(self) -> None:
        while self._waiting and self._lookup is None and self._writable:
            self._take(self._waiting.popleft())
        self._link.read(reading=not self._is_answering())

    def _take(self, request: Request | Refusal) -> None:
        match request:
            case Request():
                check = self._shared.check
                claim = check.claim(request.attempt)
                answer = check.remembered(claim)
                if answer is None:
                    self._lookup = asyncio.get_running_loop().create_task(self._look_up(request, claim))
                else:
                    self._answer(request, answer, self._shared.reply)
            case Refusal():
                self._write(refusal_reply(request), last=True)
            case _:
                assert_never(request)

    async def _look_up(self, request: Request, claim: Claim) -> None:
        try:
            answer = await self._shared.check(claim, lambda: request.attempt.token)
            self._lookup = None
            self._answer(request, answer, reply_once)
            self._go_on()
        except Exception:  # noqa: BLE001 - a fault of ours; Envoy must hear of it, and denies what has no answer
            structlog.get_logger().exception("check_failed")
            self._link.abort()

    def _answer(self, request: Request, answer: Answer, reply: Callable[[Answer, bool, bool], bytes]) -> None:
        last = request.last or (self._shared.finishing and not self._waiting)
        self._write(reply(answer, request.bodiless, last), last=last)

    def _write(self, data: bytes, *, last: bool) -> None:
        self._link.write(data)
        if last:
            self._waiting.clear()
            self._link.close()
