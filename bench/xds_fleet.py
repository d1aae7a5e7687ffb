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
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from fleet.plane import START_SECONDS, ZONE, Plane, definitions, running
from igw_model.record import Record
from igw_xds.names import routes
from tax.measure import quantile
from tax.page import source, write
from tax.processes import FailedError, Processes, cpu_seconds

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
CHANGE_SECONDS = 60.0
WARM_UP = 2
"""Changes that do not count: Python's first calls of everything."""
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
    lines += ["", source("xds_fleet.py", arguments)]
    print("\n".join(lines[-2:]))
    if options.write:
        write("fleet", "\n".join(lines))
    return 0


def _row(seen: Figures) -> str:
    each = [seconds for change in seen.changes for seconds in change.seconds]
    last = [max(change.seconds) for change in seen.changes]
    size = statistics.mean(change.bytes for change in seen.changes) / seen.proxies
    cells = (
        f"{seen.proxies:,}",
        f"{seen.gateways:,}",
        f"{seen.deployments:,}",
        f"{seen.sync_seconds:.2f} s",
        f"{seen.sync_bytes / 1e6:.1f} MB",
        f"{seen.back_seconds:.1f} s",
        *(f"{1000 * quantile(times, part):.1f} ms" for times in (each, last) for part in (0.5, 0.99)),
        f"{size:.0f}",
        f"{1000 * seen.change_cpu:.1f} ms",
        f"{seen.memory_before:.0f} MB",
        f"{1000 * (seen.memory - seen.memory_before) / seen.proxies:.0f} kB",
    )
    return "| " + " | ".join(cells) + " |"


async def _measure(gateways: int, proxies: int, changes: int) -> Figures:
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as name, Processes(Path(name)) as processes:
        folder = Path(name)
        plane = await running(processes, folder, list(definitions(gateways, "bench/model")))
        versions = folder / "versions.json"
        sync_seconds, sync_bytes = await _first(plane, versions)
        await plane.calm()
        before, began = plane.megabytes, time.monotonic()
        async with _fleet(proxies, plane, versions) as fleet, plane.client() as client:
            await plane.settled(proxies)
            back = time.monotonic() - began
            await plane.calm()
            memory = plane.megabytes
            for number in range(WARM_UP):
                await _change(client, fleet, plane.target, -1 - number)
            spent = cpu_seconds(plane.pid)
            seen = [await _change(client, fleet, plane.target, number) for number in range(changes)]
            spent = (cpu_seconds(plane.pid) - spent) / changes
        return Figures(
            proxies, gateways, 2 * gateways, sync_seconds, sync_bytes, back, seen, spent, before, memory
        )


async def _first(plane: Plane, versions: Path) -> tuple[float, int]:
    """Let one proxy fetch everything and note what it has; give the seconds and the bytes."""
    began, size = time.monotonic(), 0
    async with _fleet(1, plane, versions) as fleet, asyncio.timeout(START_SECONDS):
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
async def _fleet(count: int, plane: Plane, versions: Path) -> AsyncIterator[Fleet]:
    """Run so many proxies while the context is open and give what they tell."""
    watched = routes(plane.target.spec["gatewayIds"][0])
    lines: asyncio.Queue[Line] = asyncio.Queue()
    counts = [min(PER_PROCESS, count - start) for start in range(0, count, PER_PROCESS)]
    started = [
        await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "fleet.proxies",
                str(number),
                plane.address,
                ZONE,
                str(versions),
                watched,
            ),
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
    document = {**target.spec, "traffic": {"weight": 10 + number}}
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
