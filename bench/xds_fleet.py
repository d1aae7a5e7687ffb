"""What a fleet costs the control plane: first sync, one change's way to every proxy, bytes, CPU, memory.

`python bench/xds_fleet.py` fills a store, starts `igw xds` on it and simulated proxies beside it on loopback, each with
a delta ADS stream on a connection of its own, and changes one deployment's weight through the management API, again and
again. A change's time is from the PATCH that is sent to a proxy's ACK of the new routes, and to the last one's. The
first proxy fetches all there is; the others come back with what it had, as after a restart of the control plane.
"""

import argparse
import asyncio
import json
import os
import platform
import re
import secrets
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from igw_model.record import Kind, Record
from igw_ops.private import write_private
from igw_store.cipher import Cipher
from igw_store.sqlite import open_store
from tax.processes import FailedError, Processes, cpu_seconds
from tax.stage import LOOPBACK, free_ports

ZONE = "LOCAL-01A"
ORGANIZATION = "bench"
BATCH = 1000
START_SECONDS = 300.0
CHANGE_SECONDS = 8.0
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- fleet:begin -->\n", "<!-- fleet:end -->"
COLUMNS = (
    *(
        "proxies",
        "gateways",
        "deployments",
        "first sync",
        "its bytes",
        "all back",
        "change → ACK p50",
        "p99",
        "→ last ACK p50",
        "p99",
    ),
    *("bytes a proxy", "CPU a change", "memory, no proxy", "a proxy"),
)
HEAD = ("| " + " | ".join(COLUMNS) + " |", "|" + "---:|" * len(COLUMNS))
PAUSE_SECONDS = 0.2
"""Between changes, for statuses to be written."""
PER_PROCESS = 500
"""Simulated proxies in one process."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a process of simulated proxies tells: that all its proxies took a version, or that nothing comes."""

    process: int
    version: str
    at: Sequence[float]
    bytes: int
    quiet: float = 0.0


@dataclass(frozen=True, slots=True)
class Change:
    """One change: seconds until each proxy's ACK, and the bytes that all were sent."""

    seconds: Sequence[float]
    bytes: int


@dataclass(frozen=True, slots=True)
class Figures:
    """One row; seconds, bytes, and CPU seconds of the control plane."""

    proxies: int
    gateways: int
    deployments: int
    sync_seconds: float
    sync_bytes: int
    back_seconds: float
    changes: Sequence[Change]
    change_cpu: float
    memory_before: float
    memory: float


def main(arguments: Sequence[str]) -> int:
    """Run, and give the exit status: 0 done, 1 the run is worth nothing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gateways", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--proxies", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--write", action="store_true", help="replace the table in docs/performance.md")
    options = parser.parse_args(arguments)
    lines = list(HEAD)
    print("\n".join(lines))
    try:
        for gateways in options.gateways:
            for proxies in options.proxies:
                lines.append(_row(asyncio.run(_measure(gateways, proxies, options.changes))))
                print(lines[-1], flush=True)
    except FailedError as failed:
        print(f"xds_fleet: {failed}", file=sys.stderr)
        return 1
    command, day = " ".join(("python bench/xds_fleet.py", *arguments)), datetime.now(UTC).date()
    lines += ["", f"`{command}`, {day}, {os.cpu_count()} cores, Python {platform.python_version()}."]
    print("\n".join(lines[-2:]))
    if options.write:
        _write("\n".join(lines) + "\n")
    return 0


def _write(text: str) -> None:
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(before + BEGIN + text + END + rest.split(END)[1], encoding="utf-8")


def _row(seen: Figures) -> str:
    each = sorted(seconds for change in seen.changes for seconds in change.seconds)
    last = sorted(max(change.seconds) for change in seen.changes)
    size = statistics.mean(change.bytes for change in seen.changes) / seen.proxies
    cells = (
        f"{seen.proxies:,}",
        f"{seen.gateways:,}",
        f"{seen.deployments:,}",
        f"{seen.sync_seconds:.2f} s",
        f"{seen.sync_bytes / 1e6:.1f} MB",
        f"{seen.back_seconds:.1f} s",
        *(f"{1000 * _quantile(times, part):.1f} ms" for times in (each, last) for part in (0.5, 0.99)),
        f"{size:.0f}",
        f"{1000 * seen.change_cpu:.1f} ms",
        f"{seen.memory_before:.0f} MB",
        f"{1000 * (seen.memory - seen.memory_before) / seen.proxies:.0f} kB",
    )
    return "| " + " | ".join(cells) + " |"


def _quantile(ordered: Sequence[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


async def _measure(gateways: int, proxies: int, changes: int) -> Figures:
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as name, Processes(Path(name)) as processes:
        folder = Path(name)
        records = list(_definitions(gateways))
        await _fill(folder, records)
        ports = tuple(free_ports(4))
        xds, ops, api, _ = ports
        token = secrets.token_urlsafe(32)
        write_private(folder / "admin-token", token)
        pid = _control_plane(processes, folder, ports)
        await _ready(f"http://{LOOPBACK}:{ops}/readyz")
        address, versions = f"{LOOPBACK}:{xds}", folder / "versions.json"
        target = next(record for record in reversed(records) if record.kind is Kind.DEPLOYMENT)
        watched = f"gateway/{target.spec['gatewayIds'][0]}"
        sync_seconds, sync_bytes = await _first(address, versions, watched)
        await asyncio.sleep(2)
        before = _megabytes(pid)
        began = time.monotonic()
        async with _fleet(proxies, address, versions, watched) as fleet, _client(api, token) as client:
            await _settled(f"http://{LOOPBACK}:{ops}/status", proxies)
            back = time.monotonic() - began
            await asyncio.sleep(3)
            memory = _megabytes(pid)
            spent = cpu_seconds(pid)
            seen = [await _change(client, fleet, target, number) for number in range(changes)]
            spent = (cpu_seconds(pid) - spent) / changes
        return Figures(
            proxies, gateways, 2 * gateways, sync_seconds, sync_bytes, back, seen, spent, before, memory
        )


def _definitions(gateways: int) -> Iterator[Record]:
    """Give gateways with two deployments of one model each."""
    for _ in range(gateways):
        gateway = str(uuid.uuid4())
        yield _record(Kind.GATEWAY, gateway, _gateway(gateway))
        for weight in (1, 2):
            deployment = str(uuid.uuid4())
            yield _record(Kind.DEPLOYMENT, deployment, _deployment(deployment, gateway, weight))


def _gateway(key: str) -> dict[str, Any]:
    return {
        "id": key,
        "organizationId": ORGANIZATION,
        "name": f"gateway-{key}",
        "zones": [ZONE],
        "coreWeaveAuth": {},
        "headerBasedRouting": {"headerName": "X-Model-Name"},
    }


def _deployment(key: str, gateway: str, weight: int) -> dict[str, Any]:
    return {
        "id": key,
        "organizationId": ORGANIZATION,
        "name": f"deployment-{key}",
        "gatewayIds": [gateway],
        "model": {"name": "bench/model"},
        "staticBackend": {"endpoints": [{"address": LOOPBACK, "port": 9}]},
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


def _control_plane(processes: Processes, folder: Path, ports: Sequence[int]) -> int:
    xds, ops, api, grpc = ports
    options = {
        "--state-dir": folder / "state",
        "--admin-token-file": folder / "admin-token",
        "--organization-id": ORGANIZATION,
        "--backend-network": "127.0.0.0/8",
        "--port": xds,
        "--ops-port": ops,
        "--api-port": api,
        "--api-grpc-port": grpc,
        "--zone": ZONE,
        "--log-level": "info",
    }
    words = [str(word) for option in options.items() for word in option]
    return processes.start("control-plane", (sys.executable, "-m", "igw_cli", "xds", *words))


async def _first(address: str, versions: Path, watched: str) -> tuple[float, int]:
    """Let one proxy fetch everything and note what it has; give the seconds and the bytes."""
    began, size = time.monotonic(), 0
    async with _fleet(1, address, versions, watched) as fleet, asyncio.timeout(START_SECONDS):
        while True:
            line = await fleet.lines.get()
            size += line.bytes
            if line.quiet and size:
                return line.quiet - began, size


@dataclass(frozen=True, slots=True)
class Fleet:
    """The processes of simulated proxies, and what they tell."""

    processes: int
    lines: "asyncio.Queue[Line]"


@asynccontextmanager
async def _fleet(count: int, address: str, versions: Path, watched: str) -> AsyncIterator[Fleet]:
    """Run so many proxies while the context is open and give what they tell."""
    lines: asyncio.Queue[Line] = asyncio.Queue()
    counts = [min(PER_PROCESS, count - start) for start in range(0, count, PER_PROCESS)]
    started = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "fleet.proxies", str(number), address, ZONE, str(versions), watched),
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**24,
        )
        for number in counts
    ]
    readers = [asyncio.create_task(_read(process, number, lines)) for number, process in enumerate(started)]
    try:
        yield Fleet(len(started), lines)
    finally:
        for process in started:
            if process.stdin is not None:
                process.stdin.close()
        await asyncio.gather(*(process.wait() for process in started))
        for reader in readers:
            reader.cancel()


async def _read(process: asyncio.subprocess.Process, number: int, lines: "asyncio.Queue[Line]") -> None:
    if process.stdout is None:
        raise FailedError("a process of simulated proxies has no standard output")
    async for text in process.stdout:
        told = json.loads(text)
        lines.put_nowait(
            Line(number, told.get("version", ""), told.get("at", ()), told["bytes"], told.get("quiet", 0.0))
        )


async def _change(client: httpx.AsyncClient, fleet: Fleet, target: Record, number: int) -> Change:
    """Change a weight, and wait until every proxy acknowledged the routes."""
    while not fleet.lines.empty():
        fleet.lines.get_nowait()
    document = {**target.spec, "traffic": {"weight": 3 + number}}
    document.pop("organizationId")
    began, seconds, size, done = time.monotonic(), list[float](), 0, set[int]()
    patch = asyncio.create_task(client.patch(f"/deployments/{target.id}", json=document))
    async with asyncio.timeout(CHANGE_SECONDS):
        while len(done) < fleet.processes:
            line = await fleet.lines.get()
            size += line.bytes
            if line.version:
                done.add(line.process)
                seconds += [at - began for at in line.at]
    answer = await patch
    if answer.status_code != httpx.codes.OK:
        raise FailedError(f"PATCH: {answer.status_code} {answer.text[:200]}")
    await asyncio.sleep(PAUSE_SECONDS)
    return Change(seconds, size)


@asynccontextmanager
async def _client(port: int, token: str) -> AsyncIterator[httpx.AsyncClient]:
    url = f"http://{LOOPBACK}:{port}/v1alpha1/inference"
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
        yield client


async def _ready(url: str) -> None:
    await _until(f"{url} answers 200", lambda answer: answer.status_code == httpx.codes.OK, url)


async def _settled(url: str, proxies: int) -> None:
    await _until(f"{proxies} proxies are in step", lambda answer: answer.json()["synced"] >= proxies, url)


async def _until(what: str, holds: Any, url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        while time.monotonic() < deadline:
            try:
                if holds(await client.get(url)):
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
    raise FailedError(f"not in {START_SECONDS:.0f} s: {what}")


def _megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
