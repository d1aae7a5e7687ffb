"""What is remembered of tokens: their identities, for a while, under a keyed hash; never a token.

Two bounded caches, so that a flood of unknown tokens evicts no known one.
"""

from collections import OrderedDict
from hashlib import blake2b
from typing import Any, assert_never

from aiocache import SimpleMemoryCache
from igw_model.policy import Provider

from igw_extauth.answer import RETRY_AFTER_SECONDS
from igw_extauth.identity import Identity, Known, Unavailable, Unknown
from igw_extauth.secret import BearerToken

UNAVAILABLE_SECONDS = RETRY_AFTER_SECONDS * 0.9
"""How long an authority's silence is remembered for one token.

Long enough that a caller who hammers costs a dead authority one question a second, and short enough that
one who waits as ``Retry-After`` says is asked for anew.
"""


class BoundedMemoryCache(SimpleMemoryCache):  # type: ignore[misc] # aiocache has no types
    """aiocache's memory cache that drops the least recently used entry when it holds `entries`."""

    def __init__(self, entries: int) -> None:
        # Without a timeout: aiocache would wrap each call in `asyncio.wait_for`, and memory never waits.
        super().__init__(timeout=None)
        self._entries = entries
        self._cache: OrderedDict[str, Any] = OrderedDict()

    def remembered(self, key: str) -> Any:
        """Give the value under a key, or None; it is then the most recently used.

        In place of aiocache's `get`, which must be awaited: memory never waits, so neither must a check.
        """
        value = self._cache.get(key)
        if value is not None:
            self._cache.move_to_end(key)
        return value

    async def _set(
        self, key: str, value: Any, ttl: float | None = None, _cas_token: Any = None, _conn: Any = None
    ) -> Any:
        if key not in self._cache and len(self._cache) >= self._entries:
            await self._delete(next(iter(self._cache)))
        return await super()._set(key, value, ttl, _cas_token, _conn)


class IdentityCache:
    """Identities by provider and token: `seconds` for known ones, `failure_seconds` for unknown ones.

    `secret` keys the hash (16 to 64 random bytes, new for each process): a dump of the cache tells no tokens.
    """

    def __init__(self, *, secret: bytes, seconds: float, failure_seconds: float, entries: int) -> None:
        self._secret = secret
        self._seconds = seconds
        self._failure_seconds = failure_seconds
        self._known = BoundedMemoryCache(entries)
        self._failures = BoundedMemoryCache(entries)

    def key(self, provider: Provider, token: BearerToken) -> str:
        """Give the key of a token at a provider: a keyed hash, so neither is told by it."""
        # Neither part has a NUL, so no other pair gives the same text.
        return blake2b(f"{provider}\0{token.reveal()}".encode(), key=self._secret, digest_size=32).hexdigest()

    def remembered(self, key: str) -> Identity | None:
        """Give what is remembered under a key, or None."""
        identity: Identity | None = self._known.remembered(key) or self._failures.remembered(key)
        return identity

    async def put(self, key: str, identity: Identity) -> None:
        """Remember an identity; what the other cache holds of the same token is forgotten."""
        match identity:
            case Known():
                await self._failures.delete(key)
                await self._known.set(key, identity, ttl=self._seconds)
            case Unknown():
                await self._failures.set(key, identity, ttl=self._failure_seconds)
            case Unavailable():
                ttl = min(UNAVAILABLE_SECONDS, self._failure_seconds)
                await self._failures.set(key, identity, ttl=ttl)
            case _:
                assert_never(identity)
