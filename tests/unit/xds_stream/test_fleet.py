"""The registry of connected proxies."""

from dataclasses import dataclass
from typing import Any

from igw_xds.fleet import Ack, Fleet, Nack, Proxy
from igw_xds.snapshot import CLUSTER, ROUTES, Snapshot
from igw_xds.stream import Node


@dataclass
class Connected:
    """A stream of which this is known."""

    known: Proxy
    stream: Any = None
    target: Snapshot | None = None

    @property
    def node(self) -> Node:
        """Give who it is."""
        return Node(self.known.id, self.known.zone, self.known.version)

    def proxy(self) -> Proxy:
        """Give it."""
        return self.known


def connected(name: str = "envoy-1", **changes: Any) -> Connected:
    """Give a synced proxy, changed by keywords."""
    fields: dict[str, Any] = {
        "zone": "z",
        "version": "1.40.0",
        "connected_at": 5.0,
        "transport": "delta",
        "synced": True,
    }
    return Connected(Proxy(name, **(fields | changes)))


def test_status_names_types_as_operators_do() -> None:
    """Status is JSON-able, with Envoy's own text by short type name."""
    fleet = Fleet()
    refused: dict[str, Any] = {
        "last_ack": Ack(CLUSTER, 6.0),
        "last_nack": Nack(ROUTES, ("gateway/1",), "no such filter", 7.5),
        "rejections": {ROUTES: "no such filter"},
    }
    fleet.put(1, connected(synced=False, **refused))
    assert fleet.status() == {
        "connected": 1,
        "synced": 0,
        "omitted": 0,
        "proxies": [
            {
                "id": "envoy-1",
                "zone": "z",
                "version": "1.40.0",
                "connected_at": 5.0,
                "transport": "delta",
                "synced": False,
                "canary": False,
                "reason": "",
                "rejections": {"rds": "no such filter"},
                "lastAck": {"type": "cds", "at": "1970-01-01T00:00:06.000Z"},
                "lastNack": {
                    "type": "rds",
                    "names": ["gateway/1"],
                    "text": "no such filter",
                    "at": "1970-01-01T00:00:07.500Z",
                },
            }
        ],
    }


def test_status_is_bounded_and_shows_trouble_first() -> None:
    """At most `shown` proxies are listed; those that need care come first."""
    fleet = Fleet(shown=2)
    for number, name in enumerate(["a", "b", "c"]):
        fleet.put(number, connected(name, synced=name != "c"))
    status = fleet.status()
    assert ([p["id"] for p in status["proxies"]], status["connected"], status["omitted"]) == (
        ["c", "a"],
        3,
        1,
    )


def test_streams_of_one_node_are_two_entries() -> None:
    """At a reconnect the old stream may end after the new one began."""
    fleet = Fleet()
    fleet.put(1, connected())
    fleet.put(2, connected())
    fleet.drop(1)
    fleet.drop(1)
    assert len(fleet) == 1
