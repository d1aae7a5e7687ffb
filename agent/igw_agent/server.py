"""The agent: a server for one Envoy on a Unix socket, a channel to its control plane, and the cache between them.

Each stream of Envoy's is passed on. An Envoy that has nothing yet is answered from the cache while the control plane is
away; one that has something is told so, and serves on with that.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import structlog
from igw_certs.contexts import Credentials

from igw_agent import channel
from igw_agent.cache import Cache, Contents
from igw_agent.disk import Disk
from igw_agent.keeping import Keeping
from igw_agent.pipe import ENVOY_ENDED, Answering, Pipe, reason
from igw_agent.tunnel import Tunnel

MAX_STEP_SECONDS = 30.0
"""How long an Envoy that is answered from the cache may take to be in step, once the control plane is back."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the agent listens and asks, what it keeps, and from when on it answers by itself."""

    socket: Path
    host: str
    port: int
    zone: str
    roots: Collection[str]
    """The types that every Envoy asks for, and all of."""
    folder: Path
    """Of this Envoy alone; made if it is not there."""
    cache_after: float
    """Seconds without a first response."""
    credentials: Credentials | None = None
    """What the control plane is asked with, over TLS; None: in clear."""


class Agent:
    """What answers each stream of Envoy's."""

    def __init__(  # noqa: PLR0913, PLR0917 - all that meets here, and nothing else does
        self,
        cache: Cache,
        keeping: Keeping,
        upstream: Any,
        answering: Callable[[Contents], Answering],
        cache_after: float,
        written_at: float,
    ) -> None:
        self._cache, self._keeping, self._upstream = cache, keeping, upstream
        self._answering, self._cache_after, self._written_at = answering, cache_after, written_at
        self._method = channel.method(upstream)
        self._away = False

    async def stream(self, requests: AsyncIterator[bytes], context: Any) -> None:
        """Serve one stream of Envoy's to its end, which is never a good one: Envoy comes again."""
        try:
            why = await self._served(requests, context)
        except Exception:
            # What one message breaks must not end an Envoy that serves.
            log.exception("a stream of Envoy's failed")
            why = "the agent failed"
        await context.abort(grpc.StatusCode.UNAVAILABLE, why)

    async def _served(self, requests: AsyncIterator[bytes], context: Any) -> str:
        pipe = Pipe(requests, context, self._cache.begin(), self._keeping.changed)
        first = await anext(requests, None)
        if first is None:
            return ENVOY_ENDED
        pipe.heard(first)
        call = self._method()
        try:
            why = await self._opened(call, first, pipe)
            if why is None:
                self._is_back()
                why = await pipe.through(call)
                self._is_away(why)
                return f"the control plane is away: {why}"
        finally:
            call.cancel()
        self._is_away(why)
        if not self._may_answer:
            return f"the control plane is away: {why}"
        age = round(time.time() - self._written_at)
        log.warning("answering from the cache", age_seconds=age, resources=len(self._cache.saved))
        return await pipe.answered(self._answering(self._cache.saved), first, self._until_back())

    @property
    def _may_answer(self) -> bool:
        """Whether the cache is the best that Envoy can get; one that was in step once goes on with what it has."""
        return bool(self._cache.saved) and not self._cache.complete

    async def _opened(self, call: Any, first: bytes, pipe: Pipe) -> str | None:
        """Send the first request; say why the control plane is not to be had, or None.

        A new Envoy is owed a response, so where there is a cache to go on with, that is waited for, not longer than
        that. One that comes back may be owed none.
        """
        patience = self._cache_after if self._may_answer else None
        try:
            async with asyncio.timeout(patience):
                await call.write(first)
                answer = grpc.aio.EOF if patience is None else await call.read()
        except TimeoutError:
            return f"it says nothing for {patience:g} s"
        except grpc.aio.AioRpcError as error:
            return reason(error)
        except asyncio.InvalidStateError:
            return "the call was over before it began"
        if answer is not grpc.aio.EOF:
            await pipe.tell(answer)
        return None

    async def _until_back(self) -> str:
        """Wait for a connection to the control plane, and for Envoy to have all of the cache: else it would lose it."""
        await self._upstream.channel_ready()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MAX_STEP_SECONDS):
                await self._keeping.settled.wait()
        self._is_back()
        return "the control plane is back"

    def _is_away(self, why: str) -> None:
        if not self._away and why != ENVOY_ENDED:
            log.warning("the control plane is away", reason=why)
            self._away = True

    def _is_back(self) -> None:
        if self._away:
            log.info("the control plane is back")
            self._away = False


@contextlib.asynccontextmanager
async def serving(
    settings: Settings, answering: Callable[[Contents], Answering]
) -> AsyncIterator["asyncio.Task[None]"]:
    """Run the agent; the task that is given ends only when the agent failed. Raises OSError when it cannot listen.

    `answering` makes of what is kept a stream that answers by itself.
    """
    cache = Cache(settings.roots)
    keeping = Keeping(cache, Disk(settings.folder, settings.zone))
    written_at = await keeping.load()
    async with _upstream(settings) as upstream:
        agent = Agent(cache, keeping, upstream, answering, settings.cache_after, written_at)
        server = await channel.listening(settings.socket, agent.stream)
        keeper = asyncio.create_task(keeping.run())
        try:
            yield keeper
        finally:
            await server.stop(None)
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            await upstream.close()
            await keeping.close()


@contextlib.asynccontextmanager
async def _upstream(settings: Settings) -> AsyncIterator[Any]:
    """Give the channel to the control plane; who uses it closes it."""
    if settings.credentials is None:
        yield channel.channel(settings.host, settings.port)
        return
    path = settings.socket.with_name("xds")
    async with Tunnel(settings.credentials, settings.host, settings.port).at(path):
        yield channel.channel_at(path)
