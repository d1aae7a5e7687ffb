"""What Envoys made of an object, and how its replicas are, in; its status and conditions out. Pure.

An object is READY once every connected Envoy of its zone has its newest generation, and stays READY at that
generation while Envoys come and go and while another object's change is on its way: the conditions tell of it.
Envoy's refusal is ERROR. A deployment is also held to its replicas, and to the routes that lead to it: their
refusal is an ERROR of a deployment that was not READY before, for it may be the cause.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from igw_model.gateway import Gateway, WeightsAndBiasesAuth
from igw_model.policy import Access
from igw_model.status import Condition, Observed, Status, Truth

from igw_xds.access import KeyOwner, NotValid, policy
from igw_xds.snapshot import CLUSTER, Resource
from igw_xds.stream import Holds, Refuses, Standing
from igw_xds.stream.track import kept as what_is_kept

MAX_TEXT = 1000
"""Characters of Envoy's text in a message."""

ANY_KEY_ACCEPTED = (
    "Any valid W&B key may use this gateway: set weightsAndBiasesAuth.apiKey or allowedEntities"
)
KEY_NOT_CHECKED = "Nobody may use this gateway yet: W&B has not said whose its apiKey is"
KEY_INVALID = "Nobody may use this gateway: W&B says that its apiKey is not valid"
NO_ENTITIES = "Nobody may use this gateway: the owner of its apiKey belongs to none of allowedEntities"

Need = tuple[str, Resource]
"""A type URL and a resource that an object consists of, as it should be."""


@dataclass(frozen=True, slots=True)
class Client:
    """A connected Envoy, or several that have the same, and what they make of a resource, by type URL and name."""

    id: str
    standing: Callable[[str, str], Standing]
    count: int = 1
    refusing: bool = True
    """False when they are known to refuse nothing: then nobody looks."""


@dataclass(frozen=True, slots=True)
class Programmed:
    """How many of the connected Envoys have an object, and what the first that refused some of it said."""

    having: int
    connected: int
    refused_by: str = ""
    text: str = ""
    own: bool = True
    """Whether what was refused is the object's own."""

    @property
    def count(self) -> str:
        """Say how many, for people."""
        return f"Programmed proxies: {self.having}/{self.connected}"


@dataclass(frozen=True, slots=True)
class NotServed:
    """This control plane does not serve the zone; `served` is the one that it does serve."""

    served: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is said of the certificates of some host names: whether clients can trust each, and why not."""

    trusted: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many replicas of a deployment are ready; `asked` is false until each was asked once."""

    ready: int
    total: int
    asked: bool = True
    none: str = ""
    """Where there is none to ask: why, for people."""


@dataclass(frozen=True, slots=True)
class Past:
    """What is being observed: a generation, what was last seen of the object, and the present time."""

    generation: int
    before: Observed | None
    now: datetime

    @property
    def status(self) -> Status | None:
        """Give the status that this very generation had."""
        same = self.before is not None and self.before.generation == self.generation
        return self.before.status if self.before and same else None

    @property
    def waiting(self) -> Status:
        """Give the status of an object that is on its way: CREATING until Envoys took or refused it once."""
        match self.before:
            case None | Observed(status=Status.CREATING):
                return Status.CREATING
            case _:
                return Status.UPDATING

    def condition(self, kind: str, truth: Truth, reason: str, message: str, zone: str) -> Condition:
        """Give a condition, as old as its content."""
        found = self.known(kind, zone)
        if found is not None and (found.truth, found.reason, found.message) == (truth, reason, message):
            return found
        return Condition(kind, truth, reason, message, zone, self.now)

    def known(self, kind: str, zone: str) -> Condition | None:
        """Give the condition as it was."""
        conditions = self.before.conditions if self.before else ()
        return next((c for c in conditions if (c.type, c.zone) == (kind, zone)), None)


def programmed(own: Sequence[Need], others: Sequence[Need], clients: Iterable[Client]) -> Programmed:
    """Ask every Envoy for all that an object needs; `others` are needed, and not its own."""
    having = connected = 0
    refusal: tuple[str, str, bool] | None = None
    for client in clients:
        connected += client.count
        if (refused := _refused(own, client)) is not None:
            refusal = refusal if refusal and refusal[2] else (*refused, True)
        elif (refused := _refused(others, client)) is not None:
            refusal = refusal or (*refused, False)
        elif _has(own, client) and _has(others, client):
            having += client.count
    return Programmed(having, connected, *(refusal or ()))


def _has(needs: Iterable[Need], client: Client) -> bool:
    return all(client.standing(type_url, r.name) == Holds(r) for type_url, r in needs)


def _refused(needs: Iterable[Need], client: Client) -> tuple[str, str] | None:
    """Give who refused something, and its text."""
    if not client.refusing:
        return None
    for type_url, resource in needs:
        match client.standing(type_url, resource.name):
            case Refuses(refused, text, by=by) if refused == resource:
                return by or client.id, text or "refused without a word"
    return None


def holds(type_url: str, name: str, clients: Iterable[Client]) -> bool:
    """Say whether any Envoy still has a resource, of whatever version."""
    return any(kept(client, type_url, name) is not None for client in clients)


def leads(type_url: str, name: str, cluster: str, client: Client) -> bool:
    """Say whether what an Envoy has of a resource names a cluster, through a split too, or may for all we know."""
    has = kept(client, type_url, name)
    if has is None or has.needs is None:
        return has is not None
    return cluster in has.needs or any(
        leads(CLUSTER, needed, cluster, client) for needed in has.needs if needed.startswith("split/")
    )


def kept(client: Client, type_url: str, name: str) -> Resource | None:
    """Give what an Envoy has of a resource, of whatever version."""
    return what_is_kept(client.standing(type_url, name))


def gateway_observed(
    past: Past,
    gateway: Gateway,
    owner: KeyOwner | None,
    seen: Programmed | NotServed,
    certified: Coverage | None = None,
) -> Observed:
    """Give what is to be said of a gateway; `owner` says whose its own key is, if it has one.

    `certified` says how its host names are where there is HTTPS; it is served all the same.
    """
    status = _programmed_status(past, seen)
    conditions = [_programmed_condition(past, gateway.zone, seen, status)]
    if isinstance(gateway.auth, WeightsAndBiasesAuth):
        conditions.append(_access_condition(past, gateway, owner))
    if certified is not None:
        truth = Truth.TRUE if certified.trusted else Truth.FALSE
        message = certified.message[:MAX_TEXT]
        conditions.append(past.condition("CertificateReady", truth, certified.reason, message, gateway.zone))
    return Observed(past.generation, status, tuple(conditions))


def deployment_observed(
    past: Past, zones: Mapping[str, Programmed | NotServed], replicas: Replicas, *, disabled: bool
) -> Observed:
    """Give what is to be said of a deployment, in the zone of each of its gateways."""
    status = _worst([_programmed_status(past, seen) for seen in zones.values()] or [past.waiting])
    if status is Status.READY and not disabled:
        status = _with_replicas(past, replicas)
    conditions: list[Condition] = []
    for zone, seen in zones.items():
        conditions.append(_programmed_condition(past, zone, seen, status))
        conditions.append(_ready_condition(past, zone, replicas))
    return Observed(past.generation, status, tuple(conditions))


def unreadable_observed(past: Past, zones: Iterable[str], errors: Iterable[object]) -> Observed:
    """Give what is to be said of an object that this control plane cannot serve."""
    message = "; ".join(map(str, errors))[:MAX_TEXT]
    conditions = tuple(
        past.condition("Programmed", Truth.FALSE, "Invalid", message, zone) for zone in tuple(zones) or ("",)
    )
    return Observed(past.generation, Status.ERROR, conditions)


def _programmed_status(past: Past, seen: Programmed | NotServed) -> Status:
    match seen:
        case Programmed(text=text, own=own) if text:
            was_ready = past.status is Status.READY
            return Status.READY if was_ready and not own else Status.ERROR
        case Programmed(having, connected) if connected and having == connected:
            return Status.READY
        case Programmed() | NotServed():
            return past.status or past.waiting
        case other:
            assert_never(other)


def _with_replicas(past: Past, replicas: Replicas) -> Status:
    """Give the status of a deployment that every Envoy has: without a replica it never was ready, or is in error."""
    if replicas.ready:
        return Status.READY
    if not replicas.asked:
        return past.status or past.waiting
    return Status.CREATING if past.waiting is Status.CREATING else Status.ERROR


def _worst(statuses: Iterable[Status]) -> Status:
    order = (Status.ERROR, Status.CREATING, Status.UPDATING, Status.READY)
    return min(statuses, key=order.index)


def _programmed_condition(past: Past, zone: str, seen: Programmed | NotServed, status: Status) -> Condition:
    unknown = Truth.FALSE if status in {Status.CREATING, Status.UPDATING} else Truth.UNKNOWN
    match seen:
        case NotServed(served):
            message = f"Programmed proxies: 0/0. This control plane serves zone {served} only"
            return past.condition("Programmed", unknown, "NoProxy", message, zone)
        case Programmed(connected=0):
            message = f"{seen.count}. No Envoy of zone {zone} is connected"
            return past.condition("Programmed", unknown, "NoProxy", message, zone)
        case Programmed(text=text) if text:
            message = f"{seen.count}. {seen.refused_by}: {text[:MAX_TEXT]}"
            return past.condition("Programmed", Truth.FALSE, "Rejected", message, zone)
        case Programmed(having, connected) if having == connected:
            return past.condition("Programmed", Truth.TRUE, "Programmed", seen.count, zone)
        case Programmed():
            return past.condition("Programmed", Truth.FALSE, "Pending", seen.count, zone)
        case other:
            assert_never(other)


def _access_condition(past: Past, gateway: Gateway, owner: KeyOwner | None) -> Condition:
    """Say whose W&B keys may use a gateway; it is served all the same."""
    held = policy(gateway, owner)

    def condition(truth: Truth, reason: str, message: str) -> Condition:
        return past.condition("AccessRestricted", truth, reason, message, gateway.zone)

    match owner, held.access:
        case NotValid(), _:
            return condition(Truth.FALSE, "KeyInvalid", KEY_INVALID)
        case _, Access.PENDING:
            return condition(Truth.UNKNOWN, "KeyNotChecked", KEY_NOT_CHECKED)
        case _, Access.ANY:
            return condition(Truth.FALSE, "AnyKeyAccepted", ANY_KEY_ACCEPTED)
        case _ if not held.entities:
            return condition(Truth.FALSE, "NoEntities", NO_ENTITIES)
        case _:
            count = len(held.entities)
            message = f"Keys of {count} W&B {'entity' if count == 1 else 'entities'} may use this gateway"
            return condition(Truth.TRUE, "Entities", message)


def _ready_condition(past: Past, zone: str, replicas: Replicas) -> Condition:
    known = past.known("Ready", zone)
    if not replicas.asked:
        if known is not None and past.status is not None:
            return known
        message = f"Ready replicas: 0/{replicas.total}. Not every replica was asked yet"
        return past.condition("Ready", Truth.UNKNOWN, "Pending", message, zone)
    count = f"Ready replicas: {replicas.ready}/{replicas.total}"
    if replicas.total and replicas.ready == replicas.total:
        return past.condition("Ready", Truth.TRUE, "Ready", f"{count}. All resources are ready", zone)
    message = f"{count}. {replicas.none}" if replicas.none else count
    return past.condition("Ready", Truth.FALSE, "NotReady", message, zone)
