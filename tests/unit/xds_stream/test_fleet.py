"""The registry of connected proxies."""

from typing import Any

from igw_xds.fleet import Fleet, Proxy
from igw_xds.snapshot import ROUTES


def proxy(name: str = "envoy-1", **changes: Any) -> Proxy:
    """Give a synced proxy, changed by keywords."""
    fields: dict[str, Any] = {
        "zone": "z",
        "version": "1.40.0",
        "connected_at": 5.0,
        "transport": "delta",
        "synced": True,
    }
    return Proxy(name, **(fields | changes))


def test_status_names_types_as_operators_do() -> None:
    """Status is JSON-able, with Envoy's own text by short type name."""
    fleet = Fleet()
    fleet.put(1, proxy(synced=False, rejections={ROUTES: "no such filter"}))
    assert fleet.status("v1") == {
        "snapshot": "v1",
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
                "rejections": {"rds": "no such filter"},
            }
        ],
    }


def test_status_is_bounded_and_shows_trouble_first() -> None:
    """At most `shown` proxies are listed; those that need care come first."""
    fleet = Fleet(shown=2)
    for number, name in enumerate(["a", "b", "c"]):
        fleet.put(number, proxy(name, synced=name != "c"))
    status = fleet.status(None)
    assert ([p["id"] for p in status["proxies"]], status["connected"], status["omitted"]) == (
        ["c", "a"],
        3,
        1,
    )


def test_streams_of_one_node_are_two_entries() -> None:
    """At a reconnect the old stream may end after the new one began."""
    fleet = Fleet()
    fleet.put(1, proxy())
    fleet.put(2, proxy())
    fleet.drop(1)
    fleet.drop(1)
    assert len(fleet) == 1
