"""Every token counted once: what model servers told, what the API says was used, what was reported. Nothing is mocked.

The collector and the place where reports go are killed meanwhile, and start again.
"""

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.ports import free_port
from tests.real_envoy.running import REPLICAS, Running, eventually, igw_up
from tests.real_envoy.usage_mix import Ask, Gateway, asks, request_of, seen

pytestmark = pytest.mark.asyncio

REQUESTS = 5_000
CLIENTS = 24
KILLS = {600: ("collector",), 1500: ("authority",), 2500: ("collector",), 3800: ("collector", "authority")}
"""Who is killed after how many requests."""
FROZEN_SECONDS = 1.5
"""How long before it is killed a process does nothing; Envoy sends a batch every second."""
ORGANIZATION = "demo-org"
PROJECTS = (f"{ORGANIZATION}/one", f"{ORGANIZATION}/two")
COUNTS = ("requests", "errors", "streamed", "partial")
TOKENS = ("promptTokens", "completionTokens", "cachedTokens", "totalTokens")
REPORTING = {"coreweave": False, "wandb": True, "quiet": False}
AUTH: dict[str, Any] = {
    "coreweave": {"coreWeaveAuth": {}},
    "wandb": {"weightsAndBiasesAuth": {"allowedEntities": [ORGANIZATION], "enableUsageReports": True}},
    "quiet": {"weightsAndBiasesAuth": {"allowedEntities": [ORGANIZATION]}},
}
ROUTING: dict[str, Any] = {
    "body": {"bodyBasedRouting": {"apiType": "API_TYPE_OPENAI"}},
    "header": {"headerBasedRouting": {"headerName": "X-Model-Name"}},
    "path": {"pathBasedRouting": {}},
}
KINDS = [("coreweave", "body"), ("coreweave", "header"), ("coreweave", "path"), ("coreweave-retried", "body")]
KINDS += [("wandb", "body"), ("wandb", "path"), ("quiet", "header")]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """Run a whole gateway; reports leave it often, and the place where they go keeps them."""
    environment = {
        "IGW_REPORTS_INTERVAL_SECONDS": "1",
        "IGW_REPORTS_BATCH": "200",
        "IGW_DEMO_REPORTS_FILE": str(tmp_path / "reports"),
    }
    with igw_up(tmp_path / "up", "--demo", environment=environment) as running:
        yield running


@contextlib.asynccontextmanager
async def refusing() -> AsyncIterator[asyncio.Server]:
    """Be a replica until the context ends; when the server is closed, new connections alone are refused.

    Envoy's health checks go on over the connection that they have, so that requests are sent there all the same.
    """
    server = await asyncio.start_server(_well, "127.0.0.1", free_port())
    try:
        yield server
    finally:
        server.close()


async def _well(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    gone = (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError)
    with contextlib.suppress(*gone), contextlib.closing(writer):
        while True:
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"GET /health ")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


def _id(prefix: str, number: int) -> str:
    return f"{prefix}00000-0000-4000-8000-{number:012d}"


def definitions(ports: dict[str, int], refused: int) -> str:
    """Give gateways of all kinds, each kind of callers with models of its own."""
    documents: list[Any] = []
    for number, (kind, routing) in enumerate(KINDS):
        spec = {
            "id": _id("0a0", number),
            "name": f"{kind}-{routing}",
            "organizationId": ORGANIZATION,
            "zones": ["LOCAL"],
            **AUTH[kind.partition("-")[0]],
            **ROUTING[routing],
            "endpointConfiguration": {"additionalDns": [f"{kind}-{routing}.test"]},
        }
        documents.append({"kind": "Gateway", "spec": spec})
    places = {kind: [[ports["small-a"], ports["small-b"]], [ports["small-c"]]] for kind in REPORTING}
    places["coreweave-retried"] = [[ports["small-b"], refused]]
    number = 0
    for kind, deployments in places.items():
        for endpoints in deployments:
            number += 1
            spec = {
                "id": _id("de0", number),
                "name": f"{kind}-{number}",
                "organizationId": ORGANIZATION,
                "gatewayIds": [f"{of}-{routing}" for of, routing in KINDS if of == kind],
                "model": {"name": f"m/{kind}"},
                "traffic": {"weight": 500},
                "staticBackend": {
                    "endpoints": [{"address": "127.0.0.1", "port": port} for port in endpoints]
                },
            }
            documents.append({"kind": "Deployment", "spec": spec})
    return yaml.safe_dump_all(documents)


def gateways(running: Running) -> list[Gateway]:
    """Give the gateways as clients know them."""
    tokens = running.ready["tokens"]

    def one(kind: str, routing: str) -> Gateway:
        token = tokens["coreweave" if kind.startswith("coreweave") else "wandb"]
        headers = {"Host": f"{kind}-{routing}.test", "Authorization": f"Bearer {token}"}
        projects = ("",) if kind.startswith("coreweave") else PROJECTS
        return Gateway(f"{kind}-{routing}", f"m/{kind}", routing, headers, projects)

    return [one(*kind) for kind in KINDS]


@pytest.mark.timeout(300)
async def test_every_token_is_counted_once(running: Running) -> None:
    """The API's totals and the reports' are those of the model servers and of the clients, for each model."""
    async with refusing() as listening:
        port = listening.sockets[0].getsockname()[1]
        ports = {name: running.replica_port(name) for name in REPLICAS}
        running.edit(lambda _: definitions(ports, port))
        await asyncio.to_thread(eventually, lambda: _healthy(running, port), 30)
        listening.close()
        clients = await _asked(running)
        assert _retries(running) > 0
    told = _told(running)
    killed = sum(map(len, KILLS.values()))
    assert (running.log() + running.output()).count("ended (SIGKILL)") == killed
    requests = sum(counts["requests"] for counts in clients.values())
    await asyncio.to_thread(eventually, lambda: _used(running)["totals"]["requests"] >= requests, 30, 0.5)
    by_model = {item["key"]: item for item in _used(running, groupBy="model")["items"]}
    assert {key: _picked(item, COUNTS) for key, item in by_model.items()} == {
        key: _picked(counts, COUNTS) for key, counts in clients.items()
    }
    assert {key: _picked(item, TOKENS) for key, item in by_model.items() if key} == told
    _check_groups(running)
    _check_reports(running, clients, told)


def _check_groups(running: Running) -> None:
    """However it is asked for, it is the same in all."""
    whole = _picked(_used(running)["totals"], (*COUNTS, *TOKENS))
    for group in ("model", "project", "principal", "deployment"):
        items = _used(running, groupBy=group, interval="minute")["items"]
        assert {name: sum(item[name] for item in items) for name in whole} == whole


def _check_reports(running: Running, clients: dict[Any, Counter[str]], told: dict[str, Any]) -> None:
    """Hold what was reported to what was told: of gateways that report all, of others nothing, none of it twice."""
    used = [_used(running, gatewayId=_id("0a0", number)) for number in _reporting()]
    requests = sum(one["totals"]["requests"] for one in used)
    eventually(lambda: _reports(running)["records"] >= requests, 60, 0.5)
    reports = _reports(running)
    assert (reports["records"], reports["repeatedRecords"], reports["refused"]) == (requests, 0, 0)
    assert {one["gatewayId"] for one in reports["totals"]} == {_id("0a0", number) for number in _reporting()}
    sums: Counter[str] = Counter()
    for one in reports["totals"]:
        if one["model"]:
            sums.update({name: one[name] for name in (*COUNTS, *TOKENS)})
    assert _picked(sums, TOKENS) == told["m/wandb"]
    assert _picked(sums, COUNTS) == _picked(clients["m/wandb"], COUNTS)
    assert {one["project"] for one in reports["totals"]} == set(PROJECTS)


def _reporting() -> list[int]:
    return [number for number, (kind, _) in enumerate(KINDS) if REPORTING.get(kind)]


async def _asked(running: Running) -> dict[Any, Counter[str]]:
    """Let clients send all requests, and kill meanwhile; give what they counted, by model, None for unknown ones."""
    url, every = running.ready["ingress"], gateways(running)
    numbered = iter(enumerate(asks(REQUESTS)))
    clients: dict[Any, Counter[str]] = {}
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=CLIENTS)) as client:

        async def ask_on() -> None:
            for number, ask in numbered:
                await _kill(running, KILLS.get(number, ()))
                gateway = every[number % len(every)]
                project = gateway.projects[number // len(every) % len(gateway.projects)]
                counts = await seen(ask, request_of(ask, gateway, project, url), client)
                clients.setdefault(_model(ask, gateway), Counter()).update(counts)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(CLIENTS):
                tasks.create_task(ask_on())
    return clients


def _model(ask: Ask, gateway: Gateway) -> str | None:
    return None if ask.unknown else gateway.model


async def _kill(running: Running, names: tuple[str, ...]) -> None:
    """Kill processes once something was sent to them that they did not read."""
    for name in names:
        os.kill(running.pids[name], signal.SIGSTOP)
    await asyncio.sleep(FROZEN_SECONDS if names else 0)
    for name in names:
        os.kill(running.pids[name], signal.SIGKILL)


def _used(running: Running, **query: str) -> Any:
    """Ask the API what was used, as the local admin; a collector that starts again is waited for."""
    token = Path(running.ready["adminTokenFile"]).read_text().strip()
    url = f"{running.ready['api']}/v1alpha1/inference/usage"
    answer = httpx.get(url, params=query, headers={"Authorization": f"Bearer {token}"})
    return answer.json() if answer.is_success else {"totals": {"requests": 0}, "items": []}


def _told(running: Running) -> dict[str, Any]:
    """Give the tokens that the model servers told, by model; those of an answer that told none are words."""
    sums: dict[str, Counter[str]] = {}
    for replica in running.seen().values():
        for model, counts in replica["told"].items():
            sums.setdefault(model, Counter()).update(counts)
    return {model: _tokens(counts) for model, counts in sums.items()}


def _tokens(counts: Counter[str]) -> dict[str, int]:
    completion = counts["completion_tokens"] + counts["untold_words"]
    return {
        "promptTokens": counts["prompt_tokens"],
        "completionTokens": completion,
        "cachedTokens": counts["cached_tokens"],
        "totalTokens": counts["prompt_tokens"] + completion,
    }


def _picked(counts: Any, names: tuple[str, ...]) -> dict[str, int]:
    return {name: counts[name] for name in names}


def _reports(running: Running) -> Any:
    try:
        return httpx.get(f"http://127.0.0.1:{running.option('authority', '--port')}/demo/reports").json()
    except httpx.HTTPError:
        return {"records": 0}


def _healthy(running: Running, port: int) -> bool:
    """Say whether Envoy has a replica, and its answer to a health check."""
    lines = httpx.get(f"{running.ready['envoyAdmin']}/clusters").text.splitlines()
    return any(f"127.0.0.1:{port}::health_flags::healthy" in line for line in lines)


def _retries(running: Running) -> int:
    text = httpx.get(f"{running.ready['envoyAdmin']}/stats?filter=upstream_rq_retry_success$").text
    return sum(int(line.rpartition(" ")[2]) for line in text.splitlines())
