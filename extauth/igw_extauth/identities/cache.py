"""What a host remembers of tokens: what their authority said, under a keyed hash; never a token.

Two bounded tables, so that a flood of unknown tokens evicts no known one. How long an entry is good for is for
`igw_extauth.identities.freshness` to say; what is no longer good is overwritten or evicted, and needs no timer.
"""

from collections import OrderedDict
from typing import Any, Protocol

from aiocache import SimpleMemoryCache

from igw_extauth.identities.freshness import Entry, Failure


class BoundedMemoryCache(SimpleMemoryCache):  # type: ignore[misc] # aiocache has no types
    """aiocache's memory cache that drops the least recently used entry when it holds `entries`."""

    def __init__(self, entries: int) -> None:
        # Without a timeout: aiocache would wrap each call in `asyncio.wait_for`, and memory never waits.
        super().__init__(timeout=None)
        self._entries = entries
        self._cache: OrderedDict[bytes, Any] = OrderedDict()

    async def _get(self, key: bytes, *_: Any, **__: Any) -> Any:
        value = self._cache.get(key)
        if value is not None:
            self._cache.move_to_end(key)
        return value

    async def _set(
        self, key: bytes, value: Any, ttl: float | None = None, _cas_token: Any = None, _conn: Any = None
    ) -> Any:
        if key not in self._cache and len(self._cache) >= self._entries:
            await self._delete(next(iter(self._cache)))
        stored = await super()._set(key, value, ttl, _cas_token, _conn)
        self._cache.move_to_end(key)
        return stored

    def _build_key(self, key: bytes, **_: Any) -> bytes:
        return key


class Memory:
    """Known tokens and failures, `entries` of each; a token is one or the other, or both while its authority fails."""

    def __init__(self, entries: int) -> None:
        self._known = BoundedMemoryCache(entries)
        self._failures = BoundedMemoryCache(entries)

    async def known(self, key: bytes) -> Entry | None:
        """Give what an authority said of a known token."""
        entry: Entry | None = await self._known.get(key)
        return entry

    async def failure(self, key: bytes) -> Failure | None:
        """Give why there is no principal."""
        failure: Failure | None = await self._failures.get(key)
        return failure

    async def know(self, key: bytes, entry: Entry) -> None:
        """Remember a known token."""
        await self._failures.delete(key)
        await self._known.set(key, entry)

    async def fail(self, key: bytes, failure: Failure) -> None:
        """Remember a failure; what was known of the token stays, for `forget` to take."""
        await self._failures.set(key, failure)

    async def forget(self, key: bytes) -> None:
        """Forget a token."""
        await self._known.delete(key)
        await self._failures.delete(key)


class Shared(Protocol):
    """Known tokens that several hosts remember together; what fails there is as if nothing were."""

    async def get(self, key: bytes) -> Entry | None:
        """Give a known token's entry, if it is there."""
        ...

    async def put(self, key: bytes, entry: Entry) -> None:
        """Keep a known token's entry for as long as it is good."""
        ...

    async def delete(self, key: bytes) -> None:
        """Forget a token."""
        ...
