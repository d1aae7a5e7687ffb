"""The connected proxies, for status and for what is said of objects: a value per stream in, out in one mapping."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal, Protocol

from igw_xds.containment import Refused
from igw_xds.distribution import Distribution
from igw_xds.snapshot import SHORT_NAMES, Snapshot
from igw_xds.stream import Node

MAX_REFUSED = 100
"""Refused resources of a zone that are shown."""
MAX_NAMES = 10
"""Names of refused resources that are shown."""


@dataclass(frozen=True, slots=True)
class Ack:
    """The last response that a proxy accepted; `at` in Unix seconds."""

    type_url: str
    at: float


@dataclass(frozen=True, slots=True)
class Nack:
    """The last response that a proxy refused, what it was about, and Envoy's own text."""

    type_url: str
    names: tuple[str, ...]
    text: str
    at: float


@dataclass(frozen=True, slots=True)
class Proxy:
    """One connected Envoy as its stream knows it; `version` is Envoy's own, `connected_at` Unix seconds."""

    id: str
    zone: str
    version: str
    connected_at: float
    transport: Literal["delta", "sotw"]
    synced: bool = False
    canary: bool = False
    """Whether changes of its zone go to it first."""
    stray: bool = False
    """Whether its zone is not one of ours."""
    reason: str = ""
    """Why it gets nothing, for people."""
    rejections: Mapping[str, str] = field(default_factory=dict)
    """Envoy's error text by type URL."""
    last_ack: Ack | None = None
    last_nack: Nack | None = None


class Connected(Protocol):
    """A stream that says what is known of its proxy now."""

    @property
    def node(self) -> Node:
        """Give who it is."""

    @property
    def stream(self) -> Any:
        """Give what it has, as its stream knows."""

    @property
    def target(self) -> Snapshot | None:
        """Give what it is to have now; None before there is anything, and once it has left."""

    def proxy(self) -> Proxy:
        """Describe it."""


class Fleet:
    """Proxies by stream number; two streams of one node id, as at a reconnect, are two entries."""

    def __init__(self, shown: int = 1000) -> None:
        """Show at most `shown` proxies in `status`; all are counted."""
        self._shown = shown
        self._proxies: dict[int, Connected] = {}

    def put(self, stream: int, connected: Connected) -> None:
        """Add a stream."""
        self._proxies[stream] = connected

    def drop(self, stream: int) -> None:
        """Forget a stream; one that is not known is ignored."""
        self._proxies.pop(stream, None)

    def __iter__(self) -> Iterator[Proxy]:
        """Give the proxies, those that are not synced or refuse something first, then by id."""
        found = [connected.proxy() for connected in self._proxies.values()]
        return iter(sorted(found, key=lambda p: (p.synced and not p.rejections, p.id, p.connected_at)))

    def connected(self) -> Sequence[Connected]:
        """Give the streams that there are at this moment, the oldest first."""
        return list(self._proxies.values())

    def find(self, proxy_id: str) -> Connected | None:
        """Give the newest stream of a proxy."""
        return next((c for c in reversed(self._proxies.values()) if c.node.id == proxy_id), None)

    def __len__(self) -> int:
        """Count the connected proxies."""
        return len(self._proxies)

    def status(self) -> dict[str, Any]:
        """Describe the fleet: proxies in trouble first, and `omitted` of those beyond the limit."""
        proxies = list(self)
        return {
            "connected": len(proxies),
            "synced": sum(proxy.synced for proxy in proxies),
            "omitted": max(0, len(proxies) - self._shown),
            "proxies": [described(proxy) for proxy in proxies[: self._shown]],
        }


def described(proxy: Proxy) -> dict[str, Any]:
    """Describe a proxy as JSON."""
    return {
        "id": proxy.id,
        "zone": proxy.zone,
        "version": proxy.version,
        "connected_at": proxy.connected_at,
        "transport": proxy.transport,
        "synced": proxy.synced,
        "canary": proxy.canary,
        "reason": proxy.reason,
        "rejections": {SHORT_NAMES.get(t, t): text for t, text in proxy.rejections.items()},
        "lastAck": _ack(proxy.last_ack) if proxy.last_ack else None,
        "lastNack": _nack(proxy.last_nack) if proxy.last_nack else None,
    }


def described_zone(zone: Distribution) -> dict[str, Any]:
    """Describe a zone as JSON: what is on its way, and what of it is held back and why."""
    rollout, canary = zone.rollout, zone.canary
    return {
        "zone": zone.zone,
        "known": zone.known,
        "proxies": len(zone.receivers),
        "served": rollout.served.version if rollout.served else None,
        "staged": rollout.staged.version if rollout.staged else None,
        "canary": canary.node.id if canary else None,
        "refused": [document for document, _ in refused(zone)],
    }


def refused(zone: Distribution) -> Iterator[tuple[dict[str, Any], Refused]]:
    """Describe what a zone holds back as JSON, the first of it."""
    for (type_url, name), found in islice(zone.rollout.refused.items(), MAX_REFUSED):
        yield {"type": SHORT_NAMES[type_url], "name": name, "proxy": found.proxy, "text": found.text}, found


def _ack(ack: Ack) -> dict[str, Any]:
    return {"type": SHORT_NAMES.get(ack.type_url, ack.type_url), "at": moment(ack.at)}


def _nack(nack: Nack) -> dict[str, Any]:
    return {
        "type": SHORT_NAMES.get(nack.type_url, nack.type_url),
        "names": list(nack.names[:MAX_NAMES]),
        "text": nack.text,
        "at": moment(nack.at),
    }


def moment(seconds: float) -> str:
    """Give Unix seconds as RFC 3339."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
