"""May a request of a project pass? The keeper's part of it: numbers, counts, and who counts."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from igw_extauth.keeper import Admission, Admitted, Ended, Event, Exceeded
from igw_extauth.limits.admission import admission
from igw_extauth.limits.memory import Memory
from igw_extauth.limits.metrics import ADMISSIONS, LEASES, TOKENS
from igw_extauth.limits.numbers import AskedNumbers, LocalNumbers, NumbersApi, Source
from igw_extauth.limits.project import Numbers, Standing
from igw_extauth.limits.shared import Ask, Shared
from igw_extauth.limits.sharing import Sharing
from igw_extauth.settings import Settings

LEASE_BYTES = 8
MAX_CHARGE = 10_000_000
"""Tokens that one response can have used; who says more is not believed."""
_NO_NUMBERS = Numbers()


class Limits:
    """`admit` and `report` of `igw_extauth.keeper.Keeper`; `clock` in seconds since 1970 (UTC)."""

    def __init__(
        self, source: Source, memory: Memory, sharing: Sharing | None, clock: Callable[[], float]
    ) -> None:
        self._source = source
        self._memory = memory
        self._sharing = sharing
        self._clock = clock

    async def admit(self, project: str) -> Admission:
        """Take a slot for a request of a project, and count it, if all of its limits allow that."""
        numbers = await self._source.of(project)
        lease = secrets.token_hex(LEASE_BYTES)
        if numbers is None:
            numbers, standing = _NO_NUMBERS, Standing(Exceeded.UNKNOWN_PROJECT)
        else:
            standing = await self._standing(Ask(project, numbers, lease))
        told = admission(standing, self._clock(), numbers, lease)
        ADMISSIONS.count("admitted" if isinstance(told, Admitted) else told.limit.value)
        return told

    def report(self, events: Sequence[Event]) -> None:
        """Take what became of requests, in their order; never waits."""
        now = self._clock()
        for event in events:
            believed = _believed(event)
            self._memory.note(now, believed)
            if self._sharing is not None:
                self._sharing.tell(believed)
            if isinstance(believed, Ended):
                TOKENS.inc(believed.tokens)

    def leases(self) -> int:
        """Give how many slots this host holds: none where Redis does."""
        return self._memory.leases(self._clock())

    async def _standing(self, ask: Ask) -> Standing:
        standing = None if self._sharing is None else await self._sharing.admit(ask)
        now = self._clock()
        if standing is None:
            return self._memory.admit(now, ask.project, ask.numbers, ask.lease)
        if standing.exceeded is None:
            self._memory.take(now, ask.project, ask.numbers)
        return standing


def _believed(event: Event) -> Event:
    if isinstance(event, Ended) and not 0 <= event.tokens <= MAX_CHARGE:
        return Ended(event.project, event.lease, min(max(0, event.tokens), MAX_CHARGE))
    return event


def steady_clock() -> Callable[[], float]:
    """Make a clock of seconds since 1970 (UTC) that does not jump when the machine's is set."""
    start = time.time() - time.monotonic()
    return lambda: start + time.monotonic()


@asynccontextmanager
async def limits(settings: Settings) -> AsyncIterator[Limits]:
    """Count as the settings say, until the block ends. Raises OSError when the service token cannot be read."""
    clock = steady_clock()
    memory = Memory(settings.lease_seconds if settings.cache_url is None else 0)
    async with AsyncExitStack() as stack:
        source = _source(settings, stack)
        sharing = await _sharing(settings, clock, stack)
        counting = Limits(source, memory, sharing, clock)
        LEASES.set_function(counting.leases)
        stack.callback(LEASES.set_function, lambda: 0)
        yield counting


def _source(settings: Settings, stack: AsyncExitStack) -> Source:
    s = settings
    local = Numbers(s.concurrency, s.requests_per_minute, s.tokens_per_minute, s.quota_tokens)
    if s.limits_url is None:
        return LocalNumbers(local)
    if s.limits_token_file is not None:
        s.limits_token_file.read_text()
    asked = AskedNumbers(NumbersApi(s.limits_url, s.limits_token_file, local), local, s.limits_cache_seconds)
    stack.push_async_callback(asked.aclose)
    return asked


async def _sharing(settings: Settings, clock: Callable[[], float], stack: AsyncExitStack) -> Sharing | None:
    if settings.cache_url is None:
        return None
    shared = Shared(settings.cache_url, secrets.token_hex(LEASE_BYTES), settings.lease_seconds)
    stack.push_async_callback(shared.aclose)
    sharing = Sharing(shared, clock)
    stack.push_async_callback(sharing.aclose)
    await sharing.reach()
    running = asyncio.create_task(sharing.run())
    stack.push_async_callback(_ended, running)
    return sharing


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
