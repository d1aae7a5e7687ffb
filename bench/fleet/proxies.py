"""Many proxies in one process, each with an ADS stream of its own: they ask as Envoy does and accept all they get.

`python bench/fleet/proxies.py COUNT HOST:PORT ZONE VERSIONS` prints a JSON line for each response, at the moment its
ACK was handed to gRPC: `{"proxy", "at" (seconds, monotonic), "type", "names" (at most 5), "count", "bytes"}`.
VERSIONS is a file: where it exists the proxies come back with what it says they have; the first proxy alone (COUNT 1)
writes it at its end, once standard input closes.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import uvloop
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from igw_xds.fleet import SHORT_NAMES
from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SCOPE

WILDCARDS = (CLUSTER, LISTENER, SCOPE)
NAMED_BY = {CLUSTER: ENDPOINTS, SCOPE: ROUTES}
"""What Envoy asks for by name once it has the other."""
OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # a connection for each
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)
Versions = dict[str, dict[str, str]]
"""Type URL → resource name → version."""


@dataclass(slots=True)
class Proxy:
    """One proxy: its number, its requests that wait to be sent, and, for one that keeps them, what it has."""

    number: int
    node: Any
    had: Versions
    keeps: bool
    has: Versions = field(default_factory=dict)
    requests: "asyncio.Queue[Any]" = field(default_factory=asyncio.Queue)

    async def run(self, address: str) -> None:
        """Stay connected until cancelled."""
        async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
            stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel)
            for type_url in (*WILDCARDS, *NAMED_BY.values()):
                self._subscribe(type_url)
            async for response in stub.DeltaAggregatedResources(self._sent()):
                self._take(response)

    async def _sent(self) -> AsyncIterator[Any]:
        while True:
            yield await self.requests.get()

    def _subscribe(self, type_url: str) -> None:
        had = self.had.get(type_url, {})
        if type_url in WILDCARDS or had:
            names = ["*"] if type_url in WILDCARDS else list(had)
            self._ask(type_url, resource_names_subscribe=names, initial_resource_versions=had)

    def _take(self, response: Any) -> None:
        type_url = response.type_url
        self._ask(type_url, response_nonce=response.nonce)
        names = [resource.name for resource in response.resources]
        line = {
            "proxy": self.number,
            "at": time.monotonic(),
            "type": SHORT_NAMES[type_url],
            "names": names[:5],
            "count": len(names) + len(response.removed_resources),
            "bytes": response.ByteSize(),
        }
        print(json.dumps(line), flush=True)
        if type_url in NAMED_BY and names:
            self._name(type_url, names)
        if self.keeps:
            self.has.setdefault(type_url, {}).update((r.name, r.version) for r in response.resources)

    def _name(self, type_url: str, names: list[str]) -> None:
        """Ask for what new clusters and scopes name: endpoints by the cluster's name, routes by the gateway's."""
        known = self.had.get(type_url, {})
        new = [name for name in names if name not in known]
        if type_url == CLUSTER:
            self._ask(ENDPOINTS, resource_names_subscribe=[n for n in new if n.startswith("deployment/")])
        else:
            # A scope is named host/api.<gateway id>.<domain>.
            self._ask(ROUTES, resource_names_subscribe=[f"gateway/{n.split('.')[1]}" for n in new])

    def _ask(self, type_url: str, **fields: Any) -> None:
        self.requests.put_nowait(
            discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, node=self.node, **fields)
        )


async def run(proxies: list[Proxy], address: str) -> None:
    """Run until standard input ends, or a proxy fails."""
    running = [asyncio.create_task(proxy.run(address)) for proxy in proxies]
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await asyncio.wait([ended, *running], return_when=asyncio.FIRST_COMPLETED)
    for task in running:
        if task.done():
            task.result()
        task.cancel()


def main(count: int, address: str, zone: str, file: Path) -> None:
    """Run so many proxies; a lone one without a file of versions writes it."""
    had: Versions = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    keeps = not had and count == 1
    proxies = [Proxy(number, _node(number, zone), had, keeps) for number in range(count)]
    uvloop.run(run(proxies, address))
    if keeps:
        file.write_text(json.dumps(proxies[0].has), encoding="utf-8")


def _node(number: int, zone: str) -> Any:
    return base_pb2.Node(id=f"proxy-{number}", locality=base_pb2.Locality(zone=zone))


if __name__ == "__main__":
    how_many, where, in_zone, versions = sys.argv[1:]
    main(int(how_many), where, in_zone, Path(versions))
