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
import pytest_asyncio
from igw_model.policy import Policy, Provider, policy_text

from tests.unit.extauth.authority import FakeAuthority, Person
from tests.unit.extauth.scene import until
from tests.unit.extauth.service import Running, running, settings
from tests.unit.extauth.test_service import PROCESS

POLICY = Policy(Provider.COREWEAVE, "org-1", "gw-1")
LIMITED = Policy(Provider.WANDB, "org-1", "gw-1", limited=True)
TOKEN = "CW-SECRET-0123456789abcdef-ann"
HEADERS = {"x-igw-policy": policy_text(POLICY), "authorization": f"Bearer {TOKEN}"}
CLIENTS = 16
MANY = 48


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


def sockets(pid: int) -> int:
    """Give how many sockets a process has open."""
    return sum(str(each.readlink()).startswith("socket:") for each in Path(f"/proc/{pid}/fd").iterdir())


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


async def test_they_share_the_work_and_count_together(workers: Running, authority: FakeAuthority) -> None:
    """Each has its part of the connections; a token is asked for once; /metrics is of all of them."""
    before = await sums(workers)
    mine = {pid: sockets(pid) for pid in await pids(workers)}
    async with clients(workers, MANY) as asking:
        for _ in range(3):
            assert await asyncio.gather(*map(ask, asking)) == [200] * MANY
        taken = {pid: sockets(pid) - count for pid, count in mine.items()}
    assert sum(taken.values()) == MANY
    assert all(taken.values()), f"one worker has all connections: {taken}"
    assert authority.calls[TOKEN] == 1
    after = await sums(workers)
    assert after[ALLOWED] - before.get(ALLOWED, 0) == 3 * MANY
    assert after["igw_extauth_check_seconds_count"] - before["igw_extauth_check_seconds_count"] == 3 * MANY
    assert after["igw_extauth_workers"] == 2


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
    untold = killed_at - counted_at
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
    stopped = (await pids(workers))[0]
    os.kill(stopped, signal.SIGSTOP)
    try:
        reply, after = await asyncio.gather(revoke(workers, {"sha256": "0" * 64}), sums(workers))
    finally:
        os.kill(stopped, signal.SIGCONT)
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
    authority.open.clear()
    async with clients(workers) as asking:
        under_way = [asyncio.create_task(ask(client)) for client in asking]
        under_way.append(asyncio.create_task(over_grpc(workers)))
        await until(lambda: authority.calls)
        await asyncio.sleep(0.1)
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
    await until(lambda: not [pid for pid in children if _lives(pid)])


def children_of(pid: int) -> list[str]:
    """Give the process ids of a process's children."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _lives(pid: str) -> bool:
    try:
        state = re.search(r"State:\s+(\w)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return False
    return state is not None and state[1] not in "ZX"
