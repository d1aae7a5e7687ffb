"""The identities of a host, against a real authority over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from igw_extauth import hashing
from igw_extauth.authority.lane import KNOWN_CALLS, NEW_CALLS
from igw_extauth.identities.cache import Memory
from igw_extauth.identities.freshness import Entry, Failure
from igw_extauth.identities.kept import MAX_LOOKUPS, Identities, identities
from igw_extauth.identity import Identity, Known, Principal, Unavailable, Unknown
from igw_extauth.keeper import Vouched
from igw_extauth.secret import BearerToken
from igw_extauth.settings import Settings
from igw_extauth.timing import Clock
from igw_model.policy import Provider
from structlog.testing import capture_logs

from tests.unit.extauth.authority import FakeAuthority, Mode, Person

SECRET = b"0123456789abcdef"
ANN = BearerToken("CW-SECRET-ann")
NOBODY = BearerToken("CW-SECRET-nobody")
KNOWN_ANN = Known(Principal("ann", frozenset({"org-1"})))


@dataclass(slots=True)
class Time:
    """Time that a test lets pass."""

    seconds: float = 1000.0

    def clock(self) -> Clock:
        """Give the clocks that show it."""
        return Clock(lambda: self.seconds, lambda: self.seconds + 1e9)


def key(token: BearerToken) -> bytes:
    """Give a token's key."""
    return hashing.key(Provider.COREWEAVE, hashing.digest(token.reveal()), SECRET)


@dataclass(slots=True)
class Host:
    """A host's identities over an authority, in a time of its own."""

    authority: FakeAuthority
    identities: Identities
    time: Time
    told: list[frozenset[bytes]] = field(default_factory=list)

    async def ask(self, token: BearerToken) -> Vouched:
        """Ask for a token."""
        return await self.identities.identify(Provider.COREWEAVE, key(token), token)

    async def identity(self, token: BearerToken) -> Identity:
        """Ask for a token's identity."""
        return (await self.ask(token)).identity

    async def asked(self, token: BearerToken, times: int) -> None:
        """Wait until the authority was asked of a token so many times, and what it said was taken."""
        while self.authority.calls[token.reveal()] < times:  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(0.005)
        if self.authority.open.is_set():
            await self.settled()

    async def heard(self, revoked: bytes) -> None:
        """Wait until workers were told to forget a key."""
        async with asyncio.timeout(10):
            while not any(revoked in keys for keys in self.told):  # noqa: ASYNC110 - a list has no event
                await asyncio.sleep(0.005)

    async def settled(self) -> None:
        """Wait until no look-up is under way."""
        while self.identities._under_way:  # noqa: ASYNC110 - a table has no event
            await asyncio.sleep(0.005)

    @property
    def memory(self) -> Memory:
        """Give what is remembered."""
        return self.identities._memory


@asynccontextmanager
async def host(authority: FakeAuthority, **overrides: Any) -> AsyncIterator[Host]:
    """Give a host whose authority knows Ann."""
    authority.people[ANN.reveal()] = Person("ann", "org-1")
    time = Time()
    given = Settings(
        **{
            "coreweave_whoami_url": f"{authority.url}/whoami",
            "authority_timeout_seconds": 20,
            "authority_calls_per_second": 1e6,
            **overrides,
        }
    )
    async with identities(given, SECRET, time.clock()) as made:
        running = Host(authority, made, time)
        made.on_revoked(running.told.append)
        yield running


def test_the_times_and_the_bound_are_those_of_the_requirements() -> None:
    """By default 60 s, then ten minutes while the authority fails; 10 s for the unknown; 10,000 of each."""
    given = Settings()
    assert (given.cache_seconds, given.stale_seconds, given.failure_cache_seconds) == (60, 600, 10)
    assert given.cache_entries == 10_000


async def test_a_known_token_is_asked_for_once_until_its_time_is_over(authority: FakeAuthority) -> None:
    """Within its time a token costs no question; after it, one."""
    async with host(authority) as ann:
        assert [await ann.identity(ANN) for _ in range(3)] == [KNOWN_ANN] * 3
        assert authority.calls[ANN.reveal()] == 1
        ann.time.seconds += 60
        authority.people.clear()
        assert await ann.identity(ANN) == Unknown()
        assert authority.calls[ANN.reveal()] == 2


async def test_a_slow_authority_stretches_no_bound(authority: FakeAuthority) -> None:
    """An answer counts from when it was asked for; one that took longer than any may be used is none."""
    async with host(authority) as ann:
        authority.open.clear()
        asking = asyncio.create_task(ann.ask(ANN))
        await ann.asked(ANN, 1)
        ann.time.seconds += 10
        authority.open.set()
        assert (await asking).seconds == 50
        authority.open.clear()
        ann.time.seconds += 50
        late = asyncio.create_task(ann.ask(ANN))
        await ann.asked(ANN, 2)
        ann.time.seconds += 660
        authority.open.set()
        assert (await late).identity == Unavailable("answer too late")


async def test_a_second_try_is_a_question_as_any(authority: FakeAuthority) -> None:
    """A passing failure costs nobody an answer, unless the authority was asked enough, or is left alone."""
    async with host(authority, authority_calls_per_second=3) as ann:
        authority.once = [Mode.BUSY]
        assert await ann.identity(ANN) == KNOWN_ANN
        authority.once = [Mode.BUSY]
        assert await ann.identity(NOBODY) == Unavailable("status 503")
        assert authority.calls == {ANN.reveal(): 2, NOBODY.reveal(): 1}
        authority.mode = Mode.BUSY
        authority.calls.clear()
        for _ in range(6):
            ann.time.seconds += 1
            await ann.ask(NOBODY)
        assert authority.calls.total() == 4 * 2 + 1  # the one before counts; the last is a probe


async def test_a_token_in_use_is_asked_for_anew_before_its_time_is_over(authority: FakeAuthority) -> None:
    """In the last fifth of its time, in the background, while the old answer serves."""
    async with host(authority) as ann:
        assert (await ann.ask(ANN)).seconds == 60
        ann.time.seconds += 55
        authority.open.clear()
        assert await ann.ask(ANN) == Vouched(KNOWN_ANN, 5, 2.5)
        assert await ann.ask(ANN) == Vouched(KNOWN_ANN, 5, 2.5)
        authority.open.set()
        await ann.asked(ANN, 2)
        assert (await ann.ask(ANN)).seconds == 60
        assert authority.calls[ANN.reveal()] == 2


async def test_a_token_that_turns_bad_is_forgotten_at_once(authority: FakeAuthority) -> None:
    """Asked for anew in the background, it is unknown: here from then on, and workers are told."""
    async with host(authority) as ann:
        await ann.ask(ANN)
        authority.people.clear()
        ann.time.seconds += 55
        assert await ann.identity(ANN) == KNOWN_ANN
        await ann.asked(ANN, 2)
        assert await ann.identity(ANN) == Unknown()
        assert ann.told == [frozenset({key(ANN)})]
        assert authority.calls[ANN.reveal()] == 2


async def test_an_unknown_token_is_remembered_for_its_own_time(authority: FakeAuthority) -> None:
    """A token that was refused is asked for again after the failures' time, not after the known ones'."""
    async with host(authority) as ann:
        assert [await ann.ask(NOBODY) for _ in range(3)] == [Vouched(Unknown(), 10, 10)] * 3
        assert authority.calls[NOBODY.reveal()] == 1
        ann.time.seconds += 10
        authority.people[NOBODY.reveal()] = Person("ann", "org-1")
        assert await ann.identity(NOBODY) == KNOWN_ANN


async def test_an_outage_is_forgotten_before_the_caller_is_told_to_return(authority: FakeAuthority) -> None:
    """An authority's failure is remembered for less than ``Retry-After: 1``, and never as a bad token."""
    async with host(authority) as ann:
        authority.mode = Mode.FAILING
        assert [await ann.identity(ANN) for _ in range(3)] == [Unavailable("status 500")] * 3
        assert authority.calls[ANN.reveal()] == 1
        authority.mode = Mode.TRUE
        ann.time.seconds += 0.95
        assert await ann.identity(ANN) == KNOWN_ANN


@pytest.mark.parametrize("mode", [Mode.FAILING, Mode.REDIRECTING, Mode.RUBBISH, Mode.HUGE, Mode.BUSY])
async def test_while_the_authority_fails_a_good_token_passes_for_the_allowance(
    authority: FakeAuthority, mode: Mode
) -> None:
    """For ten minutes behind its time, two seconds at a time; then it is like a token never seen: 503."""
    async with host(authority) as ann:
        await ann.ask(ANN)
        authority.mode = mode
        ann.time.seconds += 61
        assert await ann.ask(ANN) == Vouched(KNOWN_ANN, 2, 1)
        assert isinstance(await ann.identity(NOBODY), Unavailable)
        ann.time.seconds += 598.5
        assert await ann.ask(ANN) == Vouched(KNOWN_ANN, 0.5, 0.25)
        ann.time.seconds += 0.5
        assert isinstance(await ann.identity(ANN), Unavailable)


async def test_without_an_allowance_nothing_stale_passes(authority: FakeAuthority) -> None:
    """``stale_seconds: 0`` ends a token with its time."""
    async with host(authority, stale_seconds=0) as ann:
        await ann.ask(ANN)
        authority.mode = Mode.FAILING
        ann.time.seconds += 60
        assert await ann.identity(ANN) == Unavailable("status 500")


async def test_a_silent_authority_makes_nobody_wait_twice(authority: FakeAuthority) -> None:
    """Past its time a good token waits for the authority once; then the stale answer is given at once."""
    async with host(authority, authority_timeout_seconds=0.5) as ann:
        await ann.ask(ANN)
        authority.open.clear()
        ann.time.seconds += 61
        assert await ann.identity(ANN) == KNOWN_ANN
        async with asyncio.timeout(0.25):
            ann.time.seconds += 2
            assert await ann.identity(ANN) == KNOWN_ANN
        await ann.settled()
        assert authority.calls[ANN.reveal()] == 3
        assert await ann.identity(NOBODY) == Unavailable("timeout")


async def test_a_flapping_authority_costs_no_good_token_an_answer(authority: FakeAuthority) -> None:
    """One that fails every other time is asked every other second, and its yes counts for a whole time again."""
    async with host(authority) as ann:
        await ann.ask(ANN)
        for _ in range(20):
            authority.once = [Mode.FAILING]
            ann.time.seconds += 60
            assert await ann.ask(ANN) == Vouched(KNOWN_ANN, 2, 1)
            ann.time.seconds += 2
            await ann.ask(ANN)
            await ann.settled()
            assert (await ann.ask(ANN)).seconds == 60


async def test_a_dead_authority_is_left_alone_and_found_again(authority: FakeAuthority) -> None:
    """Five failures open the breaker: no more questions, 503 at once; its first success closes it."""
    async with host(authority) as ann:
        strangers = [BearerToken(f"CW-SECRET-{i}") for i in range(30)]
        authority.mode = Mode.FAILING
        answers = [await ann.identity(token) for token in strangers]
        assert answers == [Unavailable("status 500")] * 5 + [Unavailable("the authority fails")] * 25
        assert authority.calls.total() == 5
        ann.time.seconds += 1
        assert await ann.identity(strangers[10]) == Unavailable("status 500")
        assert await ann.identity(strangers[11]) == Unavailable("the authority fails")
        assert authority.calls.total() == 6
        authority.mode = Mode.TRUE
        ann.time.seconds += 2
        assert await ann.identity(ANN) == KNOWN_ANN
        assert [await ann.identity(token) for token in strangers] == [Unknown()] * 30


async def test_five_minutes_of_outage_are_few_questions(authority: FakeAuthority) -> None:
    """Good tokens pass all the while; the authority is asked about every thirty seconds, and logged once."""
    async with host(authority) as ann:
        with capture_logs() as lines:
            tokens = [BearerToken(f"CW-SECRET-{i}") for i in range(20)]
            authority.people |= {token.reveal(): Person("ann", "org-1") for token in tokens}
            for token in tokens:
                await ann.ask(token)
            authority.calls.clear()
            authority.mode = Mode.FAILING
            for _ in range(150):
                ann.time.seconds += 2
                assert [await ann.identity(token) for token in tokens] == [KNOWN_ANN] * 20
            await ann.settled()
        assert authority.calls.total() < 40  # of 3,000, had each been asked for
        assert [line["event"] for line in lines].count("authority_unavailable") == 1


async def test_one_question_at_a_time_for_each_token(authority: FakeAuthority) -> None:
    """Fifty who ask at once for one token, and one for another, are two questions."""
    async with host(authority) as ann:
        authority.open.clear()
        asking = [asyncio.create_task(ann.identity(token)) for token in [ANN] * 50 + [NOBODY]]
        await ann.asked(ANN, 1)
        await ann.asked(NOBODY, 1)
        authority.open.set()
        assert await asyncio.gather(*asking) == [KNOWN_ANN] * 50 + [Unknown()]
        assert authority.calls == {ANN.reveal(): 1, NOBODY.reveal(): 1}


async def test_a_lookup_survives_those_who_go_away(authority: FakeAuthority) -> None:
    """The first who asked goes away: the others are answered. All go away: the answer is kept."""
    async with host(authority) as ann:
        authority.open.clear()
        first, second = (asyncio.create_task(ann.identity(ANN)) for _ in range(2))
        await ann.asked(ANN, 1)
        first.cancel()
        alone = asyncio.create_task(ann.identity(NOBODY))
        await ann.asked(NOBODY, 1)
        alone.cancel()
        authority.open.set()
        assert await second == KNOWN_ANN
        await ann.settled()
        assert await ann.identity(NOBODY) == Unknown()
        assert first.cancelled()
        assert authority.calls == {ANN.reveal(): 1, NOBODY.reveal(): 1}


async def test_the_memory_is_bounded(authority: FakeAuthority) -> None:
    """A full memory drops what was used least lately."""
    async with host(authority, cache_entries=10) as ann:
        authority.people |= {f"CW-SECRET-{i}": Person("ann", "org-1") for i in range(30)}
        for i in range(30):
            await ann.ask(BearerToken(f"CW-SECRET-{i}"))
            await ann.ask(BearerToken("CW-SECRET-0"))
        assert len(ann.memory._known._cache) == 10
        assert authority.calls["CW-SECRET-0"] == 1
        await ann.ask(BearerToken("CW-SECRET-1"))
        assert authority.calls["CW-SECRET-1"] == 2


async def test_a_flood_of_unknown_tokens_evicts_no_known_one(authority: FakeAuthority) -> None:
    """Strangers cannot make a caller's token be asked for again, nor fill the memory."""
    async with host(authority, cache_entries=10) as ann:
        await ann.ask(ANN)
        for i in range(100):
            assert await ann.identity(BearerToken(f"CW-SECRET-stranger-{i}")) == Unknown()
        assert await ann.identity(ANN) == KNOWN_ANN
        assert authority.calls[ANN.reveal()] == 1
        assert len(ann.memory._failures._cache) == 10


async def test_a_flood_of_random_tokens_is_capped_while_known_ones_are_asked_anew(
    authority: FakeAuthority,
) -> None:
    """Of 5,000 strangers the authority hears of a second's worth; all of those who were good are refreshed."""
    async with host(authority, authority_calls_per_second=100) as ann:
        good = [BearerToken(f"CW-SECRET-good-{i}") for i in range(40)]
        authority.people |= {token.reveal(): Person("ann", "org-1") for token in good}
        for token in good:
            await ann.ask(token)
        authority.calls.clear()
        authority.most_at_once = 0
        ann.time.seconds += 57
        authority.open.clear()
        flood = [asyncio.create_task(ann.identity(BearerToken(f"CW-SECRET-{i}"))) for i in range(5000)]
        await asyncio.sleep(0)
        assert [await ann.identity(token) for token in good] == [KNOWN_ANN] * 40
        while authority.at_once < NEW_CALLS + KNOWN_CALLS:  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(0.005)
        authority.open.set()
        answers = await asyncio.gather(*flood)
        await ann.settled()
        assert (answers.count(Unknown()), answers.count(Unavailable("too many look-ups"))) == (100, 4900)
        assert authority.most_at_once == NEW_CALLS + KNOWN_CALLS
        assert authority.calls.total() == 140
        assert [(await ann.ask(token)).seconds for token in good] == [60] * 40
        assert len(ann.memory._failures._cache) == 100


async def test_what_strangers_make_an_authority_answer_stands_in_no_known_tokens_way(
    authority: FakeAuthority,
) -> None:
    """Tokens that make it fail open the strangers' breaker; those that were good are asked for all the same."""
    async with host(authority) as ann:
        await ann.ask(ANN)
        authority.modes = {f"CW-SECRET-{i}": Mode.FAILING for i in range(6)}
        for i in range(6):
            await ann.ask(BearerToken(f"CW-SECRET-{i}"))
        ann.time.seconds += 60
        assert (await ann.ask(ANN)).seconds == 60


async def test_lookups_under_way_are_bounded(authority: FakeAuthority) -> None:
    """When very many tokens wait for a silent authority, the next is refused at once; a good one has its turn."""
    async with host(authority) as ann:
        await ann.ask(ANN)
        authority.open.clear()
        waiting = [asyncio.create_task(ann.ask(BearerToken(f"CW-SECRET-{i}"))) for i in range(MAX_LOOKUPS)]
        await asyncio.sleep(0)
        assert await ann.ask(NOBODY) == Vouched(Unavailable("too many look-ups"), 0, 0)
        ann.time.seconds += 60
        asking = asyncio.create_task(ann.ask(ANN))
        await ann.asked(ANN, 2)
        authority.open.set()
        assert (await asking).seconds == 60
        await ann.identities.aclose()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_revoked_token_is_unknown_at_once_whatever_its_authority_says(
    authority: FakeAuthority,
) -> None:
    """Remembered or being asked for; workers are told; after an hour its authority counts again."""
    async with host(authority) as ann:
        await ann.ask(ANN)
        await ann.identities.revoke(hashing.digest(ANN.reveal()))
        assert await ann.ask(ANN) == Vouched(Unknown(), 10, 10)
        [told] = ann.told
        assert key(ANN) in told
        ann.time.seconds += 3599
        assert await ann.identity(ANN) == Unknown()
        assert authority.calls[ANN.reveal()] == 1
        ann.time.seconds += 1
        assert await ann.identity(ANN) == KNOWN_ANN


async def test_an_answer_under_way_when_its_token_is_revoked_is_not_used(authority: FakeAuthority) -> None:
    """The authority's yes comes too late."""
    async with host(authority) as ann:
        authority.open.clear()
        asking = asyncio.create_task(ann.identity(ANN))
        await ann.asked(ANN, 1)
        await ann.identities.revoke(hashing.digest(ANN.reveal()))
        authority.open.set()
        assert await asking == Unknown()
        assert ann.memory._known._cache == {}


async def test_the_memory_and_the_log_hold_no_token(authority: FakeAuthority) -> None:
    """What is remembered is hashes and identities; the hash needs our secret. A revocation is logged by it."""
    async with host(authority) as ann:
        with capture_logs() as lines:
            await ann.ask(ANN)
            await ann.ask(NOBODY)
            assert ann.memory._known._cache == {key(ANN): Entry(KNOWN_ANN, 1000)}
            assert ann.memory._failures._cache == {key(NOBODY): Failure(Unknown(), 1010)}
            await ann.identities.revoke(hashing.digest(ANN.reveal()))
        assert [line["event"] for line in lines] == ["token_revoked"]
        assert hashing.short(key(ANN)) in lines[0]["tokens"]
        digest = hashing.digest(ANN.reveal())
        others = {
            hashing.key(Provider.WANDB, digest, SECRET),
            hashing.key(Provider.COREWEAVE, digest, bytes(16)),
        }
        assert len(others | {key(ANN), digest}) == 4
