"""A worker's own memory of identities, so that a check that was answered before asks nobody.

Two bounded tables, so that a flood of unknown tokens evicts no known one. What is kept, and under what (a keyed hash),
tells no token.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from igw_model.policy import Provider

from igw_extauth import hashing
from igw_extauth.identity import Identity, Known, Unavailable
from igw_extauth.keeper import Keeper, Vouched
from igw_extauth.metrics import CACHE
from igw_extauth.secret import BearerToken
from igw_extauth.shapes import may_be

MAX_QUESTIONS = 1024
"""Under way at the keeper; beyond, they are refused at once to bound memory."""


@dataclass(slots=True)
class _Entry:
    identity: Identity
    until: float
    refresh_at: float


class Remembered:
    """The tokens seen last: `entries` known ones, and as many others. `now` is the clock, the event loop's if None."""

    def __init__(
        self, keeper: Keeper, secret: bytes, entries: int, now: Callable[[], float] | None = None
    ) -> None:
        self._keeper = keeper
        self._secret = secret
        self._entries = entries
        self._known: OrderedDict[bytes, _Entry] = OrderedDict()
        self._others: OrderedDict[bytes, _Entry] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Identity]] = {}
        self._forgotten: set[bytes] = set()
        self._now = now or asyncio.get_running_loop().time

    def key(self, provider: Provider, token: BearerToken) -> bytes | None:
        """Give a token's keyed hash; None when it cannot be one of the provider's."""
        if not may_be(provider, token):
            return None
        return hashing.key(provider, hashing.digest(token.reveal()), self._secret)

    def get(self, key: bytes) -> Identity | None:
        """Give the identity under a key if nobody need be asked for it; None also when it is time to ask anew.

        Then `identify` is to be called, which answers from here if it can.
        """
        entry = self._entry(key, now := self._now())
        if entry is None or now >= entry.refresh_at:
            return None
        CACHE.count("hit")
        return entry.identity

    async def identify(self, provider: Provider, key: bytes, token: BearerToken) -> Identity:
        """Give a token's identity: remembered, and asked for anew in the background when it is time; or asked for."""
        entry = self._entry(key, self._now())
        asking = self._asking.get(key)
        if asking is None:
            if len(self._asking) >= MAX_QUESTIONS:
                return entry.identity if entry else Unavailable("too many look-ups")
            asking = asyncio.create_task(self._ask(provider, key, token))
            self._asking[key] = asking
        if entry is not None:
            entry.refresh_at = entry.until  # once is enough
            CACHE.count("hit")
            return entry.identity
        CACHE.count("miss")
        # Shielded: one caller who goes away must not end the look-up that others wait for.
        return await asyncio.shield(asking)

    def forget(self, keys: frozenset[bytes]) -> None:
        """Forget tokens at once, and the answers to questions under way."""
        for key in keys:
            self._known.pop(key, None)
            self._others.pop(key, None)
        self._forgotten |= keys & self._asking.keys()

    async def aclose(self) -> None:
        """End the questions under way."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    def _entry(self, key: bytes, now: float) -> _Entry | None:
        table = self._known if key in self._known else self._others
        entry = table.get(key)
        if entry is None:
            return None
        if now >= entry.until:
            del table[key]
            return None
        table.move_to_end(key)
        return entry

    async def _ask(self, provider: Provider, key: bytes, token: BearerToken) -> Identity:
        try:
            vouched = await self._keeper.identify(provider, key, token)
            while key in self._forgotten:
                self._forgotten.discard(key)
                vouched = await self._keeper.identify(provider, key, token)
            self._put(key, vouched)
            return vouched.identity
        finally:
            self._forgotten.discard(key)
            del self._asking[key]

    def _put(self, key: bytes, vouched: Vouched) -> None:
        if isinstance(vouched.identity, Unavailable) and self._entry(key, self._now()) is not None:
            return  # what was said before holds as long as was said then
        self._known.pop(key, None)
        self._others.pop(key, None)
        if vouched.seconds <= 0:
            return
        now = self._now()
        table = self._known if isinstance(vouched.identity, Known) else self._others
        table[key] = _Entry(vouched.identity, now + vouched.seconds, now + vouched.refresh_seconds)
        if len(table) > self._entries:
            table.popitem(last=False)
