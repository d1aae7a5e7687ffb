"""What several hosts remember of known tokens together, in Redis: as in memory, under a keyed hash; never a token.

Each entry is sealed with the hosts' secret, for its own token: one that somebody else wrote or moved is not believed.

A Redis that fails or hangs costs one look-up a second a tenth of a second, and nobody else anything. Clocks of hosts
that share one must agree (NTP): an entry says when its token was checked in seconds since 1970.
"""

import asyncio
import hmac
from typing import Annotated, Any

import msgspec
from aiocache import RedisCache
from aiocache.serializers import NullSerializer
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from igw_extauth import hashing
from igw_extauth.authority.breaker import Breaker, Tolerance
from igw_extauth.identities.freshness import Entry, Freshness
from igw_extauth.identity import MAX_NAME_LENGTH, Known, Principal
from igw_extauth.metrics import SHARED_CACHE
from igw_extauth.outage import OutageLog
from igw_extauth.timing import Clock

NAMESPACE = "igw:identity"
TIMEOUT_SECONDS = 0.1
REDIS_CONNECTIONS = 48
CALLS = 32
"""Under way at once; more wait for their turn, which is not held against Redis."""
TOLERANCE = Tolerance(in_a_row=1, first_seconds=1, most_seconds=1)

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_LENGTH)]


def redis_client(url: str) -> "Redis":
    """Make a client that waits for a connection instead of making ever more; calls have time limits of their own."""
    pool = BlockingConnectionPool.from_url(
        url, max_connections=REDIS_CONNECTIONS, timeout=1, retry=Retry(NoBackoff(), 1)
    )
    return Redis.from_pool(pool)


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value in Redis, as JSON behind its seal; `checked_at` in seconds since 1970."""

    name: _Name
    organizations: frozenset[_Name]
    entity: Annotated[str, msgspec.Meta(max_length=MAX_NAME_LENGTH)]
    checked_at: float


def _sealed(key: bytes, kept: _Kept, secret: bytes) -> bytes:
    value = msgspec.json.encode(kept)
    return hashing.seal(key, value, secret) + value


def _opened(key: bytes, content: bytes, secret: bytes) -> _Kept | None:
    """Give what hosts with this secret put under this key; None for anything else."""
    seal, value = content[: hashing.SEAL_BYTES], content[hashing.SEAL_BYTES :]
    if not hmac.compare_digest(seal, hashing.seal(key, value, secret)):
        return None
    try:
        return msgspec.json.decode(value, type=_Kept)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


class _RedisCache(RedisCache):  # type: ignore[misc] # aiocache has no types
    """aiocache's Redis cache over a client of ours, which knows TLS and users."""

    def __init__(self, client: "Redis") -> None:
        super().__init__(NullSerializer(encoding=None), namespace=NAMESPACE, timeout=TIMEOUT_SECONDS)
        self.client = client


class SharedCache:
    """The known tokens in one Redis; a failure of it is as if nothing were there. `secret` seals what is put there."""

    def __init__(self, client: "Redis", secret: bytes, freshness: Freshness, clock: Clock) -> None:
        self._cache = _RedisCache(client)
        self._secret = secret
        self._freshness = freshness
        self._clock = clock
        self._breaker = Breaker(TOLERANCE)
        self._turns = asyncio.Semaphore(CALLS)
        self._outages = OutageLog(what="shared_cache")

    async def get(self, key: bytes) -> Entry | None:
        """Give a known token's entry, if there is one; whether it is still good is not said."""
        content: bytes | None = await self._call("get", key)
        kept = None if content is None else _opened(key, content, self._secret)
        if kept is None:
            return None
        principal = Principal(kept.name, kept.organizations, kept.entity)
        age = self._clock.wall() - kept.checked_at
        return Entry(Known(principal), self._clock.now() - age)

    async def put(self, key: bytes, entry: Entry) -> None:
        """Keep a known token's entry for as long as it is good."""
        age = self._clock.now() - entry.checked_at
        milliseconds = int((self._freshness.seconds - age) * 1000)
        if milliseconds < 1:
            return
        principal = entry.identity.principal
        kept = _Kept(principal.name, principal.organizations, principal.entity, self._clock.wall() - age)
        await self._call("set", key, _sealed(key, kept, self._secret), ttl=milliseconds / 1000)

    async def delete(self, key: bytes) -> None:
        """Forget a token."""
        await self._call("delete", key)

    async def _call(self, name: str, key: bytes, *values: Any, **options: Any) -> Any:
        async with self._turns:
            permit = self._breaker.begin(self._clock.now())
            if permit is None:
                return None
            reason: str | None = "cut off"
            try:
                value = await getattr(self._cache, name)(key.hex(), *values, **options)
                reason = None
            except (RedisError, OSError, TimeoutError) as error:
                reason, value = type(error).__name__, None
            finally:
                self._breaker.end(permit, self._clock.now(), failed=reason is not None)
            self._outages.tell(reason, self._clock.now())
            SHARED_CACHE.count(name, "ok" if reason is None else "failed")
            return value
