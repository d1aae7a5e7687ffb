"""One authority, asked within bounds: in turns, not too often, in time, and not at all while it fails.

Tokens never seen and tokens that were good before have a lane each, with a breaker of its own, so that a flood of
strangers, or what they make an authority answer, stands in no known caller's way.
"""

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum

from igw_model.policy import Provider

from igw_extauth.authority.authorities import CONNECTIONS, Authority
from igw_extauth.authority.breaker import Breaker, Permit, Tolerance
from igw_extauth.authority.bucket import Bucket
from igw_extauth.identity import Identity, Unavailable
from igw_extauth.metrics import AUTHORITY_BREAKER, AUTHORITY_CALLS, AUTHORITY_REFUSED, AUTHORITY_SECONDS
from igw_extauth.outage import OutageLog
from igw_extauth.secret import BearerToken
from igw_extauth.timing import Clock

KNOWN_CALLS = 16
NEW_CALLS = CONNECTIONS - KNOWN_CALLS

TOO_MANY = Unavailable("too many look-ups")
FAILING = Unavailable("the authority fails")
SPARED = (TOO_MANY, FAILING)
"""Answers without a question: they cost nothing, so they need not be remembered."""


class Which(StrEnum):
    """Whose lane it is."""

    NEW = "new"
    KNOWN = "known"


@dataclass(frozen=True, slots=True)
class Asked:
    """Whom a lane asks: `seconds` bounds a question, its wait and its second try included."""

    provider: Provider
    authority: Authority
    seconds: float
    outages: OutageLog
    breakers: list[Breaker] = field(default_factory=list)
    """Of all lanes: an answer in one is news for the others."""


class Lane:
    """The questions of one kind to one authority; with a `bucket`, each takes one of it."""

    def __init__(self, which: Which, asked: Asked, calls: int, bucket: Bucket | None, clock: Clock) -> None:
        self._asked = asked
        self._labels = (asked.provider.value, which.value)
        self._turns = asyncio.Semaphore(calls)
        self._bucket = bucket
        self._breaker = Breaker(Tolerance())
        asked.breakers.append(self._breaker)
        self._now = clock.now
        self._seconds = AUTHORITY_SECONDS.labels(asked.provider.value)
        self._state = AUTHORITY_BREAKER.labels(*self._labels)

    async def ask(self, token: BearerToken) -> Identity:
        """Ask whose a token is; an authority that is not to be asked now is `Unavailable` at once."""
        if not self._breaker.allows(self._now()):
            return self._refused(FAILING, "breaker")
        if not self._may_call():
            return self._refused(TOO_MANY, "rate")
        deadline = asyncio.get_running_loop().time() + self._asked.seconds
        try:
            async with asyncio.timeout_at(deadline):
                await self._turns.acquire()
        except TimeoutError:
            return self._refused(TOO_MANY, "turns")
        try:
            return await self._permitted(token, deadline)
        finally:
            self._turns.release()

    async def _permitted(self, token: BearerToken, deadline: float) -> Identity:
        permit = self._breaker.begin(self._now())
        if permit is None:
            return self._refused(FAILING, "breaker")
        began = self._now()
        identity: Identity = Unavailable("cut off")
        try:
            async with asyncio.timeout_at(deadline):
                identity = await self._asked.authority.ask(token, self._may_repeat)
        except TimeoutError:
            identity = Unavailable("timeout")
        finally:
            self._note(identity, permit, began)
        return identity

    def _may_call(self) -> bool:
        return self._bucket is None or self._bucket.take(self._now())

    def _may_repeat(self) -> bool:
        """Say whether a second try is in order: it is a call as any, and none is made of an authority that fails."""
        return self._breaker.closed(self._now()) and self._may_call()

    def _note(self, identity: Identity, permit: Permit, began: float) -> None:
        now, failed = self._now(), isinstance(identity, Unavailable)
        self._breaker.end(permit, now, failed=failed)
        if not failed:
            for other in self._asked.breakers:
                other.encourage(now)
        self._state.set(self._breaker.state(now))
        self._seconds.observe(now - began)
        self._asked.outages.note(identity, now)
        AUTHORITY_CALLS.count(*self._labels, type(identity).__name__.lower())

    def _refused(self, why: Unavailable, reason: str) -> Unavailable:
        self._state.set(self._breaker.state(self._now()))
        AUTHORITY_REFUSED.count(*self._labels, reason)
        return why


@dataclass(frozen=True, slots=True)
class Lanes:
    """Both lanes to one authority."""

    new: Lane
    known: Lane


def lanes(
    provider: Provider, authority: Authority, seconds: float, calls_per_second: float, clock: Clock
) -> Lanes:
    """Make the lanes to an authority: `calls_per_second` of never-seen tokens, and a share of its connections each."""
    asked = Asked(provider, authority, seconds, OutageLog(provider))
    return Lanes(
        Lane(Which.NEW, asked, NEW_CALLS, Bucket(calls_per_second), clock),
        Lane(Which.KNOWN, asked, KNOWN_CALLS, None, clock),
    )
