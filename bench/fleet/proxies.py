"""Many proxies in one process, each with an ADS stream of its own: they ask as Envoy does and accept all they get.

`python -m fleet.proxies COUNT HOST:PORT ZONE VERSIONS RESOURCE` prints a JSON line whenever the last of them has
answered a new version of the routes RESOURCE, `{"version", "at" (seconds, monotonic, of each proxy's ACK), "bytes" (of
all that all of them got since the line before)}`, and `{"quiet": seconds, "bytes"}` when for a second nothing came.
VERSIONS is a file: where it exists the proxies come back with what it says they have; else the first writes it at its
end, once standard input closes.
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import uvloop
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from igw_xds.names import routes
from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SCOPE

from fleet.light import LightStream

PATH = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
ROOTS = (CLUSTER, LISTENER, SCOPE)
CHILD = {CLUSTER: ENDPOINTS, SCOPE: ROUTES}
"""What Envoy asks for by name once it has the other."""
ORDER = (CLUSTER, ENDPOINTS, LISTENER, SCOPE, ROUTES)
QUIET_SECONDS = 1.0
CONNECTING = 20
"""Proxies that connect at once."""
Versions = dict[str, dict[str, str]]
"""Type URL → resource name → version."""


@dataclass(slots=True)
class Crowd:
    """All proxies of this process, what they had, and what was heard since the last line."""

    count: int
    zone: str
    had: Versions
    watched: str
    acknowledged: dict[str, list[float]] = field(default_factory=dict)
    bytes: int = 0
    heard_at: float = field(default_factory=time.monotonic)
    quiet: bool = False

    def heard(self, size: int) -> None:
        """Take note of a message."""
        self.bytes += size
        self.heard_at = time.monotonic()
        self.quiet = False

    def acked(self, version: str) -> None:
        """Take note of a proxy's ACK of the watched routes."""
        times = self.acknowledged.setdefault(version, [])
        times.append(time.monotonic())
        if len(times) == self.count:
            _tell({"version": version, "at": self.acknowledged.pop(version), "bytes": self.bytes})
            self.bytes = 0

    def look(self) -> None:
        """Say once that nothing comes any more."""
        if not self.quiet and time.monotonic() - self.heard_at > QUIET_SECONDS:
            self.quiet = True
            _tell({"quiet": self.heard_at, "bytes": self.bytes})
            self.bytes = 0


@dataclass(slots=True)
class Proxy:
    """One proxy; one that came with nothing keeps what it gets, and asks for what that names."""

    crowd: Crowd
    number: int
    has: Versions = field(default_factory=dict)
    stream: Any = None

    async def connect(self, host: str, port: int) -> None:
        """Connect and subscribe."""
        made = await asyncio.get_running_loop().create_connection(
            lambda: LightStream(PATH, self._take, self._lost), host, port
        )
        self.stream = made[1]
        node = base_pb2.Node(id=f"proxy-{self.number}", locality=base_pb2.Locality(zone=self.crowd.zone))
        first = discovery_pb2.DeltaDiscoveryRequest(node=node).SerializeToString()
        for type_url in ORDER:
            if type_url in ROOTS or self.crowd.had:
                self.stream.send(first + _subscription(self.crowd, type_url))
                first = b""

    def _take(self, message: bytes) -> None:
        crowd = self.crowd
        crowd.heard(len(message))
        response = discovery_pb2.DeltaDiscoveryResponse.FromString(message)
        self._ask(response.type_url, response_nonce=response.nonce)
        if response.type_url == ROUTES:
            for resource in response.resources:
                if resource.name == crowd.watched:
                    crowd.acked(resource.version)
        if not crowd.had:
            self._keep(response)

    def _keep(self, response: Any) -> None:
        """Ask for what new clusters and scopes name: endpoints by the cluster's name, routes by the gateway's."""
        names = [resource.name for resource in response.resources]
        self.has.setdefault(response.type_url, {}).update((r.name, r.version) for r in response.resources)
        if response.type_url == CLUSTER:
            self._ask(ENDPOINTS, resource_names_subscribe=[n for n in names if n.startswith("deployment/")])
        elif response.type_url == SCOPE:
            # A scope is named host/api.<gateway id>.<domain>.
            self._ask(ROUTES, resource_names_subscribe=[routes(n.split(".")[1]) for n in names])

    def _ask(self, type_url: str, **fields: Any) -> None:
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, **fields)
        self.stream.send(request.SerializeToString())

    def _lost(self) -> None:
        print(f"proxy {self.number} lost its stream", file=sys.stderr, flush=True)


def _subscription(crowd: Crowd, type_url: str) -> bytes:
    had = crowd.had.get(type_url, {})
    return _encoded(type_url, tuple(["*"] if type_url in ROOTS else had), tuple(had.items()))


@cache
def _encoded(type_url: str, names: tuple[str, ...], had: tuple[tuple[str, str], ...]) -> bytes:
    request = discovery_pb2.DeltaDiscoveryRequest(
        type_url=type_url, resource_names_subscribe=names, initial_resource_versions=dict(had)
    )
    encoded: bytes = request.SerializeToString()
    return encoded


def _tell(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


async def run(crowd: Crowd, address: str, start: int) -> list[Proxy]:
    """Run until standard input ends."""
    host, _, port = address.rpartition(":")
    proxies = [Proxy(crowd, start + number) for number in range(crowd.count)]
    for first in range(0, len(proxies), CONNECTING):
        await asyncio.gather(
            *(proxy.connect(host, int(port)) for proxy in proxies[first : first + CONNECTING])
        )
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    while not ended.done():
        crowd.look()
        await asyncio.wait([ended], timeout=0.1)
    return proxies


def main(count: int, address: str, zone: str, file: Path, watched: str) -> None:
    """Run so many proxies; a lone one without a file of versions writes it."""
    had: Versions = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    proxies = uvloop.run(run(Crowd(count, zone, had, watched), address, 0))
    if not had:
        file.write_text(json.dumps(proxies[0].has), encoding="utf-8")


if __name__ == "__main__":
    how_many, where, in_zone, versions, resource = sys.argv[1:]
    main(int(how_many), where, in_zone, Path(versions), resource)
