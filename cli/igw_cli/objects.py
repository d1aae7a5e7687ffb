"""The kinds of objects that commands name, and how an object is found: by its id, else by its name."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from igw_cli.client import Client, Exit, FailedError

Object = Mapping[str, Any]
"""``{"spec": {…}, "status": {…}}``, as the API answers."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind: as people write it, in paths, in answers, and in definition files."""

    name: str
    path: str
    key: str
    items: str
    document: str
    words: tuple[str, ...]


GATEWAY = Kind("gateway", "gateways", "gateway", "items", "Gateway", ("gateway", "gateways", "gw"))
DEPLOYMENT = Kind(
    "deployment", "deployments", "deployment", "items", "Deployment", ("deployment", "deployments", "deploy")
)
CLAIM = Kind(
    "claim",
    "capacityclaims",
    "capacityClaim",
    "capacityClaims",
    "CapacityClaim",
    ("claim", "claims", "capacityclaim", "capacityclaims"),
)
KINDS = (GATEWAY, DEPLOYMENT, CLAIM)
"""In the order in which they are created; they are deleted the other way round."""


def kind_of(word: str) -> Kind:
    """Give the kind that a word means. Raises FailedError."""
    for kind in KINDS:
        if word.lower() in kind.words:
            return kind
    raise FailedError(f"{word!r} is none of gateways, deployments, claims", Exit.INVALID)


def listed(client: Client, kind: Kind, **query: str) -> list[Object]:
    """Give the organisation's objects of a kind. Raises FailedError."""
    items: list[Object] = client.get(kind.path, **query).get(kind.items, [])
    return items


def got(client: Client, kind: Kind, object_id: str) -> Object:
    """Give an object by its id. Raises FailedError."""
    answered: Object = client.get(kind.path, object_id).get(kind.key, {})
    return answered


def found(client: Client, kind: Kind, name: str) -> Object:
    """Give an object by id or name. Raises FailedError."""
    if is_id(name):
        try:
            return got(client, kind, name)
        except FailedError as error:
            if error.status is not Exit.NOT_FOUND:
                raise
    match = named(listed(client, kind), name)
    if match is None:
        raise FailedError(f"no {kind.name} has the name or id {name!r}", Exit.NOT_FOUND)
    return match


def named(objects: Iterable[Object], name: str) -> Object | None:
    """Give the object with this id, else the one with this name, and of two the one that is not being deleted."""
    candidates = list(objects)
    for candidate in candidates:
        if same_id(candidate["spec"].get("id"), name):
            return candidate
    matches = [candidate for candidate in candidates if candidate["spec"].get("name") == name]
    return min(matches, key=lambda o: phase(o) == "DELETING", default=None)


def is_id(text: str) -> bool:
    """Say whether a text is a UUID."""
    try:
        return len(text) == 36 and bool(uuid.UUID(text))
    except ValueError:
        return False


def same_id(one: Any, other: Any) -> bool:
    """Compare ids; letter case is no difference."""
    return isinstance(one, str) and isinstance(other, str) and one.lower() == other.lower()


def phase(thing: Object) -> str:
    """Give an object's status in a word: READY, ERROR and so on."""
    return str(thing.get("status", {}).get("status", "STATUS_UNSPECIFIED")).removeprefix("STATUS_")


def conditions(thing: Object) -> list[Mapping[str, Any]]:
    """Give an object's conditions."""
    given: list[Mapping[str, Any]] = thing.get("status", {}).get("conditions", [])
    return given


def troubles(thing: Object) -> list[str]:
    """Give what conditions that do not hold say, as ``Reason: message``."""
    return [
        f"{condition.get('reason', '')}: {condition.get('message', '')}"
        for condition in conditions(thing)
        if condition.get("status") != "STATUS_TRUE"
    ]
