"""The control plane as a process: the store in as it changes, Envoys served over ADS, what they said written back.

Definition files are one more writer of the store. A broken edit of them changes nothing that is served; it is
logged and shown in `/status` until it is mended.
"""

import asyncio
import contextlib
import gc
import math
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import prometheus_client
import structlog
from igw_certs.authority import Authority
from igw_certs.contexts import ServerTls
from igw_certs.folder import Certificate
from igw_certs.identity import Role
from igw_certs.peers import guarding
from igw_model.definitions import unused
from igw_model.policy import Access, Provider
from igw_model.record import Kind, Replica
from igw_ops.listening import listening_socket
from igw_ops.server import operations_app, serving
from igw_store.changes import changes
from igw_store.expiry import expire
from igw_store.files import DefinitionError, Loaded
from igw_store.files_sync import sync
from igw_store.store import Change, Store, UnavailableError

from igw_xds.access import KeyOwner
from igw_xds.certificates import LOOK_SECONDS, Certificates, CertificatesCollector, described
from igw_xds.derivation import Derivation
from igw_xds.distribution import Distributions
from igw_xds.fleet import Fleet, described_zone
from igw_xds.inspection import Inspection
from igw_xds.inventory import Inventory, InventoryCollector
from igw_xds.key_owners import KeyOwners
from igw_xds.metrics import Metrics, ServedCollector
from igw_xds.news import News
from igw_xds.overview import overview
from igw_xds.plan import Zoning
from igw_xds.reporter import Reporter
from igw_xds.server import serve as serve_discovery
from igw_xds.session import Hearers
from igw_xds.settings import DataPlane, HostPort
from igw_xds.subjects import Subjects
from igw_xds.world import World

log = structlog.get_logger(__name__)

EXPIRY_SECONDS = 1.0
COME_BACK_SECONDS = 60.0
JUMP_SECONDS = 5.0
"""The wall clock ahead of the time that passed: the machine slept, or its clock was set."""
LATEST = datetime.max.replace(tzinfo=UTC)
AT_ONCE = 20
"""Changes of so many objects are made where they are heard of: a thread's turn would cost more."""
CLOSE_SECONDS = 0.5
GARBAGE = (700, 10, 1000)
"""When Python looks for garbage in cycles, of which we make next to none: through everything, which stops all of us for
as long as there are objects, a hundredth as often as it would."""
RETRY_SECONDS = 1.0
"""Until the store is asked again that could not answer, or that has an object in a file's way."""


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Where the control plane listens, and what it makes of definitions."""

    grpc: HostPort
    ops: HostPort
    domain: str
    zone: str | None
    """The one zone that is served; None for all."""
    data_plane: DataPlane
    all_zones: bool = False
    """Whether every Envoy gets every gateway, whatever zone it names."""
    known_zones: tuple[str, ...] = ()
    """Zones of ours even without a gateway."""
    tls: ServerTls | None = None
    """With it Envoys come over TLS, and their certificates say which zones they are of; None: in clear."""
    canary_seconds: float = 5.0
    """How long the canary of a zone may take to accept a change before the others get it; 0: no canary."""
    certificates: Path | None = None
    """The folder of the certificates that Envoys show to clients."""
    local_authority: Path | None = None
    """The folder of an authority of our own, for host names without a certificate: to try things out."""


class Plane:
    """What is defined and served; `inspection` is for others to look at it while `serve` runs."""

    def __init__(
        self,
        settings: ControlPlane,
        registry: prometheus_client.CollectorRegistry = prometheus_client.REGISTRY,
        owners: KeyOwners | None = None,
        about: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Begin with nothing; metrics are registered at once. Without `owners` nobody is asked whose keys are.

        `about` is what `/status` says of this process: version, start, where definitions come from.
        """
        self.settings, self.about = settings, about
        self.owners = owners or KeyOwners(None, None, math.inf)
        self.open: set[str] = set()
        """Gateways that any valid W&B key may use, which was said."""
        self.publishing = asyncio.Lock()
        zoning = Zoning(settings.zone, together=settings.all_zones)
        self.derivation = Derivation(settings.domain, settings.data_plane, zoning.place)
        self.zones = Distributions(zoning, settings.known_zones, canary_seconds=settings.canary_seconds)
        self.fleet, self.news = Fleet(), News()
        self.inspection = Inspection(self.fleet, self.zones, lambda: [str(error) for error in self.errors])
        authority = settings.local_authority
        self.certificates = Certificates(
            settings.certificates, None if authority is None else Authority.kept(authority), authority
        )
        self.certified = 0
        """Which of their changes was published last."""
        self.subjects = Subjects(settings.domain, zoning, owner=self.derivation.owner)
        if settings.data_plane.https is not None:
            self.subjects.coverage = self.certificates.coverage
        self.errors: tuple[DefinitionError, ...] = ()
        self.store_failure = ""
        """Why the store cannot be read, while it cannot."""
        self.beside: list[Callable[[], Certificate]] = []
        """Certificates that others of this process show: told of in `/status`."""
        self.reporter: Reporter | None = None
        """Who says how objects are, while `serve` runs."""
        self.files_read, self.published = asyncio.Event(), asyncio.Event()
        self.metrics = Metrics(registry)
        registry.register(ServedCollector(self.zones, self.fleet, lambda: len(self.errors)))
        registry.register(InventoryCollector(self.inventory))
        registry.register(CertificatesCollector(self.certificates))

    @property
    def hearers(self) -> Hearers:
        return Hearers(self.zones, self.fleet, self.news, self.metrics)

    def inventory(self) -> Inventory:
        made = self.derivation
        return Inventory(made.gateways, made.deployments, made.world.deployments)

    def hosts(self) -> list[str]:
        """Give the host names of all gateways, if anybody is to know them."""
        if not self.certificates.names_hosts:
            return []
        return [host for gateway in self.derivation.gateways.values() for host in gateway.hosts]

    def ready(self) -> str | None:
        return None if self.zones.ready else "no definitions have been read"

    def status(self) -> dict[str, Any]:
        reporter = self.reporter
        return {
            **self.about,
            "storeFailure": self.store_failure or (reporter.failure if reporter else ""),
            **self.fleet.status(),
            "zones": [described_zone(zone) for zone in self.zones],
            "definition_errors": [str(error) for error in self.errors],
            "certificates": [
                *self.certificates.described(),
                *(described(beside()) for beside in self.beside),
            ],
            **overview(self.subjects, reporter.said if reporter else lambda _: None),
        }


async def serve(
    state: Plane,
    store: Store,
    stop: asyncio.Event,
    file_states: AsyncIterator[Loaded] | None = None,
) -> None:
    """Serve what a store holds until `stop` is set; the store stays open.

    Raises CannotListenError, and an exception group when a part of it fails.
    """
    settings = state.settings
    gc.set_threshold(*GARBAGE)
    zones = state.zones
    reporter = Reporter(store, state.news, state.subjects, zones.clients, lambda: zones.behind)
    state.reporter = reporter
    listening = listening_socket("xds, operations", settings.ops.host, settings.ops.port)
    discovery = listening_socket("xds, gRPC", settings.grpc.host, settings.grpc.port)
    parts = [
        _follow_certificates(reporter, state),
        _follow_files(file_states, store, state),
        _follow(store, reporter, state),
        _follow_owners(reporter, state),
        state.owners.run(),
        _discover(state, discovery),
        _expire(store, state),
        reporter.run(),
        reporter.health.run(),
    ]
    try:
        async with serving(operations_app(state.ready, state.status), listening):
            await _run_until(stop, parts)
    finally:
        state.zones.close()
        discovery.close()


async def _discover(state: Plane, listening: socket.socket) -> None:
    """Serve Envoys once there is something to serve: what they have is compared with it as they come."""
    tls = state.settings.tls
    guard = None if tls is None else guarding(tls, Role.PROXY, Role.API, alpn=("h2",))
    with guard or contextlib.nullcontext() as peers:
        await state.published.wait()
        server = await serve_discovery(state.hearers, listening, peers=peers)
        try:
            await asyncio.Event().wait()
        finally:
            await server.close(CLOSE_SECONDS)


async def _run_until(stop: asyncio.Event, parts: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run parts side by side until told to stop; one that fails ends all."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(part) for part in parts]
        await stop.wait()
        for task in running:
            task.cancel()


async def _follow_files(files: AsyncIterator[Loaded] | None, store: Store, state: Plane) -> None:
    if files is None:
        state.files_read.set()
        return
    async with asyncio.TaskGroup() as tasks:
        syncing: asyncio.Task[None] | None = None
        async for loaded in files:
            if syncing is not None:
                syncing.cancel()
            syncing = tasks.create_task(_sync(loaded, store, state))


async def _sync(loaded: Loaded, store: Store, state: Plane) -> None:
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


async def _follow(store: Store, reporter: Reporter, state: Plane) -> None:
    """Publish what the store holds, the files in it first: Envoys must not lose what is about to come back."""
    await state.files_read.wait()
    async for change in changes(store):
        if state.errors and not state.zones.ready and not change.records:
            continue  # the files are broken and nothing else is known: Envoys keep what they have
        async with state.publishing:
            spent = await _publish(change, state.owners.follow(change), reporter, state)
        state.published.set()
        _warn_of_unreadable(change, state.derivation.world)
        # A flood of writes is coalesced meanwhile, and leaves the others half of the time.
        await asyncio.sleep(spent)


async def _follow_owners(reporter: Reporter, state: Plane) -> None:
    """Publish what follows of W&B's saying anew whose a gateway's key is."""
    while True:
        await state.owners.changed()
        async with state.publishing:
            spent = await _publish(Change(whole=False), state.owners.take(), reporter, state)
        await asyncio.sleep(spent)


async def _follow_certificates(reporter: Reporter, state: Plane) -> None:
    """Publish certificates that came, were renewed or went."""
    if not state.certificates.watched:
        return
    await state.published.wait()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        async with state.publishing:
            await _look(state)
            if state.certificates.changes != state.certified:
                await _publish(Change(whole=False), {}, reporter, state)


async def _certify(state: Plane) -> None:
    """Have certificates for what is served now: at first, and for new host names where we sign for them ourselves."""
    certificates = state.certificates
    if certificates.watched and (certificates.names_hosts or not certificates.states):
        await _look(state)
    if certificates.changes != state.certified:
        state.certified = certificates.changes
        state.derivation.certify(certificates.pairs)
        if state.published.is_set():  # at first everything is looked at anyway, once Envoys are back
            state.news.changed((Kind.GATEWAY, key) for key in state.derivation.world.gateways)


async def _look(state: Plane) -> None:
    await asyncio.to_thread(state.certificates.refresh, state.hosts())


async def _publish(change: Change, owners: Mapping[str, KeyOwner], reporter: Reporter, state: Plane) -> float:
    """Publish what a change of the store, and of whose keys are, makes; give the seconds that it took."""
    began = time.monotonic()
    made = state.derivation
    with _uncollected() if change.whole else contextlib.nullcontext():
        await _take(made, change, owners)
        await _certify(state)
        state.zones.publish(made.snapshots, made.bare)
        state.zones.spell(_zones(change, made.world))
        reporter.publish(change, made.world, made.snapshots, owners)
    _warn_of_open(change, state)
    spent = time.monotonic() - began
    log.info(
        "definitions published",
        gateways=len(made.world.gateways),
        deployments=len(made.world.deployments),
        milliseconds=round(spent * 1000),
    )
    return spent


def _zones(change: Change, world: World) -> Iterator[str]:
    """Give the zones of the gateways that changed, as they are spelled."""
    for kind, object_id in change.records:
        if kind is Kind.GATEWAY and (found := world.gateways.get(object_id)) is not None:
            yield found.definition.zone


def _warn_of_unreadable(change: Change, world: World) -> None:
    for kind, object_id in change.records.keys() & world.unreadable.keys():
        errors = [str(error) for error in world.unreadable[kind, object_id].errors]
        log.error("record left out: it breaks our rules", kind=kind, id=object_id, errors=errors)


def _warn_of_open(change: Change, state: Plane) -> None:
    """Say once of a gateway that any valid W&B key may use it."""
    for kind, gateway_id in change.records:
        if kind is not Kind.GATEWAY:
            continue
        planned = state.derivation.gateways.get(gateway_id)
        policy = None if planned is None else planned.policy
        if policy is None or (policy.provider, policy.access) != (Provider.WANDB, Access.ANY):
            state.open.discard(gateway_id)
        elif gateway_id not in state.open:
            state.open.add(gateway_id)
            log.warning(
                "any valid W&B key may use a gateway", gateway=gateway_id, organization=policy.organization
            )


async def _take(made: Derivation, change: Change, owners: Mapping[str, KeyOwner]) -> None:
    """Derive what a change makes; what is not done in a moment in a thread, and the loop answers others meanwhile."""
    if not change.whole and len(change.records) + len(change.replicas) + len(owners) <= AT_ONCE:
        made.take(change, owners)
    else:
        await asyncio.to_thread(made.take, change, owners)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Make a whole state: nothing of it is garbage, so looking for that would triple the time.

    It lives long, so nobody is to look through it again.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()


async def _expire(store: Store, state: Plane) -> None:
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
            state.store_failure = ""
        except UnavailableError as error:
            state.store_failure = str(error)
            log.error("expired replicas cannot be removed now", error=str(error))  # noqa: TRY400 - it says it all
        await asyncio.sleep(EXPIRY_SECONDS)


async def _expire_now(store: Store, now: datetime, spared: frozenset[Replica]) -> None:
    if await store.read(lambda view: bool(frozenset(view.expired(now)) - spared)):
        for replica in await store.write(expire(now, spared)):
            log.info("replica expired", deployment=replica.deployment_id, replica=replica.name)
