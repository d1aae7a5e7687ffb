"""A control plane as the fleet's benchmarks need it: a filled store, `igw xds` on it, and what it says of itself."""

import asyncio
import secrets
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from igw_model.record import Kind, Record
from igw_ops.private import write_private
from igw_store.cipher import Cipher
from igw_store.sqlite import open_store
from tax.processes import FailedError, Processes, cpu_seconds, megabytes
from tax.stage import LOOPBACK, free_ports

ZONE = "LOCAL-01A"
ORGANIZATION = "bench"
BATCH = 1000
START_SECONDS = 600.0
CALM = 0.05
"""Of a core: a control plane that uses less than this for two seconds has nothing left to do."""


@dataclass(frozen=True, slots=True)
class Plane:
    """A running control plane and what its store was filled with."""

    pid: int
    xds: int
    ops: int
    api: int
    records: Sequence[Record]
    token: str = field(repr=False)

    @property
    def address(self) -> str:
        """Give where Envoys find it."""
        return f"{LOOPBACK}:{self.xds}"

    @property
    def target(self) -> Record:
        """Give the deployment that is changed."""
        return next(record for record in reversed(self.records) if record.kind is Kind.DEPLOYMENT)

    @property
    def megabytes(self) -> float:
        """Give its resident memory."""
        return megabytes(self.pid)

    async def settled(self, proxies: int) -> None:
        """Wait until so many proxies are in step."""
        await self._until(
            f"{proxies} are in step", "status", lambda answer: answer.json()["synced"] >= proxies
        )

    async def ready(self) -> None:
        """Wait until it serves."""
        await self._until("it is ready", "readyz", lambda answer: answer.status_code == httpx.codes.OK)

    async def calm(self) -> None:
        """Wait until it has nothing left to do: ten thousand statuses are to be written after a first sync."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            spent = cpu_seconds(self.pid)
            await asyncio.sleep(2)
            if cpu_seconds(self.pid) - spent < 2 * CALM:
                return
        raise FailedError("the control plane does not come to rest")

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """Give a client of its API."""
        url = f"http://{LOOPBACK}:{self.api}/v1alpha1/inference"
        headers = {"authorization": f"Bearer {self.token}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
            yield client

    async def _until(self, what: str, path: str, holds: Callable[[httpx.Response], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            while time.monotonic() < deadline:
                try:
                    if holds(await client.get(f"http://{LOOPBACK}:{self.ops}/{path}")):
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.1)
        raise FailedError(f"not in {START_SECONDS:.0f} s: {what}")


async def running(processes: Processes, folder: Path, records: Sequence[Record], *options: str) -> Plane:
    """Fill a store and start a control plane on it."""
    await _fill(folder, records)
    xds, ops, api, grpc = free_ports(4)
    token = secrets.token_urlsafe(32)
    write_private(folder / "admin-token", token)
    words = {
        "--state-dir": folder / "state",
        "--admin-token-file": folder / "admin-token",
        "--organization-id": ORGANIZATION,
        "--port": xds,
        "--ops-port": ops,
        "--api-port": api,
        "--api-grpc-port": grpc,
        "--zone": ZONE,
        "--log-level": "warning",
    }
    command = ("-m", "igw_cli", "xds", *(str(word) for option in words.items() for word in option), *options)
    plane = Plane(processes.start("control-plane", (sys.executable, *command)), xds, ops, api, records, token)
    await plane.ready()
    return plane


def definitions(gateways: int, *models: str) -> Iterator[Record]:
    """Give gateways by header, with two deployments each, one after the other of these models."""
    for _ in range(gateways):
        gateway = str(uuid.uuid4())
        yield _record(Kind.GATEWAY, gateway, _gateway(gateway))
        for weight in (1, 2):
            deployment = str(uuid.uuid4())
            model = models[weight % len(models)]
            yield _record(Kind.DEPLOYMENT, deployment, _deployment(deployment, gateway, weight, model))


def _gateway(key: str) -> dict[str, Any]:
    return {
        "id": key,
        "organizationId": ORGANIZATION,
        "name": f"gateway-{key}",
        "zones": [ZONE],
        "coreWeaveAuth": {},
        "headerBasedRouting": {"headerName": "X-Model-Name"},
    }


def _deployment(key: str, gateway: str, weight: int, model: str) -> dict[str, Any]:
    """Give a deployment whose replicas would register themselves: nobody has to ask them for their health."""
    return {
        "id": key,
        "organizationId": ORGANIZATION,
        "name": f"deployment-{key}",
        "gatewayIds": [gateway],
        "model": {"name": model, "bucket": "weights", "path": "bench"},
        "runtime": {"engine": "vllm"},
        "resources": {"instanceType": "gd-8xh100ib-i128", "gpuCount": 8},
        "autoscaling": {"min": 1, "max": 1, "capacityClasses": ["CAPACITY_CLASS_RESERVED"]},
        "traffic": {"weight": weight},
    }


def _record(kind: Kind, key: str, spec: dict[str, Any]) -> Record:
    now = datetime.now(UTC)
    return Record(kind, key, ORGANIZATION, spec["name"], spec, 1, now, now)


async def _fill(folder: Path, records: Sequence[Record]) -> None:
    state = folder / "state"
    state.mkdir(mode=0o700)
    store = await open_store(state / "gateway.db", Cipher.from_file(state / "store.key"))
    try:
        for start in range(0, len(records), BATCH):
            batch = records[start : start + BATCH]
            await store.write(lambda writing, batch=batch: [writing.put(record) for record in batch])  # type: ignore[misc]
    finally:
        await store.aclose()
