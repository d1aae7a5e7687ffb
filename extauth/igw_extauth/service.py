"""The process: wires the keeper to who answers checks, this process or workers of it, until told to stop."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import structlog
from igw_ops.listening import listening_socket
from igw_ops.server import own_metrics, serving

from igw_extauth.host import operations
from igw_extauth.host.keeping import LocalKeeper, keeping
from igw_extauth.host.supervisor import Workers
from igw_extauth.metrics import WORKERS
from igw_extauth.settings import Settings
from igw_extauth.wire.front import Front, Listening, guarding, listening


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the servers listen; tells what a port 0 in the settings became."""

    http: int
    grpc: int
    ops: int


class Answering(Protocol):
    """Who answers checks."""

    @property
    def lack(self) -> str | None:
        """Say why checks are not answered; None when they are."""
        ...

    def status(self) -> Mapping[str, Any]:
        """Give who they are."""
        ...

    async def start(self) -> None:
        """Begin; comes back when all answer."""
        ...

    async def forget(self, keys: frozenset[bytes]) -> bool:
        """Forget tokens; False when that is not certain."""
        ...

    async def exposition(self) -> bytes:
        """Give what is counted, in Prometheus' text format."""
        ...

    async def stop(self) -> None:
        """End, after what is under way."""
        ...


class Alone:
    """This process alone."""

    lack: str | None = None

    def __init__(self, settings: Settings, keeper: LocalKeeper, sockets: Listening) -> None:
        self._sockets = sockets
        self._guarding = ExitStack()
        self._guard = None if settings.tls is None else self._guarding.enter_context(guarding(settings.tls))
        self._front = Front(keeper, keeper.secret, settings.cache_entries)

    def status(self) -> Mapping[str, Any]:
        """Give nobody else."""
        return {"workers": []}

    async def start(self) -> None:
        """Begin."""
        await self._front.start(self._sockets, guard=self._guard)
        WORKERS.inc()

    async def forget(self, keys: frozenset[bytes]) -> bool:
        """Forget tokens."""
        self._front.forget(keys)
        return True

    async def exposition(self) -> bytes:
        """Give what is counted."""
        return await own_metrics()

    async def stop(self) -> None:
        """End, after what is under way."""
        await self._front.stop()
        self._guarding.close()
        WORKERS.dec()


class _Process:
    """Whether this process may have traffic, and what its operations port does."""

    def __init__(self, keeper: LocalKeeper, answering: Answering) -> None:
        self.not_ready: str | None = "starting"
        self._keeper = keeper
        self._answering = answering
        self._forgetting: set[asyncio.Task[bool]] = set()
        keeper.on_revoked(self._forget)

    def lack(self) -> str | None:
        """Say why there may be no traffic."""
        return self.not_ready or self._answering.lack

    async def revoke(self, digest: bytes) -> bool:
        """Revoke a token; False when a worker may remember it."""
        return await self._answering.forget(await self._keeper.revoke(digest))

    def _forget(self, keys: frozenset[bytes]) -> None:
        task = asyncio.get_running_loop().create_task(self._answering.forget(keys))
        self._forgetting.add(task)
        task.add_done_callback(self._forgetting.discard)


async def serve(
    settings: Settings, stop: asyncio.Event, ready: Callable[[Ports], None] = lambda _: None
) -> None:
    """Answer checks until `stop` is set; `ready` is called once, when all answer.

    Raises CannotListenError, which names the port, and SecretFileError, before anything is answered.
    """
    with ExitStack() as stack:
        sockets = stack.enter_context(listening(settings))
        ops = stack.enter_context(listening_socket("operations", settings.ops_host, settings.ops_port))
        ports = Ports(*(one.getsockname()[1] for one in (sockets.http, sockets.grpc, ops)))
        async with keeping(settings) as keeper:
            kind = Alone if settings.workers == 1 else Workers
            answering: Answering = kind(settings, keeper, sockets)
            process = _Process(keeper, answering)
            app = operations.app(process.lack, answering.status, answering.exposition, process.revoke)
            async with serving(app, ops):
                await _run(process, answering, stop, lambda: _tell(ports, ready))


def _tell(ports: Ports, ready: Callable[[Ports], None]) -> None:
    structlog.get_logger().info("listening", **asdict(ports))
    ready(ports)


async def _run(
    process: _Process, answering: Answering, stop: asyncio.Event, ready: Callable[[], None]
) -> None:
    stopping = asyncio.create_task(stop.wait())
    starting = asyncio.create_task(answering.start())
    try:
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            process.not_ready = None
            ready()
        await stopping
    finally:
        process.not_ready = "stopping"
        stopping.cancel()
        starting.cancel()
        await answering.stop()
