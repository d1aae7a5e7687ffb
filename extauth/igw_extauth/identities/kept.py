"""Whose tokens they are, kept for all workers of a host: remembered, shared, or asked for, once at a time for each.

In: a token and its key. Out: its identity, and how long that may be remembered elsewhere. The rule is in `freshness`,
who is asked and how often in `lane`; here they meet the caches and the revocations.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import assert_never

import structlog
from igw_model.policy import Provider

from igw_extauth import hashing
from igw_extauth.authority.authorities import Authority, CoreWeave, Wandb, authority_client
from igw_extauth.authority.lane import SPARED, TOO_MANY, Lanes, lanes
from igw_extauth.identities.cache import Memory, Shared
from igw_extauth.identities.freshness import Entry, Freshness, Standing, vouched
from igw_extauth.identities.revocations import Revocations, all_keys, revoked_seconds
from igw_extauth.identities.revoked_set import RevokedSet, Tell
from igw_extauth.identities.shared_cache import SharedCache, redis_client
from igw_extauth.identity import Known, Unavailable, Unknown
from igw_extauth.keeper import Vouched
from igw_extauth.metrics import REVOCATIONS, STALE_ANSWERS
from igw_extauth.secret import BearerToken
from igw_extauth.settings import Settings
from igw_extauth.timing import Clock

MAX_LOOKUPS = 1024
"""Look-ups under way, of new and of known tokens each; beyond, they are refused at once to bound memory."""
START_SECONDS = 0.5
"""How long the start waits to know what was revoked; a Redis that is down must not keep a host from serving."""


@dataclass(frozen=True, slots=True)
class _Question:
    """Whose token one look-up is about; `known` when it was good before, as far as this host remembers."""

    provider: Provider
    key: bytes
    token: BearerToken
    known: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """What a host keeps; without Redis neither `shared` nor `revoked_set`."""

    memory: Memory
    revocations: Revocations
    shared: Shared | None = None
    revoked_set: RevokedSet | None = None


class Identities:
    """The identities of one host."""

    def __init__(
        self, freshness: Freshness, authorities: Mapping[Provider, Lanes], kept: Kept, clock: Clock
    ) -> None:
        self._freshness = freshness
        self._authorities = authorities
        self._memory = kept.memory
        self._revocations = kept.revocations
        self._shared = kept.shared
        self._revoked_set = kept.revoked_set
        self._clock = clock
        self._under_way: dict[bytes, asyncio.Task[Vouched]] = {}
        self._new = 0
        self._told: list[Tell] = []

    def on_revoked(self, told: Tell) -> None:
        """Have `told` called with the keys of tokens that are to be forgotten at once."""
        self._told.append(told)

    async def identify(self, provider: Provider, key: bytes, token: BearerToken) -> Vouched:
        """Give a token's identity; an authority's failure is `Unavailable`."""
        if self._revoked(key):
            return self._refusal()
        entry = await self._memory.known(key)
        now = self._clock.now()
        standing = Standing.GONE if entry is None else self._freshness.standing(key, entry, now)
        question = _Question(provider, key, token, known=standing is not Standing.GONE)
        if entry is not None and _answers(standing, entry, now):
            if standing is not Standing.FRESH and entry.may_try(now):
                self._looking_up(question)
            return self._vouched(question, entry)
        failure = None if question.known else await self._memory.failure(key)
        if failure is not None and now < failure.until:
            return vouched(failure, now)
        return await self._looked_up(question)

    async def revoke(self, token_digest: bytes) -> None:
        """Revoke a token, at whichever provider; it is unknown from now on, here and at all who share the Redis.

        Lapses when no answer from before can be remembered anywhere, but not within an hour; then its authority's
        word counts again.
        """
        now = self._clock.wall()
        until = now + revoked_seconds(self._freshness)
        if keys := self._revocations.add(token_digest, until, now):
            REVOCATIONS.count()
            structlog.get_logger().info("token_revoked", tokens=sorted(map(hashing.short, keys)))
            await self._forget(keys)
        if self._revoked_set is not None:
            await self._revoked_set.add(token_digest, until)

    def tell(self, keys: frozenset[bytes]) -> None:
        """Tell the workers what to forget."""
        for told in self._told:
            told(keys)

    async def aclose(self) -> None:
        """End the look-ups under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _forget(self, keys: frozenset[bytes]) -> None:
        """Forget tokens, here, in the workers and in Redis."""
        for key in keys:
            await self._memory.forget(key)
        self.tell(keys)
        if self._shared is not None:
            for key in keys:
                await self._shared.delete(key)

    async def _looked_up(self, question: _Question) -> Vouched:
        looking = self._looking_up(question)
        if looking is None:
            entry = await self._memory.known(question.key)
            return Vouched(TOO_MANY, 0, 0) if entry is None else self._vouched(question, entry)
        # Shielded: one caller who goes away must not end the look-up that others wait for.
        answer = await asyncio.shield(looking)
        return self._refusal() if self._revoked(question.key) else answer

    def _looking_up(self, question: _Question) -> asyncio.Task[Vouched] | None:
        """Give the look-up of a token, begun if there is none; None when there are too many."""
        looking = self._under_way.get(question.key)
        if looking is not None:
            return looking
        if (len(self._under_way) - self._new if question.known else self._new) >= MAX_LOOKUPS:
            return None
        self._new += not question.known
        looking = self._under_way[question.key] = asyncio.create_task(self._look_up(question))
        looking.add_done_callback(lambda _: self._over(question))
        return looking

    def _over(self, question: _Question) -> None:
        self._new -= not question.known
        del self._under_way[question.key]

    async def _look_up(self, question: _Question) -> Vouched:
        """Ask the other hosts' memory, then the authority."""
        entry = await self._remembered(question.key)
        asked_at = self._clock.now()
        if entry and self._freshness.standing(question.key, entry, asked_at) is Standing.FRESH:
            return await self._known(question, entry)
        authority = self._authorities[question.provider]
        lane = authority.new if entry is None else authority.known
        identity = await lane.ask(question.token)
        match identity:
            case Known():
                return await self._share(question, Entry(identity, asked_at))
            case Unknown():
                return await self._unknown(question, identity, was_known=entry is not None)
            case Unavailable():
                return await self._unavailable(question, identity, entry)
            case _:
                assert_never(identity)

    async def _remembered(self, key: bytes) -> Entry | None:
        """Give the newest entry of a token that is still good for something, of this host's and of all hosts'."""
        entries = [await self._memory.known(key), await self._shared.get(key) if self._shared else None]
        now = self._clock.now()
        good = [
            entry
            for entry in entries
            if entry and self._freshness.standing(key, entry, now) is not Standing.GONE
        ]
        return max(good, key=lambda entry: entry.checked_at, default=None)

    async def _share(self, question: _Question, entry: Entry) -> Vouched:
        if self._shared is not None and not self._revoked(question.key):
            await self._shared.put(question.key, entry)
        return await self._known(question, entry)

    async def _known(self, question: _Question, entry: Entry) -> Vouched:
        key = question.key
        if self._revoked(key):
            return self._refusal()
        if self._freshness.standing(key, entry, self._clock.now()) is Standing.GONE:
            return await self._failed(question, Unavailable("answer too late"))
        await self._memory.know(key, entry)
        return self._vouched(question, entry)

    async def _unknown(self, question: _Question, identity: Unknown, *, was_known: bool) -> Vouched:
        if was_known:
            await self._forget(frozenset({question.key}))
        elif self._shared is not None:
            await self._shared.delete(question.key)  # it may not have answered whether it knows the token
        return await self._failed(question, identity)

    async def _unavailable(self, question: _Question, identity: Unavailable, entry: Entry | None) -> Vouched:
        now = self._clock.now()
        if entry and self._freshness.standing(question.key, entry, now) is not Standing.GONE:
            return await self._known(question, replace(entry, failed_at=now))
        if identity in SPARED:
            return Vouched(identity, 0, 0)
        return await self._failed(question, identity)

    async def _failed(self, question: _Question, identity: Unknown | Unavailable) -> Vouched:
        now = self._clock.now()
        failure = self._freshness.failure(identity, now)
        await self._memory.fail(question.key, failure)
        return vouched(failure, now)

    def _vouched(self, question: _Question, entry: Entry) -> Vouched:
        now = self._clock.now()
        if self._freshness.standing(question.key, entry, now) is Standing.STALE:
            STALE_ANSWERS.count(question.provider)
        return self._freshness.vouched(question.key, entry, now)

    def _revoked(self, key: bytes) -> bool:
        return self._revocations.revoked(key, self._clock.wall())

    def _refusal(self) -> Vouched:
        """Give what is told of a revoked token."""
        now = self._clock.now()
        return vouched(self._freshness.failure(Unknown(), now), now)


def _answers(standing: Standing, entry: Entry, now: float) -> bool:
    """Say whether an entry is an answer without a wait for the authority."""
    match standing:
        case Standing.FRESH | Standing.DUE:
            return True
        case Standing.STALE:
            return entry.failing(now)
        case Standing.GONE:
            return False


@contextlib.asynccontextmanager
async def identities(
    settings: Settings,
    secret: bytes,
    clock: Clock | None = None,
    providers: Iterable[Provider] = tuple(Provider),
) -> AsyncIterator[Identities]:
    """Give the identities of a host while the context is open; `secret` keys its hashes and seals (`hashing`).

    Only tokens of `providers` may be asked about.

    Each provider has a client of its own: an authority that hangs must not hold another's connections.
    """
    clock = clock or Clock()
    freshness = Freshness(settings.cache_seconds, settings.stale_seconds, settings.failure_cache_seconds)
    async with contextlib.AsyncExitStack() as stack:
        authorities = {provider: await _lanes(provider, settings, clock, stack) for provider in providers}
        kept = Kept(Memory(settings.cache_entries), Revocations(all_keys(secret)))
        if settings.cache_url is not None:
            client = await stack.enter_async_context(redis_client(settings.cache_url))
            shared, revoked_set = (
                SharedCache(client, secret, freshness, clock),
                RevokedSet(client, kept.revocations, clock),
            )
            kept = replace(kept, shared=shared, revoked_set=revoked_set)
        made = Identities(freshness, authorities, kept, clock)
        stack.push_async_callback(made.aclose)
        if kept.revoked_set is not None:
            await stack.enter_async_context(_following(kept.revoked_set, made.tell))
        yield made


async def _lanes(
    provider: Provider, settings: Settings, clock: Clock, stack: contextlib.AsyncExitStack
) -> Lanes:
    seconds = settings.authority_timeout_seconds
    client = await stack.enter_async_context(authority_client(seconds))
    match provider:
        case Provider.COREWEAVE:
            authority: Authority = CoreWeave(client, settings.coreweave_whoami_url)
        case Provider.WANDB:
            authority = Wandb(client, settings.wandb_graphql_url)
        case _:
            assert_never(provider)
    return lanes(provider, authority, seconds, settings.authority_calls_per_second, clock)


@contextlib.asynccontextmanager
async def _following(revoked_set: RevokedSet, tell: Tell) -> AsyncIterator[None]:
    following = asyncio.create_task(revoked_set.follow(tell))
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                await revoked_set.read.wait()
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
