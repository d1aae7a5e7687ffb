"""What hosts tell each other of tokens through a real Redis, and that none of it is needed."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from igw_extauth import hashing
from igw_extauth.identities import kept, shared_cache
from igw_extauth.identities.kept import identities
from igw_extauth.identity import Known, Principal, Unknown
from igw_extauth.metrics import SHARED_CACHE
from igw_extauth.secret import BearerToken
from igw_extauth.settings import Settings
from igw_extauth.timing import Clock
from redis.asyncio import Redis
from structlog.testing import capture_logs

from tests.redis_server import RedisServer, redis_server
from tests.unit.extauth.authority import FakeAuthority, Mode, Person
from tests.unit.extauth.test_identities import ANN, KNOWN_ANN, NOBODY, SECRET, Host, Time, key

ENTRY = f"igw:identity:{key(ANN).hex()}"
EVE = Known(Principal("eve", frozenset({"org-1"})))
ANN_DIGEST = hashing.digest(ANN.reveal())


@pytest.fixture(autouse=True)
def patiently(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a Redis on a busy machine; one that is down refuses at once."""
    monkeypatch.setattr(shared_cache, "TIMEOUT_SECONDS", 5)
    monkeypatch.setattr(kept, "START_SECONDS", 5)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Run an empty Redis."""
    with redis_server(tmp_path) as server:
        yield server


class Fleet:
    """Hosts that share a Redis and a time."""

    def __init__(self, authority: FakeAuthority, redis: RedisServer, stack: AsyncExitStack) -> None:
        self.authority = authority
        self.redis = redis
        self.client = Redis.from_url(redis.url, decode_responses=True)
        self.raw = Redis.from_url(redis.url)
        self.time = Time()
        self._stack = stack
        authority.people[ANN.reveal()] = Person("ann", "org-1")

    async def host(self) -> Host:
        """Start a host."""
        given = Settings(
            coreweave_whoami_url=f"{self.authority.url}/whoami",
            cache_url=self.redis.url,
            secret_file=Path("/elsewhere"),
        )
        clock = Clock(self.time.clock().now, lambda: time.time() + self.time.seconds)
        made = Host(
            self.authority,
            await self._stack.enter_async_context(identities(given, SECRET, clock)),
            self.time,
        )
        made.identities.on_revoked(made.told.append)
        return made

    async def kept(self) -> dict[str, Any] | None:
        """Give what Redis has of Ann."""
        value = await self.raw.get(ENTRY)
        return None if value is None else json.loads(value[hashing.SEAL_BYTES :])

    async def forge(self, entry: bytes, *, of: BearerToken = ANN, secret: bytes = SECRET) -> None:
        """Put something under Ann's key, with the seal that it has for a token at hosts of a secret."""
        await self.client.set(ENTRY, hashing.seal(key(of), entry, secret) + entry)


@pytest_asyncio.fixture
async def fleet(authority: FakeAuthority, redis: RedisServer) -> AsyncIterator[Fleet]:
    """Give a fleet without hosts."""
    async with AsyncExitStack() as stack:
        made = Fleet(authority, redis, stack)
        yield made
        await made.client.aclose()
        await made.raw.aclose()


async def test_what_one_host_was_told_no_other_asks(fleet: Fleet) -> None:
    """A known token is asked for once for all hosts, and holds no longer at the second; unknown ones are not shared."""
    first, second = await fleet.host(), await fleet.host()
    assert (await first.ask(ANN)).identity == KNOWN_ANN
    fleet.time.seconds += 20
    told = await second.ask(ANN)
    assert told.identity == KNOWN_ANN
    assert told.seconds == pytest.approx(40, abs=0.5)
    assert await first.identity(NOBODY) == await second.identity(NOBODY) == Unknown()
    assert fleet.authority.calls == {ANN.reveal(): 1, NOBODY.reveal(): 2}


async def test_redis_holds_hashes_and_names_for_as_long_as_they_are_good(fleet: Fleet) -> None:
    """No token, no digest of a good one, nothing of an unknown one; all with an end."""
    host = await fleet.host()
    await host.ask(ANN)
    await host.ask(NOBODY)
    assert await fleet.client.keys() == [ENTRY]
    kept = await fleet.kept()
    assert kept is not None
    assert kept.pop("checked_at") == pytest.approx(time.time() + fleet.time.seconds, abs=2)
    assert kept == {"name": "ann", "organizations": ["org-1"], "entity": ""}
    assert 655_000 < await fleet.client.pttl(ENTRY) <= 660_000


async def test_a_stale_answer_is_shared_too(fleet: Fleet) -> None:
    """While the authority fails, a host that never saw a token gives what another was told of it."""
    await (await fleet.host()).ask(ANN)
    fleet.authority.mode = Mode.FAILING
    fleet.time.seconds += 100
    other = await fleet.host()
    told = await other.ask(ANN)
    assert (told.identity, told.seconds) == (KNOWN_ANN, 2)
    fleet.time.seconds += 560
    assert await other.identity(ANN) != KNOWN_ANN


async def test_a_token_that_turns_bad_is_gone_from_redis(fleet: Fleet) -> None:
    """The host that was told so takes it out."""
    host = await fleet.host()
    await host.ask(ANN)
    fleet.authority.people.clear()
    fleet.time.seconds += 60
    assert await host.identity(ANN) == Unknown()
    assert await fleet.kept() is None


@pytest.mark.parametrize(
    "change",
    [
        {"checked_at": time.time() + 1e6},
        {"checked_at": 0},
        {"checked_at": "now"},
        {"name": ""},
        {"name": "x" * 300},
        {"organizations": "org-1"},
        {"more": 1},
    ],
)
async def test_nonsense_in_redis_is_ignored(fleet: Fleet, change: dict[str, Any]) -> None:
    """An entry from the future, of long ago, or that is none, is as if it were not there."""
    await fleet.forge(json.dumps(eve() | change).encode())
    assert await (await fleet.host()).identity(ANN) == KNOWN_ANN


async def test_an_entry_is_believed_from_who_has_the_secret_and_for_its_own_token(fleet: Fleet) -> None:
    """Who can write to Redis, and no more, makes no token good and nobody somebody else."""
    entry = json.dumps(eve()).encode()
    await fleet.forge(entry)
    assert await (await fleet.host()).identity(ANN) == EVE, (
        "a seal of ours is believed, or the rest says nothing"
    )
    sealed: Any = await fleet.raw.get(ENTRY)
    for content in (b"", entry, b"\xff\x00", sealed[:-1], sealed.replace(b"eve", b"eva"), bytes(16) + entry):
        await fleet.client.set(ENTRY, content)
        assert await (await fleet.host()).identity(ANN) == KNOWN_ANN, content
    for forged in ({"of": NOBODY}, {"secret": b"another secret of others"}):
        await fleet.forge(entry, **forged)
        assert await (await fleet.host()).identity(ANN) == KNOWN_ANN


async def test_an_entry_that_is_moved_to_another_key_is_ignored(fleet: Fleet) -> None:
    """What a host wrote of Ann makes nobody else Ann."""
    await (await fleet.host()).ask(ANN)
    await fleet.client.copy(ENTRY, f"igw:identity:{key(NOBODY).hex()}")
    assert await (await fleet.host()).identity(NOBODY) == Unknown()


def eve() -> dict[str, Any]:
    """Give an entry that is good, but for its seal."""
    return {"name": "eve", "organizations": ["org-1"], "entity": "", "checked_at": time.time() + 1000}


async def test_a_fault_of_ours_does_not_end_the_hearing_of_revocations(fleet: Fleet) -> None:
    """One that could not be passed on costs nothing but itself; the next is heard."""
    first, second = await fleet.host(), await fleet.host()
    faults = [RuntimeError("a fault of ours")]

    def fail(_: frozenset[bytes]) -> None:
        while faults:
            raise faults.pop()

    second.identities.on_revoked(fail)
    with capture_logs() as lines:
        await first.identities.revoke(hashing.digest(NOBODY.reveal()))
        await second.heard(key(NOBODY))
        assert not faults
        await first.identities.revoke(ANN_DIGEST)
        await second.heard(key(ANN))
    assert {"event": "revoked_set_unavailable", "reason": "RuntimeError", "log_level": "warning"} in lines


async def test_a_revocation_reaches_all_hosts_and_those_that_come_later(fleet: Fleet) -> None:
    """At once through the channel; at its start, a host reads what was revoked before."""
    first, second = await fleet.host(), await fleet.host()
    await first.ask(ANN)
    await second.ask(ANN)
    await first.identities.revoke(ANN_DIGEST)
    await second.heard(key(ANN))
    third = await fleet.host()
    assert [await host.identity(ANN) for host in (first, second, third)] == [Unknown()] * 3
    assert await fleet.client.keys() == ["igw:revoked"]
    assert await fleet.client.zrange("igw:revoked", 0, -1) == [ANN_DIGEST.hex()]


async def test_a_revocation_outlives_redis(fleet: Fleet) -> None:
    """What was revoked before Redis was killed, or while it was down, is written to the new one."""
    first = await fleet.host()
    await first.identities.revoke(hashing.digest(NOBODY.reveal()))
    fleet.redis.kill()
    await first.identities.revoke(ANN_DIGEST)
    assert await first.identity(ANN) == Unknown()
    fleet.redis.start()
    async with asyncio.timeout(5):
        while await fleet.client.zcard("igw:revoked") < 2:  # noqa: ASYNC110 - Redis has no event
            await asyncio.sleep(0.02)
    assert await (await fleet.host()).identity(ANN) == Unknown()


async def test_identities_go_on_without_redis(fleet: Fleet) -> None:
    """Killed: what is remembered serves and the authority is asked; back: entries are shared again. Two log lines."""
    host = await fleet.host()
    with capture_logs() as lines:
        await host.ask(ANN)
        fleet.redis.kill()
        assert await host.identity(ANN) == KNOWN_ANN
        for _ in range(5):
            fleet.time.seconds += 60
            assert (await host.ask(ANN)).seconds == pytest.approx(60, abs=0.5)
        assert await host.identity(NOBODY) == Unknown()
        fleet.redis.start()
        fleet.time.seconds += 60
        assert await host.identity(ANN) == KNOWN_ANN
        assert await fleet.kept() is not None
    events = [line["event"] for line in lines if line["event"].startswith("shared_cache")]
    assert events == ["shared_cache_unavailable", "shared_cache_available"]


async def test_a_redis_that_hangs_costs_a_tenth_of_a_second_once_a_second(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look-up waits for it; the others of that second ask the authority at once."""
    monkeypatch.setattr(shared_cache, "TIMEOUT_SECONDS", 0.1)
    host = await fleet.host()
    before = SHARED_CACHE.counts()
    fleet.redis.pause()
    try:
        for second in range(2):
            async with asyncio.timeout(1):
                await host.ask(BearerToken(f"CW-SECRET-{second}"))
            for i in range(10):
                await host.ask(BearerToken(f"CW-SECRET-{second}-{i}"))
            fleet.time.seconds += 1
    finally:
        fleet.redis.resume()
    calls = {call: count - before.get(call, 0) for call, count in SHARED_CACHE.counts().items()}
    assert {call: count for call, count in calls.items() if count} == {("get", "failed"): 2}


async def test_a_host_starts_without_redis(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits a moment to know what was revoked, then serves."""
    monkeypatch.setattr(kept, "START_SECONDS", 0.5)
    fleet.redis.kill()
    host = await fleet.host()
    assert await host.identity(ANN) == KNOWN_ANN
