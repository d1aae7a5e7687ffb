"""The control plane as a process: definitions in as they change, Envoys served over ADS, status for people.

A broken edit changes nothing that is served; it is logged and shown in `/status` until it is mended.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import structlog
from igw_model.definitions import unused
from igw_ops.listening import listening_socket
from igw_ops.server import operations_app, serving
from igw_store.files import DefinitionError, Loaded

from igw_xds.fleet import Fleet
from igw_xds.plan import plan
from igw_xds.publisher import Publisher
from igw_xds.resources.everything import snapshot_of
from igw_xds.server import serve as serve_discovery
from igw_xds.settings import DataPlane, HostPort

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Where the control plane listens, and what it makes of definitions."""

    grpc: HostPort
    ops: HostPort
    domain: str
    zone: str | None
    data_plane: DataPlane


class _State:
    """What the last read of the definitions gave, for status."""

    def __init__(self, publisher: Publisher, fleet: Fleet) -> None:
        self.errors: tuple[DefinitionError, ...] = ()
        self._publisher = publisher
        self._fleet = fleet

    def ready(self) -> str | None:
        return None if self._publisher.current is not None else "no definitions have been read"

    def status(self) -> dict[str, Any]:
        current = self._publisher.current
        fleet = self._fleet.status(None if current is None else current.version)
        return {**fleet, "definition_errors": [str(error) for error in self.errors]}


async def serve(settings: ControlPlane, states: AsyncIterator[Loaded], stop: asyncio.Event) -> None:
    """Serve until `stop` is set. Raises CannotListenError."""
    publisher, fleet = Publisher(), Fleet()
    state = _State(publisher, fleet)
    listening = listening_socket("xds, operations", settings.ops.host, settings.ops.port)
    discovery = await serve_discovery(publisher, fleet, settings.grpc.host, settings.grpc.port)
    try:
        async with (
            serving(operations_app(state.ready, state.status), listening),
            asyncio.TaskGroup() as tasks,
        ):
            following = tasks.create_task(_follow(states, settings, publisher, state))
            await stop.wait()
            following.cancel()
    finally:
        publisher.close()
        await discovery.stop()


async def _follow(
    states: AsyncIterator[Loaded], settings: ControlPlane, publisher: Publisher, state: _State
) -> None:
    async for loaded in states:
        state.errors = loaded.errors
        if loaded.errors:
            for error in loaded.errors:
                log.error("definition refused; what was served goes on being served", error=str(error))
            continue
        definitions = loaded.definitions
        for warning in unused(definitions):
            log.warning(warning)
        planned = plan(
            definitions.gateways, definitions.deployments, domain=settings.domain, zone=settings.zone
        )
        publisher.publish(snapshot_of(planned, settings.data_plane))
        log.info(
            "definitions published",
            gateways=len(planned.gateways),
            deployments=len(planned.deployments),
            snapshot=publisher.newest.version if publisher.newest else None,
        )
