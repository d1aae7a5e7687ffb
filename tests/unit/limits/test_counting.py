"""Limits as the keeper has them: alone, over a real Redis, and when that fails."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from igw_extauth import outage
from igw_extauth.keeper import Admission, Admitted, Ended, Exceeded, Held, Level, Levels, Running
from igw_extauth.limits import counting, sharing
from igw_extauth.limits.counting import Limits, limits
from igw_extauth.settings import Settings
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from tests.redis_server import RedisServer
from tests.unit.limits.limits_api import TOKEN, limits_api

PROJECT = "ann/inference"


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look after a failed Redis more often than once a second, and wait for one on a busy machine."""
    monkeypatch.setattr(sharing, "AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(sharing, "RUN_SECONDS", 5)


@asynccontextmanager
async def counted(redis: RedisServer | None = None, **given: Any) -> AsyncIterator[Limits]:
    """Count, over a Redis if there is one."""
    if redis is not None:
        given |= {"cache_url": redis.url, "secret_file": Path("secret")}
    async with limits(Settings(**{"concurrency": 2, **given})) as opened:
        yield opened


def lease(admission: Admission) -> str:
    """Give the slot of a request that was let in."""
    assert isinstance(admission, Admitted), admission
    return admission.lease


async def outcomes(of: Limits, times: int) -> list[Exceeded | None]:
    """Ask so many times, one after the other; give the limits that were met."""
    admissions = [await of.admit(PROJECT) for _ in range(times)]
    return [admission.limit if isinstance(admission, Held) else None for admission in admissions]


async def until(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


def alone() -> bool:
    """Say whether Redis does not count though it should."""
    return REGISTRY.get_sample_value("igw_extauth_limits_alone") == 1


async def test_without_redis() -> None:
    """One host counts by itself, and each lease has a name of its own."""
    async with counted(requests_per_minute=60) as host:
        first, second = await host.admit(PROJECT), await host.admit(PROJECT)
        assert isinstance(first, Admitted)
        assert first.levels == Levels(Level(60, 59, 1), Level(1_000_000, 1_000_000, 0))
        assert lease(first) != lease(second)
        assert await outcomes(host, 1) == [Exceeded.CONCURRENCY]
        assert await host.admit("ann/other")
        host.report([Running(PROJECT, lease(first)), Ended(PROJECT, lease(first), 10)])
        assert await outcomes(host, 2) == [None, Exceeded.CONCURRENCY]
        assert not alone()
        assert REGISTRY.get_sample_value("igw_extauth_limits_leases") == host.leases() == 3


async def test_tokens_beyond_belief() -> None:
    """A model server that says anything charges a bounded number, and never less than nothing."""
    async with counted(quota_tokens=counting.MAX_CHARGE + 1) as host:
        host.report([Ended(PROJECT, "a", -5), Ended(PROJECT, "b", 10**18)])
        assert await outcomes(host, 1) == [None]
        host.report([Ended(PROJECT, "c", 1)])
        assert await outcomes(host, 1) == [Exceeded.QUOTA]


async def test_numbers_of_the_wandb_side(tmp_path: Path) -> None:
    """What it says holds; a project that it does not know may do nothing."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    async with limits_api() as api:
        api.projects[PROJECT] = {"concurrency": 1}
        async with counted(limits_url=api.url, limits_token_file=token) as host:
            assert await outcomes(host, 2) == [None, Exceeded.CONCURRENCY]
            assert await host.admit("ann/none") == Held(Exceeded.UNKNOWN_PROJECT, 10, Levels())


async def test_a_token_that_is_not_there(tmp_path: Path) -> None:
    """A wrong setting is told before anything starts."""
    with pytest.raises(FileNotFoundError):
        async with counted(limits_url="http://127.0.0.1:1", limits_token_file=tmp_path / "none"):
            pass


async def test_two_hosts_count_together(redis: RedisServer) -> None:
    """What both let in at once is never more than the limit, nor less than there is room for."""
    most = at_once = passed = 0

    async def requests(host: Limits, number: int) -> None:
        nonlocal most, at_once, passed
        while number:
            admission = await host.admit(PROJECT)
            if isinstance(admission, Held):
                await asyncio.sleep(0.002)
                continue
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.001)
            at_once -= 1
            host.report([Ended(PROJECT, admission.lease, 10)])
            passed += 1
            number -= 1

    async with counted(redis, concurrency=8) as one, counted(redis, concurrency=8) as two:
        await asyncio.gather(*(requests(host, 5) for host in (one, two) for _ in range(16)))
        assert not alone()
    assert (most, passed) == (8, 160)
    assert await value(redis, "igw:limits:{ann/inference}:quota:*") == "1600"


async def value(redis: RedisServer, pattern: str) -> str | None:
    """Give what Redis has under the one key of a pattern."""
    async with Redis.from_url(redis.url, decode_responses=True) as client:
        keys = await client.keys(pattern)
        return str(await client.get(keys[0])) if keys else None


async def test_what_ends_on_one_host_is_free_on_another(redis: RedisServer) -> None:
    """Slots and their ends are everybody's."""
    async with counted(redis) as one, counted(redis) as two:
        first = lease(await one.admit(PROJECT))
        assert await outcomes(two, 2) == [None, Exceeded.CONCURRENCY]
        one.report([Ended(PROJECT, first)])
        await one.admit("ann/other")  # goes behind the news
        assert await outcomes(two, 2) == [None, Exceeded.CONCURRENCY]


async def test_a_host_that_is_gone_holds_its_slots_for_a_lease(redis: RedisServer) -> None:
    """What a killed host had let in is free when nobody tells of it any more."""
    async with counted(redis, lease_seconds=3) as one:
        await outcomes(one, 2)
    async with Redis.from_url(redis.url) as client:
        now = (await client.time())[0]
        assert await client.zcount("igw:limits:{ann/inference}:leases", now + 1, now + 4) == 2


async def test_redis_is_killed_and_comes_back(redis: RedisServer) -> None:
    """Meanwhile requests and tokens count by what went through the host; tokens are charged afterwards."""
    few = {"requests_per_minute": 4, "quota_tokens": 75}
    async with counted(redis, **few) as one, counted(redis, **few) as two:
        ended = lease(await one.admit(PROJECT))
        await two.admit(PROJECT)
        redis.kill()
        one.report([Ended(PROJECT, ended, 70)])
        assert await outcomes(one, 4) == [None, None, None, Exceeded.REQUESTS]
        assert alone()
        one.report([Ended(PROJECT, "of two", 5)])
        assert await outcomes(one, 1) == [Exceeded.QUOTA]
        assert await outcomes(two, 4) == [None, None, None, Exceeded.REQUESTS]
        redis.start()
        await until(lambda: _available(one) and _available(two))
        assert not alone()
        assert await outcomes(two, 1) == [Exceeded.QUOTA]
        assert await value(redis, "igw:limits:{ann/inference}:quota:*") == "75"


async def test_events_go_to_another_host_than_questions(redis: RedisServer) -> None:
    """An Envoy's checks go to every host, its news to one: whose requests ended elsewhere refuses none for that.

    While Redis is away nobody is refused for concurrency; back, it holds who is told of from then on.
    """
    async with counted(redis) as one, counted(redis) as two:
        for _ in range(3):
            one.report([Ended(PROJECT, lease(await host.admit(PROJECT))) for host in (one, two)])
            await one.admit("ann/other")  # goes behind the news
        before = [lease(await host.admit(PROJECT)) for host in (one, two)]
        assert one.leases() == two.leases() == 0
        redis.kill()
        one.report([Running(PROJECT, held) for held in before])
        assert await outcomes(one, 5) == await outcomes(two, 5) == [None] * 5
        assert alone()
        meanwhile = lease(await two.admit(PROJECT))
        one.report([Running(PROJECT, held) for held in (*before, meanwhile)])
        assert not _untold(one)
        redis.start()
        await until(lambda: _available(one) and _available(two))
        assert await slots(redis) == 0
        one.report([Running(PROJECT, before[1]), Running(PROJECT, meanwhile)])
        await one.admit("ann/other")
        assert await outcomes(two, 1) == await outcomes(one, 1) == [Exceeded.CONCURRENCY]
        one.report([Ended(PROJECT, meanwhile)])
        await one.admit("ann/other")
        assert await outcomes(two, 2) == [None, Exceeded.CONCURRENCY]


async def slots(redis: RedisServer) -> int:
    """Give how many slots of the project Redis holds."""
    async with Redis.from_url(redis.url) as client:
        return int(await client.zcard("igw:limits:{ann/inference}:leases"))


def _untold(host: Limits) -> bool:
    return host._sharing is not None and bool(host._sharing._untold)


def _available(host: Limits) -> bool:
    return host._sharing is not None and host._sharing._available


async def test_redis_hangs(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks waits once, for as long as a run may take; what Redis carries out late is charged once."""
    async with counted(redis) as host:
        first = lease(await host.admit(PROJECT))
        monkeypatch.setattr(sharing, "CONNECT_SECONDS", 0.1)
        monkeypatch.setattr(sharing, "RUN_SECONDS", 1)
        redis.pause()
        loop = asyncio.get_running_loop()
        began = loop.time()
        host.report([Ended(PROJECT, first, 30)])
        assert await outcomes(host, 3) == [None, None, None]
        assert loop.time() - began < 2
        assert alone()
        monkeypatch.setattr(sharing, "CONNECT_SECONDS", 1)
        redis.resume()
        await until(lambda: _available(host))
        assert await outcomes(host, 2) == [None, Exceeded.CONCURRENCY]
        assert await value(redis, "igw:limits:{ann/inference}:quota:*") == "30"


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_host_that_stands_still_does_not_blame_redis(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """A reply that has come is read, also when this process was too busy to look for long."""
    monkeypatch.setattr(sharing, "RUN_SECONDS", 0.2)

    async def story() -> None:
        async with counted(redis) as host:
            asking = asyncio.create_task(host.admit(PROJECT))
            for _ in range(5):
                await asyncio.sleep(0)
            time.sleep(0.25)  # noqa: ASYNC251 - this is the standing still
            assert await asking
            assert not alone()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(story())


async def test_redis_forgets_its_scripts(redis: RedisServer) -> None:
    """A Redis that was emptied is told again what it must know."""
    async with counted(redis) as host:
        first = lease(await host.admit(PROJECT))
        async with Redis.from_url(redis.url) as client:
            await client.flushall()
            await client.script_flush()
        assert await outcomes(host, 1) == [None]
        await until(lambda: _available(host))
        host.report([Running(PROJECT, first)])
        assert await outcomes(host, 2) == [None, Exceeded.CONCURRENCY]
        assert await slots(redis) == 2


async def test_a_redis_that_is_not_there_yet(redis: RedisServer) -> None:
    """A host starts without Redis, and asks it as soon as it is there."""
    redis.kill()
    async with counted(redis) as host:
        assert alone()
        assert await outcomes(host, 1) == [None]
        redis.start()
        await until(lambda: _available(host))
        assert await outcomes(host, 3) == [None, None, Exceeded.CONCURRENCY]


async def test_who_does_not_wait_for_the_answer_holds_no_slot(redis: RedisServer) -> None:
    """A slot that Redis gave to a request that is gone is given back."""
    async with counted(redis) as host:
        asking = asyncio.create_task(host.admit(PROJECT))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: not host._sharing._untold if host._sharing else False)
        assert await outcomes(host, 3) == [None, None, Exceeded.CONCURRENCY]


async def test_who_asks_at_the_end_is_answered(redis: RedisServer) -> None:
    """A keeper that stops leaves nobody waiting, neither for his turn nor for an answer."""
    async with counted(redis) as host:
        redis.pause()
        asking = asyncio.create_task(outcomes(host, 1))
        await asyncio.sleep(0.01)
    async with asyncio.timeout(1):
        assert await asking == [None]


async def test_what_is_left_is_told_at_the_end(redis: RedisServer) -> None:
    """A keeper that stops tells what was used."""
    async with counted(redis) as host:
        host.report([Ended(PROJECT, "a", 5)])
    assert await value(redis, "igw:limits:{ann/inference}:quota:*") == "5"


async def test_an_outage_is_told_without_the_address(
    redis: RedisServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When Redis fails and when it is back there is a line, with the kind of the error alone."""
    monkeypatch.setattr(outage, "MIN_SECONDS", 0)
    redis.kill()
    url = redis.url.replace("redis://", "redis://ann:hunter2@")
    async with limits(Settings(cache_url=url, secret_file=Path("secret"))) as host:
        said = capsys.readouterr().out
        assert "limits_redis_unavailable" in said
        redis.start()
        async with Redis.from_url(redis.url) as client:
            await client.acl_setuser(
                "ann", enabled=True, passwords=["+hunter2"], keys=["*"], commands=["+@all"]
            )
        await until(lambda: _available(host))
        await host.admit(PROJECT)
        await until(lambda: "limits_redis_available" in capsys.readouterr().out)
    assert "hunter2" not in said
    assert "127.0.0.1" not in said
