"""The registry of connected proxies."""

from typing import Any

from igw_xds.fleet import Ack, Fleet, Nack, Proxy
from igw_xds.snapshot import CLUSTER, ROUTES
from igw_xds.stream import Holds, Standing

from tests.unit.xds_stream.builders import content


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
    refused: dict[str, Any] = {
        "last_ack": Ack(CLUSTER, 6.0),
        "last_nack": Nack(ROUTES, ("gateway/1",), "no such filter", 7.5),
        "rejections": {ROUTES: "no such filter"},
    }
    fleet.put(1, proxy(synced=False, **refused))
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


def test_of_two_streams_of_one_node_the_newer_counts() -> None:
    """What is said of objects counts Envoys, not streams."""

    def holds(version: int) -> Any:
        def standing(_type_url: str, _name: str) -> Standing:
            return Holds(content("r", version))

        return standing

    fleet = Fleet()
    for number, (name, version) in enumerate([("b", 1), ("a", 2), ("b", 3)]):
        fleet.put(number, proxy(name, standing=holds(version)))
    found = [(client.id, client.standing(ROUTES, "r")) for client in fleet.clients()]
    assert found == [("a", Holds(content("r", 2))), ("b", Holds(content("r", 3)))]
