"""One provider's tokens: remembered, or looked up at the authority, once at a time for each token."""

import asyncio

from igw_model.policy import Provider

from igw_extauth.authorities import CONNECTIONS, Authority
from igw_extauth.cache import IdentityCache
from igw_extauth.identity import Identity, Unavailable, Unknown
from igw_extauth.metrics import AUTHORITY_SECONDS, CACHE
from igw_extauth.outage import OutageLog
from igw_extauth.secret import BearerToken

MAX_LOOKUPS = 1024
"""Look-ups under way or waiting at one authority; beyond, they are refused at once to bound memory."""


class Lookup:
    """Identifies the tokens of one provider."""

    def __init__(
        self, provider: Provider, authority: Authority, cache: IdentityCache, *, timeout_seconds: float
    ) -> None:
        self._provider = provider
        self._authority = authority
        self._cache = cache
        self._timeout_seconds = timeout_seconds
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._under_way: dict[str, asyncio.Task[Identity]] = {}
        self._outages = OutageLog(provider)
        self._seconds = AUTHORITY_SECONDS.labels(provider)

    def key(self, token: BearerToken) -> str | None:
        """Give a token's key in the cache, or None if the authority need not be asked for such a token."""
        return self._cache.key(self._provider, token) if self._authority.may_know(token) else None

    def remembered(self, key: str) -> Identity | None:
        """Give the identity under a token's key if it is remembered, else None."""
        identity = self._cache.remembered(key)
        if identity is not None:
            CACHE.count("hit")
        return identity

    async def identify(self, token: BearerToken) -> Identity:
        """Give a token's identity; authorities' failures are `Unavailable`."""
        key = self.key(token)
        if key is None:
            return Unknown()
        if (remembered := self.remembered(key)) is not None:
            return remembered
        CACHE.count("miss")
        lookup = self._under_way.get(key)
        if lookup is None:
            if len(self._under_way) >= MAX_LOOKUPS:
                return Unavailable("too many look-ups")
            lookup = self._under_way[key] = asyncio.create_task(self._look_up(key, token))
        # Shielded: one caller who goes away must not end the look-up that others wait for.
        return await asyncio.shield(lookup)

    async def aclose(self) -> None:
        """End the look-ups under way."""
        lookups = list(self._under_way.values())
        for lookup in lookups:
            lookup.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)

    async def _look_up(self, key: str, token: BearerToken) -> Identity:
        try:
            identity = await self._ask(token)
            await self._cache.put(key, identity)
            return identity
        finally:
            del self._under_way[key]

    async def _ask(self, token: BearerToken) -> Identity:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(self._timeout_seconds), self._turns:
                identity = await self._authority.ask(token)
        except TimeoutError:
            identity = Unavailable("timeout")
        ended = clock()
        self._seconds.observe(ended - began)
        self._outages.note(identity, ended)
        return identity
