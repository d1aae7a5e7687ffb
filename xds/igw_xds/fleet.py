"""The connected proxies, for status and for what is said of objects: a value per stream in, out in one mapping."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from igw_xds.observation import Client
from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SCOPE
from igw_xds.stream import Lacks, Standing

SHORT_NAMES: Mapping[str, str] = {
    CLUSTER: "cds",
    ENDPOINTS: "eds",
    LISTENER: "lds",
    SCOPE: "srds",
    ROUTES: "rds",
}
"""How operators call the types; metric labels and status use these."""


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


def _nothing(_type_url: str, _name: str) -> Standing:
    return Lacks()


@dataclass(frozen=True, slots=True)
class Proxy:
    """One connected Envoy as its stream knows it; `version` is Envoy's own, `connected_at` Unix seconds."""

    id: str
    zone: str
    version: str
    connected_at: float
    transport: Literal["delta", "sotw"]
    synced: bool = False
    rejections: Mapping[str, str] = field(default_factory=dict)
    """Envoy's error text by type URL."""
    last_ack: Ack | None = None
    last_nack: Nack | None = None
    standing: Callable[[str, str], Standing] = field(default=_nothing, repr=False, compare=False)
    """What it makes of a resource now, by type URL and name."""


class Fleet:
    """Proxies by stream number; two streams of one node id, as at a reconnect, are two entries."""

    def __init__(self, shown: int = 1000) -> None:
        """Show at most `shown` proxies in `status`; all are counted."""
        self._shown = shown
        self._proxies: dict[int, Proxy] = {}

    def put(self, stream: int, proxy: Proxy) -> None:
        """Add a stream's proxy or replace what is known of it."""
        self._proxies[stream] = proxy

    def drop(self, stream: int) -> None:
        """Forget a stream; one that is not known is ignored."""
        self._proxies.pop(stream, None)

    def __iter__(self) -> Iterator[Proxy]:
        """Give the proxies, those that are not synced or refuse something first, then by id."""
        return iter(
            sorted(
                self._proxies.values(), key=lambda p: (p.synced and not p.rejections, p.id, p.connected_at)
            )
        )

    def clients(self) -> Sequence[Client]:
        """Give each connected Envoy once, by id: of two streams of one, as at a reconnect, the newer."""
        newest = {
            proxy.id or f"stream {stream}": proxy.standing for stream, proxy in sorted(self._proxies.items())
        }
        return [Client(name, newest[name]) for name in sorted(newest)]

    def __len__(self) -> int:
        """Count the connected proxies."""
        return len(self._proxies)

    @property
    def synced(self) -> int:
        """Count those that have all they are to have."""
        return sum(proxy.synced for proxy in self._proxies.values())

    @property
    def refusing(self) -> int:
        """Count those that refuse something now."""
        return sum(bool(proxy.rejections) for proxy in self._proxies.values())

    def status(self, snapshot_version: str | None) -> dict[str, Any]:
        """Describe the fleet: proxies in trouble first, and `omitted` of those beyond the limit."""
        return {
            "snapshot": snapshot_version,
            "connected": len(self._proxies),
            "synced": self.synced,
            "omitted": max(0, len(self._proxies) - self._shown),
            "proxies": [_described(proxy) for proxy, _ in zip(self, range(self._shown), strict=False)],
        }


def _described(proxy: Proxy) -> dict[str, Any]:
    return {
        "id": proxy.id,
        "zone": proxy.zone,
        "version": proxy.version,
        "connected_at": proxy.connected_at,
        "transport": proxy.transport,
        "synced": proxy.synced,
        "rejections": {SHORT_NAMES.get(t, t): text for t, text in proxy.rejections.items()},
        "lastAck": _ack(proxy.last_ack) if proxy.last_ack else None,
        "lastNack": _nack(proxy.last_nack) if proxy.last_nack else None,
    }


def _ack(ack: Ack) -> dict[str, Any]:
    return {"type": SHORT_NAMES.get(ack.type_url, ack.type_url), "at": _moment(ack.at)}


def _nack(nack: Nack) -> dict[str, Any]:
    return {
        "type": SHORT_NAMES.get(nack.type_url, nack.type_url),
        "names": list(nack.names[:MAX_NAMES]),
        "text": nack.text,
        "at": _moment(nack.at),
    }


def _moment(seconds: float) -> str:
    """Give Unix seconds as RFC 3339."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
