"""What tests do with containers, and what they look for in the store."""

import asyncio
import contextlib
import io
import shutil
import tarfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import docker
import docker.errors
from docker.models.containers import Container
from igw_containers.following import follow
from igw_model.record import Kind, Replica
from igw_store.sqlite import SqliteStore
from prometheus_client import CollectorRegistry

from tests.unit.store.records import deployment_record

BASE = "python:3.11-slim-bookworm"
BUSYBOX = "igw-test-busybox:local"
QUIET = 'trap "exit 0" TERM; while :; do sleep 0.05; done'
SOON = 3.0
"""Seconds in which the store is to know what happened: some 50 ms, if the machine has time. Without events it would be
5 s, that of listings."""

Rows = dict[str, str]


@dataclass(slots=True)
class Scene:
    """One deployment, its containers, its rows."""

    engine: docker.DockerClient
    store: SqliteStore
    name: str
    deployment_id: str
    image: str
    clock: Callable[[], datetime]

    async def define(self, **backend: Any) -> None:
        """Define the deployment, or define it anew."""
        document = {"name": self.name, "dockerBackend": {"port": 8000, **backend}}
        record = deployment_record(1, document)
        await self.store.write(lambda write: write.put(record))

    async def run(self, name: str, *, network: str = "one", command: str = QUIET, **labels: str) -> Container:
        """Start a labelled container."""
        return await asyncio.to_thread(
            self.engine.containers.run,
            self.image,
            ["/bin/sh", "-c", command],
            name=f"{self.name}-{name}",
            network=network if network == "host" else f"{self.name}_{network}",
            labels={"igw.deployment": self.name, **labels},
            detach=True,
        )

    async def rows(self) -> Rows:
        """Give the address of each replica, by the container's short name."""
        replicas = await self.replicas()
        return {replica.name.removeprefix(f"{self.name}-"): replica.address for replica in replicas}

    async def replicas(self) -> list[Replica]:
        """Give the rows."""
        return list(await self.store.read(lambda view: view.replicas(self.deployment_id)))

    async def soon(self, *names: str, within: float = SOON) -> Rows:
        """Wait until the store has these replicas and no other, tell how long it took, and give them."""
        began = time.monotonic()
        rows = await self.rows()
        while set(rows) != set(names):
            assert time.monotonic() - began < within, f"{rows} are not {names} after {within} s"
            await asyncio.sleep(0.005)
            rows = await self.rows()
        print(f"{', '.join(names) or 'none'}: {(time.monotonic() - began) * 1000:.0f} ms")  # noqa: T201
        return rows

    async def events(self) -> list[tuple[str, str]]:
        """Give what the store tells of replicas: action and short name, oldest first."""
        found = await self.store.read(lambda view: view.events("acme", limit=100))
        return [(str(event.action), event.name.removeprefix(f"{self.name}-")) for event in found]

    async def gone(self) -> None:
        """Delete the deployment."""
        await self.store.write(lambda write: write.remove(Kind.DEPLOYMENT, self.deployment_id))

    @contextlib.asynccontextmanager
    async def followed(self, url: str) -> AsyncIterator[CollectorRegistry]:
        """Follow an engine; gives the metrics."""
        registry = CollectorRegistry()
        task = asyncio.create_task(follow(url, self.store, self.clock, registry))
        try:
            yield registry
        finally:
            assert not task.done(), task.exception()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def stubborn(seconds: int) -> str:
    """Give the command of a container that ends so long after it was told to stop."""
    return f'trap "sleep {seconds}; exit 0" TERM; while :; do sleep 0.05; done'


def address(container: Container, network: str) -> str:
    """Give a container's address as the engine tells it by name."""
    container.reload()
    found: str = container.attrs["NetworkSettings"]["Networks"][network]["IPAddress"]
    return found


def image(engine: docker.DockerClient) -> str:
    """Give an image with a shell: the base image where it is there, else one made of a static busybox."""
    with contextlib.suppress(docker.errors.ImageNotFound):
        engine.images.get(BASE)
        return BASE
    busybox = shutil.which("busybox")
    assert busybox, f"neither {BASE} (deploy/offline/base-image) nor busybox-static is here"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(Path(busybox).resolve(), "bin/busybox")
        for applet in ("sh", "sleep"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    repository, _, tag = BUSYBOX.partition(":")
    engine.api.import_image_from_data(packed.getvalue(), repository=repository, tag=tag)
    return BUSYBOX


async def until(holds: Callable[[], bool] | Callable[[], Awaitable[bool]], within: float = SOON) -> None:
    """Wait until something holds; fail when it does not in time."""
    async with asyncio.timeout(within):
        while True:
            now = holds()
            if now if isinstance(now, bool) else await now:
                return
            await asyncio.sleep(0.01)
