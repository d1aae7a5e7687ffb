"""Every method of the API over the store, for every transport: a document in, a document or RefusedError out."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from igw_store.store import Reading, Store, UnavailableError, Writing

from igw_api.caller import Caller, Role
from igw_api.capacity_claims import CapacityClaims, claim_parameters
from igw_api.deployments import Deployments, deployment_parameters
from igw_api.document import Document, plain
from igw_api.events import list_events
from igw_api.failure import Code, RefusedError
from igw_api.gateways import Gateways, gateway_parameters
from igw_api.lifecycle import Call, Resource, create, delete, get, list_all, update
from igw_api.methods import Method, writes
from igw_api.proxies import Fleet, NoFleet, Proxies
from igw_api.replicas import Replicas
from igw_api.settings import Settings
from igw_api.usage import NoSource, Source, Usage

Read = Callable[[Reading, Call, Document], dict[str, Any]]
Write = Callable[[Writing, Call, Document], dict[str, Any]]


class Operations:
    """The API's methods."""

    def __init__(  # noqa: PLR0913 - what it answers from, each by its name
        self,
        store: Store,
        settings: Settings,
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        fleet: Fleet | None = None,
        usage: Source | None = None,
    ) -> None:
        """Answer from a store, of proxies from a fleet, of usage from its source.

        `clock` gives aware times in UTC, `new_id` UUIDs.
        """
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._reads = _reads(settings)
        self._writes = _writes(settings)
        self._looks = Proxies(fleet or NoFleet()).methods
        self._questions = Usage(usage or NoSource()).methods

    async def call(self, method: Method, caller: Caller, document: Document) -> dict[str, Any]:
        """Give a method's answer; when it comes, what it wrote is on disk. Raises RefusedError."""
        if writes(method) and caller.role < Role.ADMIN:
            raise RefusedError(Code.PERMISSION_DENIED, f"{method} needs the role admin")
        if method in self._looks and caller.role < Role.OPERATOR:
            raise RefusedError(Code.PERMISSION_DENIED, f"{method} needs the role operator")
        try:
            return await self._answer(method, caller, plain(document))
        except UnavailableError:
            raise RefusedError(Code.UNAVAILABLE, "the store cannot answer now: try again") from None

    async def _answer(self, method: Method, caller: Caller, document: Document) -> dict[str, Any]:
        if method in self._looks:
            return await self._looks[method](document)
        if method in self._questions:
            return await self._questions[method](caller, document)
        if method in self._reads:
            read = self._reads[method]
            return await self._store.read(lambda view: read(view, self._begun(caller), document))
        write = self._writes[method]
        return await self._store.write(lambda transaction: write(transaction, self._begun(caller), document))

    def _begun(self, caller: Caller) -> Call:
        """Read the clock within the transaction, so that times grow in the order of the commits."""
        return Call(caller, self._clock(), self._new_id())


def _reads(settings: Settings) -> Mapping[Method, Read]:
    gateways, deployments, claims = _resources(settings)
    parameters = settings.parameters
    return {
        Method.GET_GATEWAY: partial(get, gateways),
        Method.LIST_GATEWAYS: partial(list_all, gateways),
        Method.GET_GATEWAY_PARAMETERS: partial(gateway_parameters, parameters),
        Method.GET_DEPLOYMENT: partial(get, deployments),
        Method.LIST_DEPLOYMENTS: partial(list_all, deployments),
        Method.GET_DEPLOYMENT_PARAMETERS: partial(deployment_parameters, parameters),
        Method.GET_CAPACITY_CLAIM: partial(get, claims),
        Method.LIST_CAPACITY_CLAIMS: partial(list_all, claims),
        Method.GET_CAPACITY_CLAIM_PARAMETERS: partial(claim_parameters, parameters),
        Method.LIST_REPLICAS: Replicas(settings.backends).list_all,
        Method.LIST_EVENTS: list_events,
    }


def _writes(settings: Settings) -> Mapping[Method, Write]:
    gateways, deployments, claims = _resources(settings)
    replicas = Replicas(settings.backends)
    return {
        Method.CREATE_GATEWAY: partial(create, gateways),
        Method.UPDATE_GATEWAY: partial(update, gateways),
        Method.DELETE_GATEWAY: partial(delete, gateways),
        Method.CREATE_DEPLOYMENT: partial(create, deployments),
        Method.UPDATE_DEPLOYMENT: partial(update, deployments),
        Method.DELETE_DEPLOYMENT: partial(delete, deployments),
        Method.CREATE_CAPACITY_CLAIM: partial(create, claims),
        Method.UPDATE_CAPACITY_CLAIM: partial(update, claims),
        Method.DELETE_CAPACITY_CLAIM: partial(delete, claims),
        Method.PUT_REPLICA: replicas.put,
        Method.DELETE_REPLICA: replicas.delete,
    }


def _resources(settings: Settings) -> tuple[Resource, Resource, Resource]:
    return (
        Gateways(settings.parameters, settings.endpoints),
        Deployments(settings.parameters, settings.backends),
        CapacityClaims(settings.parameters),
    )
