"""Definitions and replicas change while requests flow, and no request fails for it."""

import asyncio
import itertools
import os
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import yaml

from tests.real_envoy.running import REPLICAS, Running, chat, eventually

CLIENTS = 16


@dataclass
class Count:
    """What the clients saw: replies by status, by replica, and what went wrong in words."""

    statuses: Counter[int | str] = field(default_factory=Counter)
    replicas: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, answer: httpx.Response) -> None:
        self.statuses[answer.status_code] += 1
        self.replicas[answer.headers.get("x-demo-replica", "none")] += 1
        if answer.status_code != 200:
            self.failures.append(f"{answer.status_code} {answer.text[:200]}")


async def ask(gateway: Running, name: str, count: Count, stop: Callable[[], bool]) -> None:
    """Send requests one after the other until told to stop, and count every answer."""
    headers = gateway.headers(name)
    async with httpx.AsyncClient(timeout=30) as client:
        while not stop():
            try:
                count.add(
                    await client.post(
                        f"{gateway.ready['ingress']}/v1/chat/completions", json=chat(), headers=headers
                    )
                )
            except httpx.HTTPError as error:
                count.statuses["failed"] += 1
                count.failures.append(repr(error))


@asynccontextmanager
async def load(gateway: Running, name: str = "chat") -> AsyncIterator[Count]:
    """Keep the clients asking while the context is open."""
    count, stopped = Count(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(CLIENTS):
            tasks.create_task(ask(gateway, name, count, stopped.is_set))
        try:
            yield count
        finally:
            stopped.set()


async def shares(gateway: Running, requests: int) -> Counter[str]:
    """Give how many of so many requests each replica answered; all must succeed."""
    count, numbers = Count(), itertools.count()
    await asyncio.gather(
        *(ask(gateway, "chat", count, lambda: next(numbers) >= requests) for _ in range(CLIENTS))
    )
    assert set(count.statuses) == {200}, count.failures[:5]
    return count.replicas


def weights(stable: int, canary: int) -> Callable[[str], str]:
    """Give an edit that sets the two weights of the split."""
    found = iter((stable, canary, 1000))
    return lambda text: re.sub(r"(?m)^    weight: \d+$", lambda _: f"    weight: {next(found)}", text)


@pytest.fixture
def changing(module_gateway: Running) -> Iterator[Running]:
    """Give a gateway whose definitions are put back at the end."""
    original = module_gateway.definitions.read_text()
    yield module_gateway
    module_gateway.edit(lambda _: original)


async def test_a_split_follows_its_weights(changing: Running) -> None:
    """900 to 100 gives 90 % and 10 %, within three points over 2,000 requests; disabled gives nothing."""
    replicas = await shares(changing, 2000)
    total = replicas.total()
    assert abs(replicas["small-c"] / total - 0.10) < 0.03
    assert abs((replicas["small-a"] + replicas["small-b"]) / total - 0.90) < 0.03
    assert (
        min(replicas["small-a"], replicas["small-b"]) / total > 0.25
    )  # both replicas of the stable one work
    changing.edit(
        lambda text: text.replace("name: small-stable\n", "name: small-stable\n  disabled: true\n", 1)
    )
    eventually(lambda: changing.post("chat", chat()).headers["x-demo-replica"] == "small-c")
    eventually(
        lambda: all(changing.post("chat", chat()).headers["x-demo-replica"] == "small-c" for _ in range(30))
    )
    assert await shares(changing, 200) == Counter({"small-c": 200})


async def test_weights_change_under_load(changing: Running) -> None:
    """20 seconds of new weights every half second, 16 clients: no request fails."""
    async with load(changing) as count:
        deadline = time.monotonic() + 20
        for stable in itertools.cycle((1000, 0, 500, 100, 900)):
            if time.monotonic() > deadline:
                break
            changing.edit(weights(stable, 1000 - stable))
            await asyncio.sleep(0.5)
        await _until(lambda: count.statuses[200] > 1000)
    assert count.failures == []
    assert set(count.replicas) == {"small-a", "small-b", "small-c"}


async def test_gateways_and_deployments_come_and_go_under_load(changing: Running) -> None:
    """Another gateway, another arm of the split, and a new replica list, added and removed: no request fails."""
    original = changing.definitions.read_text()
    documents = list(yaml.safe_load_all(original))
    ports = [changing.replica_port(name) for name in REPLICAS]
    gateway: dict[str, Any] = {
        "kind": "Gateway",
        "spec": {**documents[0]["spec"], "id": "c4a70000-0000-4000-8000-0000000000ff", "name": "new"},
    }
    gateway["spec"]["endpointConfiguration"] = {"additionalDns": ["new.localhost"]}
    arm: dict[str, Any] = {
        "kind": "Deployment",
        "spec": {**documents[5]["spec"], "id": "de910000-0000-4000-8000-0000000000ff", "name": "new"},
    }
    arm["spec"]["gatewayIds"] = ["chat", "new"]
    arm["spec"]["staticBackend"] = {"endpoints": [{"address": "127.0.0.1", "port": port} for port in ports]}
    url = f"{changing.ready['ingress']}/v1/chat/completions"
    headers = changing.headers("chat", Host="new.localhost")
    async with load(changing) as count, httpx.AsyncClient() as client:
        for _ in range(4):
            changing.edit(lambda _: yaml.safe_dump_all([*documents, gateway, arm]))
            async with asyncio.timeout(15):
                while (await client.post(url, json=chat(), headers=headers)).status_code != 200:
                    pass
            await _until(lambda: "new" in served(changing))
            await asyncio.sleep(0.5)
            changing.edit(lambda _: original)
            await _until(lambda: "new" not in served(changing))
            await asyncio.sleep(0.5)
        await _until(lambda: count.statuses[200] > 500)
    assert count.failures == []


def served(gateway: Running) -> list[str]:
    """Give the names of the gateways that `igw up` says it serves."""
    return [one["name"] for one in gateway.ready["gateways"]]


async def _until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, while the clients go on."""
    await asyncio.to_thread(eventually, condition, 60)


async def test_a_killed_replica_costs_at_most_what_was_in_flight_on_it(changing: Running) -> None:
    """The other replica takes over at once, and the one that comes back is used again."""
    async with load(changing) as count:
        await asyncio.sleep(1)
        killed = changing.pids["small-b"]
        os.kill(killed, signal.SIGKILL)
        await _until(lambda: changing.pids["small-b"] != killed)
        under_way = count.replicas["small-b"] + CLIENTS
        await _until(lambda: count.replicas["small-b"] > under_way)
        await _until(lambda: count.statuses[200] > 500)
    assert len(count.failures) <= CLIENTS, count.failures


async def test_a_deployment_without_ready_replicas_gives_its_share_to_the_others(
    changing: Running,
) -> None:
    """All of the 900 are unready: the 100 take everything; with none ready the answer is 503 and Retry-After."""
    *stable, canary = (changing.replica_port(name) for name in REPLICAS)
    async with httpx.AsyncClient() as client:
        for port in stable:
            await client.post(f"http://127.0.0.1:{port}/demo/health", json={"healthy": False})
        # Envoy believes it after two failed checks, two seconds apart.
        async with asyncio.timeout(10):
            while await shares(changing, 50) != Counter({"small-c": 50}):
                pass
        assert await shares(changing, 200) == Counter({"small-c": 200})
        await client.post(f"http://127.0.0.1:{canary}/demo/health", json={"healthy": False})
        eventually(lambda: changing.post("chat", chat()).status_code == 503, 10)
        answer = changing.post("chat", chat())
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_ready_replica")
        assert answer.headers["retry-after"] == "1"
        for port in (*stable, canary):
            await client.post(f"http://127.0.0.1:{port}/demo/health", json={"healthy": True})
    await _replicas_are(changing, set(REPLICAS))


async def test_a_deployment_keeps_its_share_while_one_replica_is_ready(changing: Running) -> None:
    """Nine more replicas that do not answer, as while they start: the split stays as the weights have it."""
    silent = "".join(f"      - {{address: 127.0.0.1, port: {port}}}\n" for port in range(1, 10))
    async with load(changing) as count:
        changing.edit(lambda text: text.replace("    endpoints:\n", f"    endpoints:\n{silent}", 1))
        await _replicas_are(changing, set(REPLICAS))
        await asyncio.sleep(5)  # each is asked twice or more whether it is healthy
        await _until(lambda: count.replicas.total() > 2000)
    assert count.failures == []
    assert abs(count.replicas["small-c"] / count.replicas.total() - 0.10) < 0.03, count.replicas


async def test_a_name_that_leads_nowhere_gives_its_share_to_the_others(changing: Running) -> None:
    """A backend by name has the addresses of the name; without any the other deployment answers all."""
    original = changing.definitions.read_text()
    stable, canary = changing.replica_port("small-a"), REPLICAS[2]

    def named(host: str) -> None:
        static, dns = r"staticBackend:\n(?:    .*\n)+", f"dnsBackend: {{hostname: {host}, port: {stable}}}\n"
        changing.edit(lambda _: re.sub(static, dns, original, count=1))

    named("localhost")
    await _replicas_are(changing, {"small-a", canary})
    async with load(changing) as count:
        named("nowhere.invalid")
        await _replicas_are(changing, {canary})
    assert count.statuses.keys() == {200}, count.failures[:5]


async def _replicas_are(gateway: Running, expected: set[str]) -> None:
    """Wait until these and no others answer."""
    async with asyncio.timeout(30):
        while True:
            count, asked = Count(), itertools.count()
            await ask(gateway, "chat", count, lambda: next(asked) >= 60)  # noqa: B023 - called before the next round
            if set(count.replicas) == expected:
                return


async def test_a_broken_edit_keeps_what_was_served(changing: Running) -> None:
    """It is said loudly, with file, document and reason; mended, the definitions count again."""
    original = changing.definitions.read_text()
    changing.edit(
        lambda text: text.replace("coreWeaveAuth: {}", "coreWeaveAuth: {}\n  weightsAndBiasesAuth: {}", 1)
    )
    eventually(
        lambda: "document 1: coreWeaveAuth, weightsAndBiasesAuth: choose exactly one" in changing.log()
    )
    assert changing.post("chat", chat()).status_code == 200
    changing.edit(lambda _: original.replace("    weight: 900\n", "    weight: 0\n", 1))
    eventually(
        lambda: all(changing.post("chat", chat()).headers["x-demo-replica"] == "small-c" for _ in range(20))
    )
