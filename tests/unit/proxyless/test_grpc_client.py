"""gRPC's own xDS client, in a process of its own, against our server: `xds:///ID` leads to a deployment."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent import futures
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from igw_xds.snapshot import Snapshot

from tests.builders import deployment, deployment_id, gateway, served, static
from tests.unit.xds_stream.loopback import Plane, serving


class Named(grpc.GenericRpcHandler):  # type: ignore[misc] # untyped
    """Answers every call with a name."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()

    def service(self, _: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: self._name)


@contextmanager
def model(name: str) -> Iterator[int]:
    """Run a gRPC server that answers with its name; give its port."""
    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[Named(name)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


class Client:
    """The program beside this file."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def call(self) -> str:
        """Make one call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        async with asyncio.timeout(20):
            return (await self._process.stdout.readline()).decode().strip()

    async def answers(self, name: str) -> None:
        """Call until a server of this name answers."""
        async with asyncio.timeout(20):
            while await self.call() != name:  # noqa: ASYNC110 - a client tells nobody when it has heard
                await asyncio.sleep(0.05)


@asynccontextmanager
async def client(plane: Plane, folder: Path) -> AsyncIterator[Client]:
    """Run it as a client of a control plane."""
    server = {
        "server_uri": f"127.0.0.1:{plane.server.port}",
        "channel_creds": [{"type": "insecure"}],
        "server_features": ["xds_v3"],
    }
    file = folder / "bootstrap.json"
    file.write_text(json.dumps({"xds_servers": [server], "node": {"id": "grpc"}}), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(Path(__file__).parent / "client.py"), deployment_id(1)),
        env={**os.environ, "GRPC_XDS_BOOTSTRAP": str(file)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Client(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


def world(*ports: int) -> Snapshot:
    """Give a gateway and a deployment with replicas at these ports."""
    return served(gateway(1), deployment(1, staticBackend=static(*ports)))


@pytest.fixture
async def plane() -> AsyncIterator[Plane]:
    """Give a control plane."""
    async with serving() as plane:
        yield plane


async def test_a_grpc_client_resolves_a_deployment_and_follows_its_replicas(
    plane: Plane, tmp_path: Path
) -> None:
    """It calls a replica of the deployment that it names, and after a change the new one."""
    with model("first") as first, model("second") as second:
        plane.publish(world(first))
        async with client(plane, tmp_path) as grpc_client:
            assert await grpc_client.call() == "first"
            [proxy] = plane.fleet
            assert (proxy.id, proxy.transport, proxy.rejections) == ("grpc", "sotw", {})
            plane.publish(world(second))
            await grpc_client.answers("second")


async def test_a_grpc_client_programs_nothing(plane: Plane, tmp_path: Path) -> None:
    """It is no Envoy: nobody waits for it to have a gateway's routes, and it is nobody's canary."""
    with model("only") as only:
        plane.publish(world(only))
        async with client(plane, tmp_path) as grpc_client:
            assert await grpc_client.call() == "only"
            assert not plane.zones.clients("")
            assert [zone.rollout.canary for zone in plane.zones] == [None]
