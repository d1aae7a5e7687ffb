"""What Envoy holds goes to its file soon after it changed, at moments when Envoy is in step. No messages are here."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog

from igw_agent.cache import NOTHING, Cache
from igw_agent.disk import Disk, Saved

T = TypeVar("T")

SETTLE_SECONDS = 0.2
"""From a message until what it changed is written: what belongs together comes in several."""
AGAIN_SECONDS = 5.0
"""After a write that failed."""

log = structlog.get_logger(__name__)


class Keeping:
    """The way between a cache and its file. Without one that can be used it only says when Envoy is in step."""

    def __init__(self, cache: Cache, disk: Disk) -> None:
        self._cache = cache
        self._disk = disk
        self._thread = ThreadPoolExecutor(1, "cache")  # one, so that what is asked of it is done in order
        self.settled = asyncio.Event()
        """Set once Envoy was in step."""
        self._changed = asyncio.Event()
        self._failed = False
        self._written = False

    async def load(self) -> float:
        """Let the cache have what is in the file; say when that was last changed."""
        try:
            saved = await self._done(self._disk.load)
        except (OSError, sqlite3.Error) as error:
            log.warning("there is no cache: a new Envoy will need the control plane", error=str(error))
            saved = Saved(NOTHING, 0)
        self._cache.saved = saved.contents
        return saved.written_at

    async def close(self) -> None:
        """Write what is not written yet, and let go of the file."""
        await self.write()
        await self._done(self._disk.close)
        self._thread.shutdown(wait=False)

    def changed(self) -> None:
        """Note that a message passed."""
        self._changed.set()

    async def run(self) -> None:
        """Write whenever something changed; until it is cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await asyncio.sleep(SETTLE_SECONDS)
            if not await self.write():
                self._changed.set()
                await asyncio.sleep(AGAIN_SECONDS)

    async def write(self) -> bool:
        """Write what there is to keep, if Envoy is in step; False when that failed."""
        contents = self._cache.settle()
        if contents is None:
            return True
        self.settled.set()
        try:
            count = await self._done(lambda: self._disk.save(contents))
        except (OSError, sqlite3.Error) as error:
            if not self._failed:
                log.warning("the cache is not written", error=str(error))
            self._failed = True
            return False
        if count:
            tell = log.debug if self._written and not self._failed else log.info
            tell("cache written", changed=count, resources=len(contents))
            self._written = True
        self._failed = False
        return True

    async def _done(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
