"""Docker's JSON in, the containers and happenings that matter here out. Pure; nothing is asked for here.

Source: Docker Engine API, "List containers" and "Monitor events". What is not as it is there is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

DEPLOYMENT_LABEL = "igw.deployment"
ORGANIZATION_LABEL = "igw.organization"
PROJECT_LABEL = "com.docker.compose.project"
MOST_CHARACTERS = 128
"""Of a text of somebody's container that is logged or kept."""
HARMLESS = frozenset(
    {"1", "10", "12", "17", "18", "23", "28", "HUP", "USR1", "USR2", "CHLD", "CONT", "URG", "WINCH"}
)
"""Signals that ask for something else than an end: read the configuration again, the window's size…"""


@dataclass(frozen=True, slots=True)
class Container:
    """A container that runs or is paused."""

    id: str
    name: str
    deployment: str
    """The label's text, whatever it is."""
    organization: str | None = None
    project: str | None = None
    """Its Compose project."""
    addresses: Mapping[str, str] = field(default_factory=dict)
    """By the name of the network: IPv4, else IPv6, else empty."""
    paused: bool = False
    foreign: bool = False
    """Of another Compose project than the control plane itself, where that is in one."""


class What(Enum):
    """What happened to a container."""

    STOPPING = auto()
    """It was told to stop, or it ended: as long as it is listed, it is about to go."""
    STARTED = auto()
    PAUSED = auto()
    UNPAUSED = auto()
    OTHER = auto()
    """Something that a listing tells: another name, another network."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One event of the engine about one container."""

    what: What
    container_id: str
    nanoseconds: int
    """Of the engine's clock, since 1970."""


_ACTIONS = {
    "start": What.STARTED,
    "die": What.STOPPING,
    "destroy": What.STOPPING,
    "pause": What.PAUSED,
    "unpause": What.UNPAUSED,
    "restart": What.OTHER,
    "stop": What.OTHER,
    "rename": What.OTHER,
}
EVENTS = ("kill", *_ACTIONS, "connect", "disconnect")
"""What the engine is asked to tell; not of health checks, which would be most of it."""


def container(document: Any) -> Container | None:
    """Give the container that an element of the engine's list is of; None for one that is not up, or has no label."""
    match document:
        case {
            "Id": str(container_id),
            "Names": list(names),
            "State": "running" | "paused" as state,
            "Labels": dict(labels),
        } if deployment := _text(labels.get(DEPLOYMENT_LABEL)):
            return Container(
                container_id,
                _name(names, container_id),
                deployment,
                _text(labels.get(ORGANIZATION_LABEL)),
                _text(labels.get(PROJECT_LABEL)),
                _addresses(document),
                paused=state == "paused",
            )
        case _:
            return None


def compose_project(documents: Any) -> str | None:
    """Give the Compose project of the only container of a list; None where there is none."""
    match documents:
        case [{"Labels": {**labels}}]:
            return _text(labels.get(PROJECT_LABEL))
        case _:
            return None


def happening(document: Any) -> Happening | None:
    """Give what an event is about; None for one that matters to no container with our label."""
    match document:
        case {
            "Type": "container",
            "Action": str(action),
            "Actor": {"ID": str(container_id), "Attributes": dict(attributes)},
            "timeNano": int(moment),
        } if DEPLOYMENT_LABEL in attributes:
            what = _killed(attributes) if action == "kill" else _ACTIONS.get(action)
            return None if what is None else Happening(what, container_id, moment)
        case {
            "Type": "network",
            "Action": "connect" | "disconnect",
            "Actor": {"Attributes": {"container": str(container_id)}},
            "timeNano": int(moment),
        }:
            return Happening(What.OTHER, container_id, moment)
        case _:
            return None


def shown(text: str) -> str:
    """Give somebody's text as it may be logged: short and printable."""
    plain = text if text.isprintable() else ascii(text)
    return plain if len(plain) <= MOST_CHARACTERS else f"{plain[: MOST_CHARACTERS - 1]}…"


def _killed(attributes: Mapping[str, Any]) -> What | None:
    """Any signal may be an image's own way of being stopped, but for those that certainly are not."""
    signal = str(attributes.get("signal", "")).upper().removeprefix("SIG")
    return None if signal in HARMLESS else What.STOPPING


def _name(names: list[Any], container_id: str) -> str:
    """Give the container's own name: `/name`; `/other/name` is what a link calls it."""
    own = (name[1:] for name in names if isinstance(name, str) and name.startswith("/"))
    fitting = (name for name in own if name and "/" not in name and len(name) <= MOST_CHARACTERS)
    return next(fitting, container_id[:12])


def _addresses(document: Mapping[str, Any]) -> dict[str, str]:
    match document:
        case {"NetworkSettings": {"Networks": dict(networks)}}:
            return {name: _address(network) for name, network in sorted(networks.items())}
        case _:
            return {}


def _address(network: Any) -> str:
    """Give the IPv4 address, else the IPv6, else nothing."""
    if not isinstance(network, dict):
        return ""
    return _text(network.get("IPAddress")) or _text(network.get("GlobalIPv6Address")) or ""


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
