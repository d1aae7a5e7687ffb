"""The connected proxies, for status and readiness: a value per stream in, one JSON-able mapping out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SCOPE

SHORT_NAMES: Mapping[str, str] = {
    CLUSTER: "cds",
    ENDPOINTS: "eds",
    LISTENER: "lds",
    SCOPE: "srds",
    ROUTES: "rds",
}
"""How operators call the types; metric labels and status use these."""


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

    def __len__(self) -> int:
        """Count the connected proxies."""
        return len(self._proxies)

    def status(self, snapshot_version: str | None) -> dict[str, Any]:
        """Describe the fleet: proxies in trouble first, and `omitted` of those beyond the limit."""
        return {
            "snapshot": snapshot_version,
            "connected": len(self._proxies),
            "synced": sum(proxy.synced for proxy in self._proxies.values()),
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
    }
