"""The store as its users see it: transactions over records, and one watch. What keeps it is in `sqlite`.

Every call into a transaction is synchronous and quick; a transaction is a function that the store runs in a
thread of its own. A write that was answered is on disk; one that raises leaves nothing.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeVar

from igw_model.record import Event, Kind, Record, Replica
from igw_model.status import Observed

T = TypeVar("T")


class Reading(Protocol):
    """One consistent view of the store."""

    def get(self, kind: Kind, object_id: str) -> Record | None:
        """Give an object, also one that is being deleted."""

    def named(self, kind: Kind, organization_id: str, name: str) -> Record | None:
        """Give the object of a name that is not being deleted."""

    def list(
        self,
        kind: Kind,
        organization_id: str | None,
        *,
        updated_after: datetime | None = None,
        gateway_id: str | None = None,
    ) -> Sequence[Record]:
        """Give an organisation's objects, or (None) everybody's, oldest first.

        `updated_after` keeps those that were updated later; `gateway_id` the deployments that name it.
        """

    def attached(self, gateway_id: str) -> bool:
        """Say whether deployments that are not being deleted name a gateway."""

    def host_owner(self, host: str) -> str | None:
        """Give the id of the gateway, of any organisation, that has a host name (in `normal_host` spelling).

        `api.<id>.…` is the name generated for that gateway, whatever the domain.
        """

    def conflicts(self, record: Record) -> "Sequence[TakenError]":
        """Give everything for which `put` of this record would raise TakenError."""

    def from_files(self) -> Sequence[Record]:
        """Give the objects of every organisation that have an origin, also those that are being deleted."""

    def expired(self, now: datetime) -> Sequence[Replica]:
        """Give the replicas of every deployment whose time has passed at `now`."""

    def replicas(self, deployment_id: str) -> Sequence[Replica]:
        """Give a deployment's replicas by name, expired ones too."""

    def events(
        self, organization_id: str, *, updated_after: datetime | None = None, limit: int
    ) -> Sequence[Event]:
        """Give an organisation's events, oldest first: the newest, or those that come next after a moment.

        At most `limit`, and fewer where they are large.
        """


class Writing(Reading, Protocol):
    """One transaction that may write; nobody else writes meanwhile, in no process."""

    def put(self, record: Record) -> None:
        """Keep a new object or another generation of one; hosts and attachments are taken from its spec.

        Watchers hear of it. An object with `deleting` frees its name and its hosts. An id is the kind's own: a
        gateway and a deployment may have the same. Raises TakenError, also where the id is another organisation's.
        """

    def remove(self, kind: Kind, object_id: str) -> None:
        """Forget an object for good; watchers hear of it."""

    def observe(self, kind: Kind, object_id: str, observed: Observed, at: datetime) -> None:
        """Keep what was seen of an object, and move `updated_at` to `at` if that is later.

        Watchers do not hear of it. The same as before changes nothing; an object that is gone is ignored.
        """

    def put_replica(self, replica: Replica) -> None:
        """Keep a replica or its later expiry; watchers hear of it only when address or port changed."""

    def remove_replica(self, deployment_id: str, name: str) -> None:
        """Forget a replica; watchers hear of it."""

    def append(self, event: Event) -> None:
        """Keep an event, and drop the oldest beyond the store's bound."""


@dataclass(slots=True, eq=False)
class TakenError(Exception):
    """A name, id or host name is already somebody's: `field` is the spec's path, `owner` the record that has it."""

    field: str
    value: str
    owner: Record


class UnavailableError(Exception):
    """The store cannot answer now: closed, locked by another process for too long, or the disk is full."""


@dataclass(frozen=True, slots=True)
class Change:
    """What changed since the last one: objects by kind and id (None: gone for good), replicas of deployments.

    An object that is being deleted comes as its record with `deleting`. `whole` for the first: all there is.
    """

    whole: bool
    records: Mapping[tuple[Kind, str], Record | None] = field(default_factory=dict)
    replicas: Mapping[str, tuple[Replica, ...]] = field(default_factory=dict)


class Store(Protocol):
    """A store that is open."""

    async def read(self, view: Callable[[Reading], T]) -> T:
        """Run a function over one consistent view and give its result."""

    async def write(self, change: Callable[[Writing], T]) -> T:
        """Run a function as one transaction, give its result once that is on disk; whatever it raises undoes all.

        Raises UnavailableError; so does `read`.
        """

    def watch(self) -> AsyncIterator[Change]:
        """Give the whole state, then coalesced changes, also those that other processes wrote (within 0.5 s)."""

    async def aclose(self) -> None:
        """Let what is under way end and close."""
