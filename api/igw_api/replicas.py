"""Replicas that register themselves, for deployments without a backend: this project's extension.

A heartbeat says that a replica listens at an address for `ttlSeconds` more. Only joining, leaving and moving are
events. Replicas of a deployment that a file defines may register too: they are no part of its spec. Those that the
control plane found in containers are listed, and are not the API's to change.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from igw_model.deployment import BACKENDS, Address
from igw_model.document import FieldError, parse
from igw_model.record import NEVER, Action, Event, Kind, Record, Replica
from igw_store.store import Reading, Writing
from pydantic import AfterValidator, Field

from igw_api.deployments import address_error
from igw_api.document import Document, unknown
from igw_api.lifecycle import Call, object_of
from igw_api.moments import moment_text
from igw_api.refusal import absent, invalid, unready
from igw_api.settings import Backends

MOST = 1000
"""Replicas of one deployment."""
KIND = "replica"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("must be 1 to 128 letters, digits, '.', '_' and '-', the first a letter or digit")
    return text


class Heartbeat(Address):
    """What a replica says of itself."""

    id: str
    name: Annotated[str, AfterValidator(_name)]
    ttl_seconds: Annotated[int, Field(ge=1, le=3600)]


@dataclass(frozen=True, slots=True)
class Replicas:
    """The operations on replicas; `backends` says at which addresses they may be."""

    backends: Backends

    def put(self, write: Writing, call: Call, document: Document) -> dict[str, Any]:
        """Answer PutReplica: join, or stay for another while."""
        deployment = _deployment(write, call, document)
        heartbeat = self._heartbeat(document)
        _refuse_backend(deployment)
        kept = write.replicas(deployment.id)
        before = next((replica for replica in kept if replica.name == heartbeat.name), None)
        if before is None:
            _make_room(write, call, deployment, kept)
        replica = Replica(
            deployment_id=deployment.id,
            name=heartbeat.name,
            address=heartbeat.address,
            port=heartbeat.port,
            expires_at=call.now + timedelta(seconds=heartbeat.ttl_seconds),
        )
        write.put_replica(replica)
        known = before if before is not None and before.expires_at > call.now else None
        if known is None or (known.address, known.port) != (replica.address, replica.port):
            write.append(_event(call, Action.REGISTER, replica, known, replica))
        return {KIND: _shown(replica)}

    def delete(self, write: Writing, call: Call, document: Document) -> dict[str, Any]:
        """Answer DeleteReplica: leave now."""
        deployment = _deployment(write, call, document, unknown(document, ("id", "name")))
        name = document.get("name")
        found = [replica for replica in write.replicas(deployment.id) if replica.name == name]
        live = [replica for replica in found if replica.expires_at > call.now]
        if not live:
            raise absent(KIND, str(name)[:128])
        _refuse_container(deployment, live[0])
        write.remove_replica(deployment.id, live[0].name)
        write.append(_event(call, Action.LEAVE, live[0], live[0], None))
        return {KIND: _shown(live[0])}

    def list_all(self, view: Reading, call: Call, document: Document) -> dict[str, Any]:
        """Answer ListReplicas: those whose time is not over, by name."""
        deployment = _deployment(view, call, document, unknown(document, ("id",)))
        replicas = view.replicas(deployment.id)
        return {"items": [_shown(replica) for replica in replicas if replica.expires_at > call.now]}

    def _heartbeat(self, document: Document) -> Heartbeat:
        parsed = parse(Heartbeat, document, ())
        errors = parsed if isinstance(parsed, list) else []
        if reason := address_error(self.backends, document.get("address")):
            errors = [*errors, FieldError("address", reason)]
        if errors or isinstance(parsed, list):
            raise invalid(errors)
        return parsed


def _deployment(view: Reading, call: Call, document: Document, errors: Sequence[FieldError] = ()) -> Record:
    return object_of(view, Kind.DEPLOYMENT, call, document.get("id"), errors)


def _refuse_backend(deployment: Record) -> None:
    subject = f"deployment/{deployment.id}"
    if deployment.deleting:
        raise unready("DELETING", subject, f"deployment {deployment.id} is being deleted")
    for key in BACKENDS:
        if key in deployment.spec:
            message = f"deployment has a {key}: its replicas are not registered"
            raise unready("HAS_BACKEND", subject, message)


def _refuse_container(deployment: Record, replica: Replica) -> None:
    if replica.expires_at == NEVER:
        message = f"replica {replica.name} is a container: it leaves when that stops"
        raise unready("IN_CONTAINER", f"deployment/{deployment.id}", message)


def _make_room(write: Writing, call: Call, deployment: Record, kept: Sequence[Replica]) -> None:
    """Refuse beyond the bound; what has expired and is still kept makes room."""
    if len(kept) < MOST:
        return
    expired = [replica for replica in kept if replica.expires_at <= call.now]
    if not expired:
        message = f"deployment has {MOST} replicas, the most there may be"
        raise unready("TOO_MANY_REPLICAS", f"deployment/{deployment.id}", message)
    for replica in expired:
        write.remove_replica(deployment.id, replica.name)


def _shown(replica: Replica) -> dict[str, Any]:
    expiry = {} if replica.expires_at == NEVER else {"expiresAt": moment_text(replica.expires_at)}
    return {**_where(replica), **expiry}


def _event(
    call: Call, action: Action, replica: Replica, before: Replica | None, after: Replica | None
) -> Event:
    return Event(
        at=call.now,
        organization_id=call.caller.organization_id,
        principal=call.caller.principal,
        action=action,
        kind=KIND,
        id=replica.deployment_id,
        name=replica.name,
        before=None if before is None else _where(before),
        after=None if after is None else _where(after),
    )


def _where(replica: Replica) -> dict[str, Any]:
    return {"name": replica.name, "address": replica.address, "port": replica.port}
