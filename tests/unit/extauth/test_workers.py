"""Several workers on one port, real processes: they share the work, die alone, and are told and end together."""

import asyncio
import hashlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from igw_model.policy import Policy, Provider, policy_text
from structlog.testing import capture_logs

from tests.unit.extauth.authority import FakeAuthority, Person
from tests.unit.extauth.scene import until
from tests.unit.extauth.service import Running, running, settings
from tests.unit.extauth.test_service import PROCESS

POLICY = Policy(Provider.COREWEAVE, "org-1", "gw-1")
LIMITED = Policy(Provider.WANDB, "org-1", "gw-1", limited=True)
TOKEN = "CW-SECRET-0123456789abcdef-ann"
HEADERS = {"x-igw-policy": policy_text(POLICY), "authorization": f"Bearer {TOKEN}"}
CLIENTS = 16


@pytest_asyncio.fixture
async def workers(authority: FakeAuthority) -> AsyncIterator[Running]:
    """Run an extauth of two workers over an authority that knows Ann."""
    authority.people[TOKEN] = Person("ann", "org-1")
    async with running(settings(authority.url, workers=2, concurrency=3)) as service:
        yield service


async def ops(at: Running, path: str) -> httpx.Response:
    """Ask the operations port."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{at.ports.ops}") as client:
        return await client.get(path)


async def pids(at: Running) -> list[int]:
    """Give the process ids of the workers that listen."""
    status = (await ops(at, "/status")).json()
    return [worker["pid"] for worker in status["workers"] if worker["listening"]]


async def sums(at: Running) -> dict[str, float]:
    """Give what all count together."""
    lines = [line.rsplit(" ", 1) for line in (await ops(at, "/metrics")).text.splitlines()]
    return {name: float(value) for name, value in lines if not name.startswith("#")}


@asynccontextmanager
async def stopped(*stopping: int) -> AsyncIterator[None]:
    """Let processes stand still."""
    try:
        for pid in stopping:
            os.kill(pid, signal.SIGSTOP)
        await until(lambda: all(_state(pid) == "T" for pid in stopping))
        yield
    finally:
        for pid in stopping:
            os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def clients(at: Running, number: int = CLIENTS) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Give clients with a connection of each one's own."""
    async with AsyncExitStack() as stack:
        base = f"http://127.0.0.1:{at.ports.http}"
        made = [httpx.AsyncClient(base_url=base, timeout=5, headers=HEADERS) for _ in range(number)]
        yield [await stack.enter_async_context(client) for client in made]


async def ask(client: httpx.AsyncClient) -> int:
    """Ask for Ann."""
    return (await client.post("/v1/models")).status_code


ALLOWED = 'igw_extauth_checks_total{outcome="allowed",provider="coreweave"}'
MISSED = 'igw_extauth_identity_cache_total{result="miss"}'
"""Checks for which somebody had to be asked: counted when they begin."""


async def test_each_serves_and_they_count_together(workers: Running, authority: FakeAuthority) -> None:
    """While the others stand still, each answers alone; a token is asked for once; /metrics is of all of them.

    How a burst is shared between them is in tests/unit/ops/test_accepting.py.
    """
    before = await sums(workers)
    both = await pids(workers)
    for pid in both:
        async with stopped(*(other for other in both if other != pid)), clients(workers, 1) as [client]:
            assert [await ask(client) for _ in range(3)] == [200] * 3
    assert authority.calls[TOKEN] == 1
    after = await sums(workers)
    assert after[ALLOWED] - before.get(ALLOWED, 0) == 6
    assert after["igw_extauth_check_seconds_count"] - before["igw_extauth_check_seconds_count"] == 6
    assert after["igw_extauth_workers"] == 2


async def test_they_have_no_settings_in_their_environment(
    monkeypatch: pytest.MonkeyPatch, authority: FakeAuthority
) -> None:
    """A worker, which reads what anybody sends, has no password of a Redis; the pipe tells it what it needs."""
    monkeypatch.setenv("IGW_CACHE_URL", "redis://:pass-word@localhost")
    monkeypatch.setenv("IN_THE_ENVIRONMENT", "1")
    async with running(settings(authority.url, workers=2)) as service:
        for pid in await pids(service):
            environment = environment_of(pid)
            assert b"IN_THE_ENVIRONMENT=1" in environment
            assert not [each for each in environment if b"pass-word" in each]


def environment_of(pid: int) -> list[bytes]:
    """Give what a process was started with."""
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


async def test_one_that_cannot_be_started_is_tried_again(
    workers: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system refuses for a while, for want of memory or files: the other serves, and then there are two again."""
    first = await pids(workers)
    with capture_logs() as lines:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", "/nowhere/python")
            os.kill(first[0], signal.SIGKILL)
            await until(lambda: [line for line in lines if "No such file" in str(line.get("status"))])
            assert await pids(workers) == first[1:]
        async with asyncio.timeout(10):
            while len(await pids(workers)) < 2:  # noqa: ASYNC110 - another process has no event
                await asyncio.sleep(0.05)


async def test_one_that_is_killed_takes_its_own_and_is_started_again(workers: Running) -> None:
    """Under load a kill costs what was under way on that worker; nothing that was counted is taken back."""
    first = await pids(workers)
    seen: list[dict[str, float]] = [await sums(workers)]
    lost, answered, stop = 0, [0], False

    async def load(client: httpx.AsyncClient) -> None:
        nonlocal lost
        while not stop:
            try:
                assert await ask(client) == 200
                answered[0] += 1
            except httpx.TransportError:
                lost += 1

    async with clients(workers) as asking:
        loads = [asyncio.create_task(load(client)) for client in asking]
        await until(lambda: answered[0] > 1000)
        counted_at = answered[0]
        seen.append(await sums(workers))
        os.kill(first[0], signal.SIGKILL)
        killed_at = answered[0]
        await until(lambda: answered[0] > killed_at + 200)
        seen.append(await sums(workers))
        while len(now := await pids(workers)) < 2:
            await asyncio.sleep(0.02)
            seen.append(await sums(workers))
        stop = True
        await asyncio.gather(*loads)
        seen.append(await sums(workers))
    assert lost <= CLIENTS
    assert (first[1] in now, first[0] in now) == (True, False)
    allowed = [each.get(ALLOWED, 0) for each in seen]
    assert allowed == sorted(allowed), "a counter went back"
    untold = killed_at - counted_at + CLIENTS  # an answer to each was perhaps on its way at the kill
    assert allowed[-1] - allowed[0] >= answered[0] - untold, "what the dead one had told is lost"
    assert seen[-1]["igw_extauth_worker_restarts_total"] - seen[0]["igw_extauth_worker_restarts_total"] == 1
    assert seen[-1]["igw_extauth_workers"] == 2
    assert (await ops(workers, "/readyz")).status_code == 200


async def test_a_revocation_reaches_all_at_once(workers: Running) -> None:
    """When the operator is told, no worker lets the token pass any more."""
    async with clients(workers) as asking:
        assert set(await asyncio.gather(*map(ask, asking))) == {200}
        assert (
            await revoke(workers, {"sha256": hashlib.sha256(TOKEN.encode()).hexdigest()})
        ).status_code == 204
        assert set(await asyncio.gather(*map(ask, asking))) == {401}


async def revoke(at: Running, document: Any) -> httpx.Response:
    """Ask for a revocation."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{at.ports.ops}") as client:
        return await client.post("/revoke", json=document)


async def test_a_worker_that_hangs_is_no_revocation(workers: Running) -> None:
    """What is not certain is not confirmed; /metrics goes on with what it said last."""
    before = await sums(workers)
    async with stopped((await pids(workers))[0]):
        reply, after = await asyncio.gather(revoke(workers, {"sha256": "0" * 64}), sums(workers))
    assert (reply.status_code, reply.text) == (503, "a worker did not confirm in time; try again\n")
    assert after["igw_extauth_check_seconds_count"] == before["igw_extauth_check_seconds_count"]
    assert (await revoke(workers, {"sha256": "0" * 64})).status_code == 204


async def test_slots_are_counted_over_all_workers(workers: Running, authority: FakeAuthority) -> None:
    """Three slots are three, whichever workers are asked."""
    key = "k" * 40
    authority.people[key] = Person("eve", "eve")
    asked = {"x-igw-policy": policy_text(LIMITED), "authorization": f"Bearer {key}"}
    async with clients(workers) as asking:
        replies = await asyncio.gather(*(client.post("/v1", headers=asked) for client in asking))
    assert sorted(reply.status_code for reply in replies) == [200] * 3 + [429] * (CLIENTS - 3)
    assert len({reply.headers["x-igw-lease"] for reply in replies if reply.is_success}) == 3


async def test_the_end_waits_for_what_is_under_way(workers: Running, authority: FakeAuthority) -> None:
    """Checks that have begun are answered, over each transport, and then nobody listens."""
    before = (await sums(workers)).get(MISSED, 0)
    authority.open.clear()
    async with clients(workers) as asking:
        under_way = [asyncio.create_task(ask(client)) for client in asking]
        under_way.append(asyncio.create_task(over_grpc(workers)))
        async with asyncio.timeout(10):
            while (await sums(workers)).get(MISSED, 0) - before < len(under_way):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        workers.stop.set()
        await asyncio.sleep(0.1)
        assert (await ops(workers, "/readyz")).text == "stopping\n"
        authority.open.set()
        assert await asyncio.gather(*under_way) == [200] * len(under_way)


async def over_grpc(at: Running) -> int:
    """Ask for Ann over gRPC."""
    return (await at.ask("grpc", POLICY, [f"Bearer {TOKEN}"])).status


async def test_they_end_with_their_parent(authority: FakeAuthority) -> None:
    """A parent that is killed leaves no worker behind, whose sockets would take checks that nobody can answer."""
    given = settings(authority.url, workers=2).model_dump_json()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROCESS, given, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    ports: dict[str, int] = {}
    while not ports:
        line = json.loads(await process.stdout.readline())
        ports = line if line["event"] == "listening" else {}
    children = children_of(process.pid)
    assert len(children) == 2
    process.kill()
    await process.wait()
    await until(lambda: not [pid for pid in children if _state(pid) not in {"Z", "X", ""}])


def children_of(pid: int) -> list[str]:
    """Give the process ids of a process's children."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _state(pid: int | str) -> str:
    """Give a process's state as proc(5) has it, nothing where there is none."""
    try:
        state = re.search(r"State:\s+(\w)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return ""
    return state[1] if state else ""
