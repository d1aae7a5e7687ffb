"""Whose tokens pass while their authority fails, is flooded, or has changed its mind; three workers, real servers."""

import asyncio
import itertools
import multiprocessing
import os
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.real_envoy.running import Running, eventually, igw_up, resident
from tests.redis_server import RedisServer

CACHE_SECONDS = 1.0
STALE_SECONDS = 4.0
DEFAULT_CALLS_A_SECOND = 100
FLOOD = 100_000
ROOM_SECONDS = 0.005
TRIES = 3
FAULTS: dict[str, dict[str, Any]] = {
    "down": {"kind": "status", "status": 503},
    "slow": {"kind": "slow", "delay_ms": 5000},
    "flapping": {"kind": "flapping", "fails": 2, "of": 3},
    "redirecting": {"kind": "redirect"},
    "rubbish": {"kind": "wrong_json"},
    "huge": {"kind": "huge", "size": 1 << 20},
    "hanging up": {"kind": "hang_up"},
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, shared_cache: RedisServer) -> Iterator[Running]:
    """A demo that remembers for a second, goes on for four more, and shares what it knows in Redis."""
    folder: Path = tmp_path_factory.mktemp("identity")
    environment = {
        "IGW_EXTAUTH_WORKERS": "3",
        "IGW_CACHE_URL": shared_cache.url,
        "IGW_AUTH_SECRET_FILE": str(folder / "identity-secret"),
        "IGW_AUTH_CACHE_SECONDS": str(CACHE_SECONDS),
        "IGW_AUTH_STALE_SECONDS": str(STALE_SECONDS),
        "IGW_AUTHORITY_TIMEOUT_SECONDS": "1.5",
    }
    with igw_up(folder, "--demo", environment=environment) as running:
        yield running


def authority(gateway: Running, method: str, page: str, document: Any = None) -> Any:
    url = f"http://127.0.0.1:{gateway.option('authority', '--port')}/demo/{page}"
    return httpx.request(method, url, json=document).raise_for_status().json()


def issued(gateway: Running) -> str:
    """Give a token that its authority knows, and nobody has seen."""
    token = f"CW-SECRET-{secrets.token_urlsafe(24)}"
    document = {"token": token, "uid": "ann", "organization": "demo-org"}
    authority(gateway, "POST", "tokens", {"add": [{"coreweave": document}]})
    return token


def status(gateway: Running, token: str) -> int:
    return gateway.get("chat", "/v1/models", token=token).status_code


@pytest.fixture
def calm(gateway: Running) -> Iterator[Running]:
    """The gateway, whose authority is well before and after."""
    yield gateway
    authority(gateway, "POST", "fault", {})
    token = issued(gateway)
    eventually(lambda: status(gateway, token) == 200, 40)


@pytest.mark.parametrize("kind", FAULTS)
def test_an_authority_that_fails(calm: Running, kind: str) -> None:
    """Who was good goes on; who was never seen is asked to come again, and is not called bad; nobody is redirected."""
    known = issued(calm)
    assert status(calm, known) == 200
    authority(calm, "POST", "fault", FAULTS[kind])
    ends, new = time.monotonic() + CACHE_SECONDS + 1, Counter[int]()
    while time.monotonic() < ends:
        assert status(calm, known) == 200
        new[status(calm, issued(calm))] += 1
    assert set(new) <= ({200, 503} if kind == "flapping" else {503})
    assert authority(calm, "GET", "calls")["redirected"] == 0


def test_the_end_of_the_allowance(calm: Running) -> None:
    """An authority that stays down: then the last good answer counts no more; once it is back it does at once."""
    known = issued(calm)
    assert status(calm, known) == 200
    began = time.monotonic()
    authority(calm, "POST", "fault", FAULTS["down"])
    eventually(lambda: status(calm, known) == 503, CACHE_SECONDS + STALE_SECONDS + 2)
    assert time.monotonic() - began > STALE_SECONDS


async def test_one_question_of_a_token_over_all_workers(gateway: Running) -> None:
    """A hundred requests at once with a token that nobody has seen."""
    authority(gateway, "POST", "fault", {"kind": "slow", "delay_ms": 300})
    token = issued(gateway)
    before = gateway.looked_up()["whoami"]
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=30, limits=limits, headers=gateway.headers("chat", token)) as client:
        asked = (client.get(f"{gateway.ready['ingress']}/v1/models") for _ in range(100))
        answers = await asyncio.gather(*asked)
    authority(gateway, "POST", "fault", {})
    assert [answer.status_code for answer in answers] == [200] * 100
    assert gateway.looked_up()["whoami"] - before == 1


def test_a_revoked_token_stops(gateway: Running) -> None:
    """Within the time that a good answer is kept, when its authority revokes it; at once by `igw auth revoke`.

    Also just behind an outage.
    """
    theirs, ours = issued(gateway), issued(gateway)
    assert [status(gateway, theirs), status(gateway, ours)] == [200, 200]
    authority(gateway, "POST", "tokens", {"revoke": [theirs]})
    ops = f"http://127.0.0.1:{gateway.option('extauth', '--ops-port')}"
    command = [sys.executable, "-m", "igw_cli", "auth", "revoke", "--extauth", ops]
    subprocess.run(command, input=ours, text=True, check=True, capture_output=True)
    assert [status(gateway, ours) for _ in range(12)] == [401] * 12
    time.sleep(CACHE_SECONDS)
    eventually(lambda: status(gateway, theirs) == 401, 0.5)
    assert status(gateway, theirs) == 401


@pytest.mark.parametrize("fault", ["killed", "hanging"])
def test_without_redis_all_goes_on(gateway: Running, shared_cache: RedisServer, fault: str) -> None:
    """Known and new tokens, limited gateways too; and when it is back."""
    known = issued(gateway)
    assert status(gateway, known) == 200
    seen = Counter[int]()
    (shared_cache.kill if fault == "killed" else shared_cache.pause)()
    try:
        _ask(gateway, known, seen)
    finally:
        (shared_cache.start if fault == "killed" else shared_cache.resume)()
    _ask(gateway, known, seen)
    assert set(seen) == {200}


def _ask(gateway: Running, known: str, seen: Counter[int]) -> None:
    key = str(gateway.ready["tokens"]["wandb"])
    for _ in range(8):
        seen[status(gateway, known)] += 1
        seen[status(gateway, issued(gateway))] += 1
        seen[gateway.get("wandb-chat", "/v1/models", token=key).status_code] += 1
        time.sleep(0.1)


@pytest.mark.alone
async def test_a_flood_of_random_tokens(own_gateway: Running) -> None:
    """100,000 of them: good clients are served as before, nothing grows, and the authority is asked no more often.

    The flood comes to extauth itself: through Envoy it would be slower.
    """
    token, late = issued(own_gateway), list[float]()
    assert status(own_gateway, token) == 200
    # Who floods, floods from this machine and takes a core of it: some room beyond twice is for that. Other programs
    # run here, too, so the best of some tries counts.
    while not late or (min(late) > ROOM_SECONDS and len(late) < TRIES):
        alone = await _good(own_gateway, token, seconds=2)
        late.append(_p99(await _good_beside_a_flood(own_gateway, token)) - 2 * _p99(alone))
    assert min(late) <= ROOM_SECONDS, late


async def _good_beside_a_flood(own_gateway: Running, token: str) -> list[float]:
    """Give what good clients wait meanwhile; what it costs us is asserted."""
    memory, asked, began = _megabytes(own_gateway), own_gateway.looked_up()["whoami"], time.monotonic()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as elsewhere:
        flood = asyncio.wrap_future(elsewhere.submit(flooded, *_extauth(own_gateway)))
        beside = []
        while not flood.done():
            beside += await _good(own_gateway, token, seconds=0.5)
        refused, seconds = await flood, time.monotonic() - began
    assert (sum(refused.values()), set(refused)) == (FLOOD, {b"401", b"503"})
    # All that is asked beside it is whether the good clients' token is still good.
    assert own_gateway.looked_up()["whoami"] - asked <= DEFAULT_CALLS_A_SECOND * (seconds + 1) + seconds
    assert _megabytes(own_gateway) - memory < 40
    return beside


def _p99(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) * 99 // 100]


def _megabytes(gateway: Running) -> float:
    """Give the memory of extauth."""
    return resident(gateway.pids["extauth"]) / 1024**2


def _extauth(gateway: Running) -> tuple[int, str]:
    """Give its port, and the policy of the gateway `chat`."""
    return int(
        gateway.option("extauth", "--port")
    ), f"coreweave/demo-org/{gateway.ready['gateways'][0]['id']}"


def _check(policy: str, token: str) -> bytes:
    return f"GET / HTTP/1.1\r\nhost: x\r\nx-igw-policy: {policy}\r\nauthorization: Bearer {token}\r\n\r\n".encode()


async def _good(gateway: Running, token: str, *, seconds: float) -> list[float]:
    """Ask for the models again and again, every few milliseconds; give how long each answer took."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    headers = "".join(f"{name}: {value}\r\n" for name, value in gateway.headers("chat", token).items())
    ends, took = time.monotonic() + seconds, []
    while (began := time.monotonic()) < ends:
        writer.write(f"GET /v1/models HTTP/1.1\r\n{headers}\r\n".encode())
        assert await _answer(reader) == b"200"
        took.append(time.monotonic() - began)
        await asyncio.sleep(0.005)
    writer.close()
    return took


def flooded(port: int, policy: str) -> Counter[bytes]:
    """Send the flood, from a process of its own; give the answers' statuses."""
    os.nice(5)
    return asyncio.run(_flood(port, policy))


async def _flood(port: int, policy: str) -> Counter[bytes]:
    seen, left = Counter[bytes](), iter(range(FLOOD))
    async with asyncio.TaskGroup() as tasks:
        for _ in range(16):
            tasks.create_task(_send(port, policy, left, seen))
    return seen


async def _send(port: int, policy: str, left: Iterator[int], seen: Counter[bytes]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while batch := list(itertools.islice(left, 5)):
        writer.write(b"".join(_check(policy, f"CW-SECRET-{secrets.token_urlsafe(24)}") for _ in batch))
        for _ in batch:
            seen[await _answer(reader)] += 1
    writer.close()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """Read an answer; give its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return head[9:12]
