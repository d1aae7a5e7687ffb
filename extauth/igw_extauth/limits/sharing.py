"""The conversation with Redis, and what happens when it fails.

One batch is under way at a time: what the host's requests ask and what became of them meanwhile go with the next. When
one fails or takes too long, who asked is told to count alone, and nobody asks until Redis answers again.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from igw_extauth.keeper import Ended, Event, Running
from igw_extauth.limits.metrics import ALONE, LOST_TOKENS, REDIS_FAILURES
from igw_extauth.limits.project import Standing
from igw_extauth.limits.shared import Ask, Call, Reply, Shared, Tell
from igw_extauth.limits.untold import Untold
from igw_extauth.outage import OutageLog

BATCH = 256
MAX_ASKING = 10_000
"""Waiting for their turn; beyond, they are counted alone at once to bound memory."""
RUN_SECONDS = 0.2
CONNECT_SECONDS = 1.0
AGAIN_SECONDS = 1.0
"""Between two attempts to reach a Redis that failed."""


class _Asked(NamedTuple):
    ask: Ask
    answer: asyncio.Future[Standing | None]


class Sharing:
    """Asks Redis, and tells it what became of requests; `clock` in seconds since 1970 (UTC)."""

    def __init__(self, shared: Shared, clock: Callable[[], float]) -> None:
        self._shared = shared
        self._clock = clock
        self._available = False
        self._asked: deque[_Asked] = deque()
        self._untold = Untold()
        self._unsure: Sequence[Tell] = ()
        """Sent, without an answer: perhaps carried out."""
        self._wake = asyncio.Event()
        self._outage = OutageLog(what="limits_redis")
        ALONE.set(1)

    async def admit(self, ask: Ask) -> Standing | None:
        """Ask whether a request may pass; None when Redis does not say."""
        if not self._available or len(self._asked) >= MAX_ASKING:
            return None
        answer: asyncio.Future[Standing | None] = asyncio.get_running_loop().create_future()
        self._asked.append(_Asked(ask, answer))
        self._wake.set()
        return await answer

    def tell(self, event: Event) -> None:
        """Take what became of a request, to tell it as soon as that can be done."""
        if isinstance(event, Running) and not self._available:
            return  # Envoys tell of it again; what has ended needs the room
        LOST_TOKENS.inc(self._untold.note(event))
        self._wake.set()

    async def run(self) -> None:
        """Speak with Redis until cancelled, after a first `reach`."""
        while True:
            while self._available:
                await self._wake.wait()
                await self._turn()
            await asyncio.sleep(AGAIN_SECONDS)
            await self.reach()

    async def reach(self) -> None:
        """Try to reach Redis, and tell it what it must know before anybody asks it."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._shared.connect()
            await self._catch_up()
        except Exception as error:  # noqa: BLE001 - whatever breaks here must not end counting
            await self._fail(error)
            return
        self._available = True
        self._wake.set()
        ALONE.set(0)

    async def aclose(self) -> None:
        """Tell what is left to tell, if that can be done."""
        if self._available:
            try:
                await self._tell(self._unsure)
                await self._tell(self._untold.take(BATCH))
            except Exception as error:  # noqa: BLE001 - nobody is left to tell
                self._note(error)
        _tell_nothing(self._asked)
        ALONE.set(0)

    async def _catch_up(self) -> None:
        """Tell what may have been carried out already, then what ended meanwhile."""
        await self._tell(_endings(self._unsure))
        while self._untold:
            await self._tell(_endings(self._untold.take(BATCH)))

    async def _tell(self, news: Sequence[Tell]) -> None:
        self._unsure = news
        if news:
            _raise_first(await _in_time(self._shared.run(self._clock(), news)))
        self._unsure = ()

    async def _turn(self) -> None:
        self._wake.clear()
        asked = [self._asked.popleft() for _ in range(min(BATCH, len(self._asked)))]
        news = self._untold.take(BATCH)
        if self._asked or self._untold:
            self._wake.set()
        try:
            await self._exchange(news, asked)
        except Exception as error:  # noqa: BLE001 - whatever breaks here must not end counting
            self._available = False
            _tell_nothing(asked)
            _tell_nothing(self._asked)
            self._asked.clear()
            await self._fail(error)
        finally:
            _tell_nothing(asked)  # who was asking when this was cancelled

    async def _exchange(self, news: list[Tell], asked: list[_Asked]) -> None:
        self._unsure = news
        # News first: a slot that is free by now is free for who asks.
        calls: list[Call] = [*news, *(ask for ask, _ in asked)]
        replies = await _in_time(self._shared.run(self._clock(), calls))
        for (ask, answer), reply in zip(asked, replies[len(news) :], strict=True):
            if isinstance(reply, Standing):
                self._settle(ask, answer, reply)
        _raise_first(replies)
        self._unsure = ()
        self._note(None)

    def _settle(self, ask: Ask, answer: "asyncio.Future[Standing | None]", standing: Standing) -> None:
        if not _answer(answer, standing) and standing.exceeded is None:
            self.tell(Ended(ask.project, ask.lease))

    async def _fail(self, error: Exception) -> None:
        REDIS_FAILURES.inc()
        ALONE.set(1)
        self._note(error)
        with contextlib.suppress(Exception):
            await self._shared.disconnect()

    def _note(self, error: Exception | None) -> None:
        """Log an outage; of an error only its type: its text may quote anything."""
        self._outage.tell(None if error is None else type(error).__name__, self._clock())


def _endings(news: Sequence[Tell]) -> list[Tell]:
    """Leave out who went on: that may be long ago, and another host may have been told of the end."""
    return [replace(told, running=()) for told in news]


def _answer(answer: "asyncio.Future[Standing | None]", standing: Standing | None) -> bool:
    """Give an answer; say whether somebody still waited for it."""
    if answer.done():
        return False
    answer.set_result(standing)
    return True


def _tell_nothing(asked: Iterable[_Asked]) -> None:
    for _, answer in asked:
        _answer(answer, None)


async def _in_time(running: Coroutine[Any, Any, list[Reply]]) -> list[Reply]:
    """Give what a run gives in `RUN_SECONDS`, else raise TimeoutError.

    In two steps: a reply that came while this process itself stood still is read in the second.
    """
    task = asyncio.create_task(running)
    try:
        for part in (3 / 4, 1 / 4):
            done, _ = await asyncio.wait({task}, timeout=RUN_SECONDS * part)
            if done:
                return task.result()
    finally:
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    raise TimeoutError


def _raise_first(replies: Sequence[object]) -> None:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
