"""The control plane as a process: the store in as it changes, Envoys served over ADS, what they said written back.

Definition files are one more writer of the store. A broken edit of them changes nothing that is served; it is
logged and shown in `/status` until it is mended.
"""

import asyncio
import gc
import math
import time
from collections.abc import AsyncIterator, Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import prometheus_client
import structlog
from igw_model.definitions import unused
from igw_model.record import Replica
from igw_ops.listening import listening_socket
from igw_ops.server import operations_app, serving
from igw_store.changes import changes
from igw_store.expiry import expire
from igw_store.files import DefinitionError, Loaded
from igw_store.files_sync import sync
from igw_store.store import Change, Store, UnavailableError

from igw_xds import plan as planning
from igw_xds.fleet import Fleet
from igw_xds.inventory import Inventory, InventoryCollector
from igw_xds.metrics import ServedCollector
from igw_xds.news import News
from igw_xds.publisher import Publisher
from igw_xds.reporter import Reporter
from igw_xds.resources import everything
from igw_xds.server import serve as serve_discovery
from igw_xds.settings import DataPlane, HostPort
from igw_xds.snapshot import Snapshot
from igw_xds.subjects import Subjects
from igw_xds.world import World, after

log = structlog.get_logger(__name__)

EXPIRY_SECONDS = 1.0
COME_BACK_SECONDS = 60.0
JUMP_SECONDS = 5.0
"""The wall clock ahead of the time that passed: the machine slept, or its clock was set."""
LATEST = datetime.max.replace(tzinfo=UTC)
RETRY_SECONDS = 1.0
"""Until the store is asked again that could not answer, or that has an object in a file's way."""


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Where the control plane listens, and what it makes of definitions."""

    grpc: HostPort
    ops: HostPort
    domain: str
    zone: str | None
    data_plane: DataPlane


@dataclass(slots=True)
class _Making:
    """The way from a change of the store to a snapshot, and what is remembered on it."""

    settings: ControlPlane
    world: World = field(default_factory=World)
    inventory: Inventory = field(default_factory=Inventory)
    plans: planning.Memo = field(default_factory=planning.Memo)
    resources: everything.Memo = field(default_factory=everything.Memo)

    def snapshot(self, change: Change) -> Snapshot:
        """Take a change and give what is to be served."""
        self.world = after(self.world, change)
        planned = planning.plan(
            self.world.served_gateways,
            self.world.served_deployments,
            domain=self.settings.domain,
            zone=self.settings.zone,
            replicas=self.world.replicas,
            memo=self.plans,
        )
        self.inventory = Inventory(planned, self.world.deployments)
        return everything.snapshot_of(planned, self.settings.data_plane, self.resources)


class _State:
    """What status and readiness are made of."""

    def __init__(self, publisher: Publisher, fleet: Fleet) -> None:
        self.errors: tuple[DefinitionError, ...] = ()
        self.files_read = asyncio.Event()
        self._publisher = publisher
        self._fleet = fleet

    def ready(self) -> str | None:
        return None if self._publisher.current is not None else "no definitions have been read"

    def status(self) -> dict[str, Any]:
        current = self._publisher.current
        fleet = self._fleet.status(None if current is None else current.version)
        return {**fleet, "definition_errors": [str(error) for error in self.errors]}


async def serve(
    settings: ControlPlane,
    store: Store,
    stop: asyncio.Event,
    file_states: AsyncIterator[Loaded] | None = None,
    registry: prometheus_client.CollectorRegistry = prometheus_client.REGISTRY,
) -> None:
    """Serve what a store holds until `stop` is set; the store stays open.

    Raises CannotListenError, and an exception group when a part of it fails.
    """
    publisher, fleet, news = Publisher(), Fleet(), News()
    state, making = _State(publisher, fleet), _Making(settings)
    reporter = Reporter(store, fleet, news, Subjects(settings.domain, settings.zone))
    listening = listening_socket("xds, operations", settings.ops.host, settings.ops.port)
    discovery = await serve_discovery(
        publisher, fleet, news, settings.grpc.host, settings.grpc.port, registry
    )
    registry.register(ServedCollector(publisher, fleet, lambda: len(state.errors)))
    registry.register(InventoryCollector(lambda: making.inventory))
    parts = [
        _follow_files(file_states, store, state),
        _follow(store, making, publisher, reporter, state),
        _expire(store),
        reporter.run(),
        reporter.health.run(),
    ]
    try:
        async with serving(operations_app(state.ready, state.status), listening):
            await _run_until(stop, parts)
    finally:
        publisher.close()
        await discovery.stop()


async def _run_until(stop: asyncio.Event, parts: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run parts side by side until told to stop; one that fails ends all."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(part) for part in parts]
        await stop.wait()
        for task in running:
            task.cancel()


async def _follow_files(files: AsyncIterator[Loaded] | None, store: Store, state: _State) -> None:
    if files is None:
        state.files_read.set()
        return
    async with asyncio.TaskGroup() as tasks:
        syncing: asyncio.Task[None] | None = None
        async for loaded in files:
            if syncing is not None:
                syncing.cancel()
            syncing = tasks.create_task(_sync(loaded, store, state))


async def _sync(loaded: Loaded, store: Store, state: _State) -> None:
    """Make the store's rows what the files say; try again while the store cannot, or an object is in the way."""
    told: tuple[DefinitionError, ...] = ()
    while True:
        try:
            state.errors = tuple(await store.write(sync(loaded, datetime.now(UTC))))
        except UnavailableError as unavailable:
            log.error("the files cannot be taken over now", error=str(unavailable))  # noqa: TRY400 - it says it all
            await asyncio.sleep(RETRY_SECONDS)
            continue
        state.files_read.set()
        if state.errors != told:
            for error in state.errors:
                log.error("definition refused; what was served goes on being served", error=str(error))
        if not state.errors:
            for warning in unused(loaded.definitions):
                log.warning(warning)
        if not state.errors or loaded.errors:
            return
        told = state.errors
        await asyncio.sleep(RETRY_SECONDS)


async def _follow(
    store: Store, making: _Making, publisher: Publisher, reporter: Reporter, state: _State
) -> None:
    """Publish what the store holds, the files in it first: Envoys must not lose what is about to come back."""
    await state.files_read.wait()
    async for change in changes(store):
        if state.errors and publisher.current is None and not change.records:
            continue  # the files are broken and nothing else is known: Envoys keep what they have
        began = time.monotonic()
        snapshot = await _made(making, change)
        publisher.publish(snapshot)
        reporter.publish(change, making.world, snapshot)
        _warn_of_unreadable(change, making.world)
        spent = time.monotonic() - began
        log.info(
            "definitions published",
            gateways=len(making.world.gateways),
            deployments=len(making.world.deployments),
            snapshot=snapshot.version,
            milliseconds=round(spent * 1000),
        )
        # A flood of writes is coalesced meanwhile, and leaves the others half of the time.
        await asyncio.sleep(spent)


def _warn_of_unreadable(change: Change, world: World) -> None:
    for kind, object_id in change.records.keys() & world.unreadable.keys():
        errors = [str(error) for error in world.unreadable[kind, object_id].errors]
        log.error("record left out: it breaks our rules", kind=kind, id=object_id, errors=errors)


async def _made(making: _Making, change: Change) -> Snapshot:
    """Make a snapshot in a thread: the loop answers Envoys and the API meanwhile.

    Of a whole state nothing is garbage, so looking for that would triple the time; and it lives long, so nobody is to
    look through it again.
    """
    if not change.whole:
        return await asyncio.to_thread(making.snapshot, change)
    gc.disable()
    try:
        return await asyncio.to_thread(making.snapshot, change)
    finally:
        gc.enable()
        gc.freeze()


async def _expire(store: Store) -> None:
    """Let replicas go that were not heard of in time.

    Nobody could be heard of while we were down, or while the machine slept: who was there then has time to come back.
    """
    loop = asyncio.get_running_loop()
    spared, until, skew = frozenset[Replica](), 0.0, -math.inf
    while True:
        now = datetime.now(UTC)
        try:
            if now.timestamp() - loop.time() > skew + JUMP_SECONDS:
                spared = frozenset(await store.read(lambda view: view.expired(LATEST)))
                until = loop.time() + COME_BACK_SECONDS
            skew = now.timestamp() - loop.time()
            await _expire_now(store, now, spared if loop.time() < until else frozenset())
        except UnavailableError as error:
            log.error("expired replicas cannot be removed now", error=str(error))  # noqa: TRY400 - it says it all
        await asyncio.sleep(EXPIRY_SECONDS)


async def _expire_now(store: Store, now: datetime, spared: frozenset[Replica]) -> None:
    if await store.read(lambda view: bool(frozenset(view.expired(now)) - spared)):
        for replica in await store.write(expire(now, spared)):
            log.info("replica expired", deployment=replica.deployment_id, replica=replica.name)
