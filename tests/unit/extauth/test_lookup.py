"""Look-ups and their cache, against a real authority over HTTP."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from igw_extauth.authorities import CoreWeave, authority_client
from igw_extauth.cache import IdentityCache
from igw_extauth.identity import Identity, Known, Principal, Unavailable, Unknown
from igw_extauth.lookup import MAX_LOOKUPS, Lookup
from igw_extauth.secret import BearerToken
from igw_extauth.settings import Settings
from igw_model.policy import Provider

from tests.unit.extauth.authority import FakeAuthority, Mode, Person

ANN = BearerToken("CW-SECRET-ann")
BOB = BearerToken("CW-SECRET-bob")
NOBODY = BearerToken("CW-SECRET-nobody")
KNOWN_ANN = Known(Principal("ann", frozenset({"org-1"})))


class Setting:
    """A look-up over a cache that a test shapes."""

    def __init__(self, authority: FakeAuthority) -> None:
        self.authority = authority
        authority.people[ANN.reveal()] = Person("ann", "org-1")
        self.client = authority_client(2)

    def lookup(self, cache: IdentityCache, *, timeout_seconds: float = 2) -> Lookup:
        """Make a look-up of CoreWeave tokens."""
        coreweave = CoreWeave(self.client, f"{self.authority.url}/whoami")
        return Lookup(Provider.COREWEAVE, coreweave, cache, timeout_seconds=timeout_seconds)

    async def asked(self, token: BearerToken, times: int) -> None:
        """Wait until the authority was asked of a token so many times."""
        while self.authority.calls[token.reveal()] < times:  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(0.005)


def cache(*, seconds: float = 60, failure_seconds: float = 10, entries: int = 100) -> IdentityCache:
    """Give an empty cache."""
    return IdentityCache(
        secret=b"0123456789abcdef", seconds=seconds, failure_seconds=failure_seconds, entries=entries
    )


@pytest_asyncio.fixture
async def setting(authority: FakeAuthority) -> AsyncIterator[Setting]:
    """Give an authority that knows Ann."""
    made = Setting(authority)
    async with made.client:
        yield made


def test_the_times_and_the_bound_are_those_of_the_requirements() -> None:
    """By default a known token is remembered for 60 s, an unknown one for 10 s, 10,000 of each."""
    given = Settings()
    assert (given.cache_seconds, given.failure_cache_seconds, given.cache_entries) == (60, 10, 10_000)


async def test_a_known_token_is_asked_for_once_until_its_time_is_over(setting: Setting) -> None:
    """Within its time a token costs no question; after it, one."""
    lookup = setting.lookup(cache(seconds=0.3, failure_seconds=9))
    assert [await lookup.identify(ANN) for _ in range(3)] == [KNOWN_ANN] * 3
    assert setting.authority.calls[ANN.reveal()] == 1
    await asyncio.sleep(0.4)
    setting.authority.people.clear()
    assert await lookup.identify(ANN) == Unknown()
    assert setting.authority.calls[ANN.reveal()] == 2


async def test_an_unknown_token_is_remembered_for_its_own_time(setting: Setting) -> None:
    """A token that was refused is asked for again after the failures' time, not after the known ones'."""
    lookup = setting.lookup(cache(seconds=60, failure_seconds=0.3))
    assert [await lookup.identify(NOBODY) for _ in range(3)] == [Unknown()] * 3
    assert setting.authority.calls[NOBODY.reveal()] == 1
    await asyncio.sleep(0.4)
    setting.authority.people[NOBODY.reveal()] = Person("ann", "org-1")
    assert await lookup.identify(NOBODY) == KNOWN_ANN


async def test_an_outage_is_forgotten_before_the_caller_is_told_to_return(setting: Setting) -> None:
    """An authority's failure is remembered for less than ``Retry-After: 1``, and never as a bad token."""
    setting.authority.modes[ANN.reveal()] = Mode.FAILING
    lookup = setting.lookup(cache())
    assert [await lookup.identify(ANN) for _ in range(3)] == [Unavailable("status 500")] * 3
    assert setting.authority.calls[ANN.reveal()] == 1
    setting.authority.modes.clear()
    await asyncio.sleep(1)
    assert await lookup.identify(ANN) == KNOWN_ANN


async def test_one_question_at_a_time_for_each_token(setting: Setting) -> None:
    """Fifty who ask at once for one token, and one for another, are two questions."""
    setting.authority.open.clear()
    lookup = setting.lookup(cache())
    asking = [asyncio.create_task(lookup.identify(token)) for token in [ANN] * 50 + [NOBODY]]
    await setting.asked(ANN, 1)
    await setting.asked(NOBODY, 1)
    setting.authority.open.set()
    assert await asyncio.gather(*asking) == [KNOWN_ANN] * 50 + [Unknown()]
    assert setting.authority.calls == {ANN.reveal(): 1, NOBODY.reveal(): 1}


async def test_a_lookup_survives_those_who_go_away(setting: Setting) -> None:
    """The first who asked goes away: the others are answered. All go away: the answer is kept."""
    setting.authority.open.clear()
    lookup = setting.lookup(cache())
    first, second = (asyncio.create_task(lookup.identify(ANN)) for _ in range(2))
    await setting.asked(ANN, 1)
    first.cancel()
    alone = asyncio.create_task(lookup.identify(NOBODY))
    await setting.asked(NOBODY, 1)
    alone.cancel()
    setting.authority.open.set()
    assert await second == KNOWN_ANN
    assert await lookup.identify(NOBODY) == Unknown()
    assert first.cancelled()
    assert setting.authority.calls == {ANN.reveal(): 1, NOBODY.reveal(): 1}


async def test_the_cache_is_bounded(setting: Setting) -> None:
    """A full cache drops what was used least lately, with its timer."""
    kept = cache(entries=10)
    lookup = setting.lookup(kept)
    setting.authority.people |= {f"CW-SECRET-{i}": Person("ann", "org-1") for i in range(30)}
    for i in range(30):
        await lookup.identify(BearerToken(f"CW-SECRET-{i}"))
        await lookup.identify(BearerToken("CW-SECRET-0"))
    assert len(kept._known._cache) == len(kept._known._handlers) == 10
    assert setting.authority.calls["CW-SECRET-0"] == 1
    await lookup.identify(BearerToken("CW-SECRET-1"))
    assert setting.authority.calls["CW-SECRET-1"] == 2


async def test_a_flood_of_unknown_tokens_evicts_no_known_one(setting: Setting) -> None:
    """Strangers cannot make a caller's token be asked for again, nor fill the memory."""
    kept = cache(entries=10)
    lookup = setting.lookup(kept)
    await lookup.identify(ANN)
    for i in range(100):
        assert await lookup.identify(BearerToken(f"CW-SECRET-stranger-{i}")) == Unknown()
    assert await lookup.identify(ANN) == KNOWN_ANN
    assert setting.authority.calls[ANN.reveal()] == 1
    assert len(kept._failures._cache) == len(kept._failures._handlers) == 10


async def test_the_cache_holds_no_token(setting: Setting) -> None:
    """The cache's whole contents are hashes and identities; the hash needs the process's secret."""
    kept = cache()
    await setting.lookup(kept).identify(ANN)
    await setting.lookup(kept).identify(NOBODY)
    ann, nobody = kept.key(Provider.COREWEAVE, ANN), kept.key(Provider.COREWEAVE, NOBODY)
    assert (kept._known._cache, kept._failures._cache) == ({ann: KNOWN_ANN}, {nobody: Unknown()})
    assert (set(kept._known._handlers), set(kept._failures._handlers)) == ({ann}, {nobody})
    assert len(ann) == 64
    assert set(ann) <= set("0123456789abcdef")
    other = IdentityCache(secret=b"another secret!!", seconds=1, failure_seconds=1, entries=1)
    assert len({ann, kept.key(Provider.WANDB, ANN), other.key(Provider.COREWEAVE, ANN), nobody}) == 4


async def test_a_silent_authority_costs_a_bounded_time(setting: Setting) -> None:
    """A look-up ends when its time is over, whatever the authority does."""
    setting.authority.open.clear()
    lookup = setting.lookup(cache(), timeout_seconds=0.1)
    async with asyncio.timeout(1):
        assert await lookup.identify(ANN) == Unavailable("timeout")


async def test_lookups_under_way_are_bounded(setting: Setting) -> None:
    """When very many tokens wait for a silent authority, the next is refused at once."""
    setting.authority.open.clear()
    lookup = setting.lookup(cache())
    waiting = [
        asyncio.create_task(lookup.identify(BearerToken(f"CW-SECRET-{i}"))) for i in range(MAX_LOOKUPS)
    ]
    await asyncio.sleep(0.05)
    refused: Identity = await lookup.identify(ANN)
    assert refused == Unavailable("too many look-ups")
    for task in waiting:
        task.cancel()
    await lookup.aclose()


async def test_nobody_listens(setting: Setting) -> None:
    """An authority that cannot be reached is an outage, not a bad token."""
    setting.authority.url = "http://127.0.0.1:1"
    assert await setting.lookup(cache()).identify(ANN) == Unavailable("no answer: ConnectError")


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (Mode.HUGE, "answer too large"),
        (Mode.BOMB, "answer not understood"),
        (Mode.DEEP, "answer not understood"),
    ],
)
async def test_an_answer_is_read_within_bounds(setting: Setting, mode: Mode, reason: str) -> None:
    """An answer that would fill our memory or our stack is no answer; a packed one is not unpacked."""
    setting.authority.modes[ANN.reveal()] = mode
    assert await setting.lookup(cache()).identify(ANN) == Unavailable(reason)
    assert setting.authority.encodings == {"identity"}


async def test_one_callers_session_does_not_speak_for_another(setting: Setting) -> None:
    """A cookie that the authority sets for one token is not sent with the next."""
    lookup = setting.lookup(cache())
    await lookup.identify(ANN)
    await lookup.identify(BOB)
    assert setting.authority.calls == {ANN.reveal(): 1, BOB.reveal(): 1}
    assert setting.authority.cookies == []
