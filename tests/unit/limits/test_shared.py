"""Redis counts as the pure machine does."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest
import redis.asyncio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from igw_extauth.keeper import Exceeded
from igw_extauth.limits import shared as calls
from igw_extauth.limits.project import Numbers, Project, Standing
from igw_extauth.limits.shared import Reply, Shared, Tell
from redis.exceptions import NoScriptError

from tests.redis_server import RedisServer, redis_server
from tests.unit.limits.history import (
    LEASE_SECONDS,
    START,
    Ask,
    End,
    Go,
    Step,
    Wait,
    histories,
    numbers,
    one_for_all,
)

FRESH = count()
ONE = Numbers(concurrency=1)
busy = st.builds(Numbers, st.just(4), st.just(60), st.just(500), st.just(5000))


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run one Redis for all."""
    folder: Path = tmp_path_factory.mktemp("redis")
    with redis_server(folder) as server:
        yield server


async def both(url: str, history: Sequence[Step]) -> list[tuple[Standing, Reply]]:
    """Play a history to the machine and to Redis; give what each said, step by step."""
    name, pure = f"e/{next(FRESH)}", Project(LEASE_SECONDS)
    shared = Shared(url, "host", LEASE_SECONDS, own_time=True)
    await shared.connect()
    said: list[tuple[Standing, Reply]] = []
    now, asked = START, count()
    for number, step in enumerate(history):
        match step:
            case Wait(seconds):
                now += seconds
                continue
            case Ask(limits):
                lease = str(next(asked))
                expected = pure.admit(now, limits, lease)
                call: calls.Call = calls.Ask(name, limits, lease)
            case Go(place):
                pure.running(now, str(place))
                expected = Standing(None)
                call = Tell(name, number, running=(str(place),))
            case End(place, tokens):
                pure.ended(now, str(place), tokens)
                expected = Standing(None)
                call = Tell(name, number, ended=(str(place),), tokens=tokens)
        (reply,) = await shared.run(now, [call])
        said.append((expected, reply))
    await shared.aclose()
    return said


@settings(max_examples=60, deadline=None)
@given(one_for_all(numbers) | one_for_all(busy) | histories(numbers))
@example([Ask(ONE), Wait(LEASE_SECONDS), Ask(ONE), Ask(ONE)])
def test_any_history_has_the_same_answers(lasting: RedisServer, history: Sequence[Step]) -> None:
    """Whatever is asked and told, under limits that change, at any times: to the last digit of a level."""
    said = asyncio.run(both(lasting.url, history))
    assert [expected for expected, _ in said] == [reply for _, reply in said]


async def test_news_that_are_told_twice_are_charged_once(lasting: RedisServer) -> None:
    """Who does not know whether he was heard says it again."""
    shared = Shared(lasting.url, "host", LEASE_SECONDS)
    await shared.connect()
    quota = Numbers(quota_tokens=15)
    ask = calls.Ask("e/twice", quota, "b")
    first, second = Tell("e/twice", 0, ended=("a",), tokens=5), Tell("e/twice", 1, ended=("b",), tokens=5)
    replies = await shared.run(START, [first, first, second, first, second, ask])
    assert replies[-1] == Standing(None)
    third = Tell("e/twice", 2, tokens=5)
    assert (await shared.run(START, [third, ask]))[-1] == Standing(Exceeded.QUOTA)
    await shared.aclose()


async def test_everything_expires(lasting: RedisServer) -> None:
    """No key stays for ever, and all of a project's have one hash tag, whatever its name."""
    shared = Shared(lasting.url, "host", LEASE_SECONDS)
    await shared.connect()
    ask = calls.Ask("e/}{ü*\udc80", Numbers(9, 9, 9, 9), "a")
    assert await shared.run(START, [ask, Tell(ask.project, 0, ("b",), ("c",), 5)]) == [
        Standing(None, 8, 9),
        Standing(None),
    ]
    await shared.aclose()
    client = redis.asyncio.Redis.from_url(lasting.url, decode_responses=True)
    keys = [key async for key in client.scan_iter("igw:limits:{e/%7D*")]
    assert sorted(key.partition("}:")[2] for key in keys) == [
        "buckets",
        "heard:host",
        "leases",
        "quota:2026-07",
    ]
    lives = {key.partition("}:")[2]: await client.ttl(key) for key in keys}
    assert LEASE_SECONDS <= lives.pop("leases") <= LEASE_SECONDS + 1
    assert all(3000 < seconds < 36 * 86400 for seconds in lives.values())
    await client.aclose()


async def test_redis_own_time(lasting: RedisServer) -> None:
    """Buckets are filled by Redis' clock, so hosts whose clocks differ count alike."""
    shared = Shared(lasting.url, "host", LEASE_SECONDS)
    await shared.connect()
    ask = calls.Ask("e/time", Numbers(requests_per_minute=6000), "a")
    (first,) = await shared.run(0, [ask])
    await asyncio.sleep(0.05)
    (second,) = await shared.run(START, [ask])
    assert first == second == Standing(None, 5999)
    await shared.aclose()


async def test_scripts_that_redis_does_not_have(lasting: RedisServer) -> None:
    """A call that cannot be carried out is told as such, beside others."""
    shared = Shared(lasting.url, "host", LEASE_SECONDS)
    client = redis.asyncio.Redis.from_url(lasting.url)
    await client.script_flush()
    (reply,) = await shared.run(START, [calls.Ask("e/none", Numbers(), "a")])
    assert isinstance(reply, NoScriptError)
    await shared.connect()
    assert await shared.run(START, [calls.Ask("e/none", Numbers(), "a")]) == [Standing(None)]
    await client.aclose()
    await shared.aclose()
