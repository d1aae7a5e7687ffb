"""Zones with a clock, and sessions on a wire that blocks when told: who is served what, and who counts as what."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Locality
from envoy.config.core.v3.base_pb2 import Node as NodeMessage
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse
from igw_ops.grpc.wire import GrpcStatus
from igw_xds.distribution import Distribution, Distributions
from igw_xds.fleet import Fleet, described_zone
from igw_xds.metrics import Metrics
from igw_xds.news import News
from igw_xds.plan import Zoning
from igw_xds.rollout import Rollout
from igw_xds.session import MAX_UNSENT, Hearers, Session
from igw_xds.snapshot import CLUSTER, LISTENER, Snapshot
from igw_xds.stream import Holds, Node, Refuses
from igw_xds.stream.node import MAX_ERROR, MAX_NAME
from igw_xds.stream.progress import MAX_ASKED, MAX_OPEN
from prometheus_client import CollectorRegistry

from tests.unit.xds_stream.builders import ack, content, delta, nack, sent, world

BARE, HERE = world(listeners=["l"]), world(clusters=["deployment/a"], listeners=["l"])
AGAIN = world(clusters={"deployment/a": 2}, listeners=["l"])


@dataclass
class Wire:
    """A connection that keeps what is sent."""

    path: str = ""
    peer: str = "127.0.0.1"
    transport: Any = None
    blocked: bool = False
    sent: list[Any] = field(default_factory=list)
    status: GrpcStatus | None = None

    def send(self, *parts: bytes) -> None:
        """Keep a response."""
        self.sent.append(DeltaDiscoveryResponse.FromString(b"".join(parts)))

    def end(self, status: GrpcStatus = GrpcStatus.OK, message: str = "") -> None:
        """End."""
        assert message or status is GrpcStatus.OK
        self.status = status

    def take(self) -> list[Any]:
        """Give what was sent since last asked."""
        found, self.sent = self.sent, []
        return found


class Zones:
    """Distributions, and sessions that ask for clusters and listeners."""

    def __init__(self, zoning: Zoning | None = None, canary_seconds: float = 0) -> None:
        self.zones = Distributions(zoning or Zoning(), ["Empty"], canary_seconds=canary_seconds)
        self.fleet = Fleet()
        self.hearers = Hearers(self.zones, self.fleet, News(), Metrics(CollectorRegistry()))
        self._numbers = 0

    def publish(self, **snapshots: Snapshot) -> None:
        """Publish by zone."""
        self.zones.publish(snapshots, BARE)

    def connect(self, proxy: str, zone: str) -> tuple[Session, Wire]:
        """Connect a proxy of a zone."""
        self._numbers += 1
        wire = Wire()
        session = Session(self._numbers, "delta", wire, self.hearers, 0.0)
        node = NodeMessage(id=proxy, locality=Locality(zone=zone))
        for request in self.asking(node):
            session.receive(request.SerializeToString())
        return session, wire

    @staticmethod
    def asking(node: NodeMessage) -> list[Any]:
        """Give the first requests of a proxy."""
        return [delta(CLUSTER, node=node), delta(LISTENER)]


def accept(session: Session, wire: Wire) -> list[tuple[str, list[str], list[str]]]:
    """Accept all until nothing comes, and give what came."""
    found: list[Any] = []
    while responses := wire.take():
        found += sent(responses)
        for response in responses:
            session.receive(ack(response).SerializeToString())
    return found


async def test_an_unknown_zone_gets_an_empty_configuration_and_a_reason() -> None:
    """Its Envoys become ready, serve nothing, and status says why; another zone's gateways are not theirs."""
    it = Zones()
    it.publish(here=HERE)
    session, wire = it.connect("envoy-1", "nowhere")
    assert accept(session, wire) == [("clusters", [], []), ("listeners", [], [])]
    [proxy] = it.fleet
    assert (proxy.synced, proxy.reason) == (True, "zone nowhere is not one of ours")
    session.ended()
    assert [zone.zone for zone in it.zones] == ["here"]


async def test_a_zone_of_ours_without_gateways_gets_what_all_zones_have() -> None:
    """Its Envoys listen, and answer that there is no such gateway."""
    it = Zones()
    it.publish(here=HERE)
    session, wire = it.connect("envoy-1", "EMPTY")
    assert accept(session, wire) == [("clusters", [], []), ("listeners", ["l:1"], [])]
    assert [proxy.reason for proxy in it.fleet] == [""]


async def test_a_zone_that_becomes_known_later_is_served() -> None:
    """With its first gateway, on the stream that is open."""
    it = Zones()
    it.publish()
    session, wire = it.connect("envoy-1", "Here")
    accept(session, wire)
    it.publish(here=HERE)
    assert accept(session, wire) == [("clusters", ["deployment/a:1"], []), ("listeners", ["l:1"], [])]
    assert [(proxy.reason, proxy.synced) for proxy in it.fleet] == [("", True)]


async def test_each_zone_is_served_its_own() -> None:
    """Zones are compared without regard to case; a change of one does not touch the other."""
    it = Zones()
    it.publish(here=HERE, there=BARE)
    sessions = [it.connect("envoy-1", "HERE"), it.connect("envoy-2", "There")]
    assert [accept(*pair)[0] for pair in sessions] == [
        ("clusters", ["deployment/a:1"], []),
        ("clusters", [], []),
    ]
    it.publish(here=AGAIN, there=BARE)
    assert [accept(*pair) for pair in sessions] == [[("clusters", ["deployment/a:2"], [])], []]


async def test_who_does_not_read_is_given_only_the_newest_once_it_does() -> None:
    """No backlog is kept for it."""
    it = Zones(Zoning(together=True))
    it.zones.publish({"": HERE}, BARE)
    session, wire = it.connect("envoy-1", "any")
    accept(session, wire)
    wire.blocked = True
    for number in range(2, 9):
        it.zones.publish({"": world(clusters={"deployment/a": number}, listeners=["l"])}, BARE)
    assert wire.take() == []
    wire.blocked = False
    session.writable()
    assert accept(session, wire) == [("clusters", ["deployment/a:8"], [])]


async def test_who_asks_on_and_on_without_reading_is_hung_up_on() -> None:
    """What is kept for it has a bound."""
    it = Zones(Zoning(together=True))
    it.zones.publish({"": HERE}, BARE)
    session, wire = it.connect("envoy-1", "any")
    wire.blocked = True
    for _ in range(MAX_UNSENT + 1):
        session.receive(delta(CLUSTER, subscribe=["deployment/a"]).SerializeToString())
    assert wire.status is GrpcStatus.RESOURCE_EXHAUSTED
    assert (len(it.fleet), list(it.zones.clients(""))) == (0, [])


async def test_what_is_no_request_ends_the_stream() -> None:
    """With a word to whoever wrote the client."""
    it = Zones()
    session, wire = it.connect("envoy-1", "here")
    session.receive(b"\xff\xff\xff")
    assert (wire.status, len(it.fleet)) == (GrpcStatus.INVALID_ARGUMENT, 0)


async def test_those_in_step_are_one_client_and_are_counted() -> None:
    """They have the same; who lags or refuses is asked by itself; of two streams of one proxy the newer counts."""
    it = Zones()
    it.publish(here=HERE)
    sessions = [it.connect(f"envoy-{number}", "here") for number in (1, 2, 3, 3)]
    for pair in sessions:
        accept(*pair)
    [all_of_them] = it.zones.clients("here")
    assert (all_of_them.count, all_of_them.standing(CLUSTER, "deployment/a")) == (
        3,
        Holds(content("deployment/a")),
    )
    it.publish(here=AGAIN)
    for pair in sessions[:2]:
        accept(*pair)
    lagging, in_step = it.zones.clients("here")
    assert (lagging.id, lagging.count, in_step.count) == ("envoy-3", 1, 2)
    assert lagging.standing(CLUSTER, "deployment/a") == Holds(content("deployment/a"))
    assert in_step.standing(CLUSTER, "deployment/a") == Holds(content("deployment/a", 2))
    assert list(it.zones.clients("there")) == []


def refused() -> Zones:
    """Give a zone whose canary refused a cluster's change; another proxy has all."""
    it = Zones(canary_seconds=5)
    it.publish(here=HERE)
    canary, other = it.connect("canary", "here"), it.connect("other", "here")
    accept(*canary)
    accept(*other)
    it.publish(here=AGAIN)
    assert other[1].take() == []
    [bad] = canary[1].take()
    canary[0].receive(nack(bad, error="no such thing").SerializeToString())
    accept(*canary)
    accept(*other)
    return it


async def test_what_is_contained_stands_refused_by_all() -> None:
    """For nobody is given it: an object's status counts it so, with the words of the proxy that did."""
    it = refused()
    new, old = content("deployment/a", 2), content("deployment/a")
    for client in it.zones.clients("here"):
        assert client.standing(CLUSTER, "deployment/a") == Refuses(new, "no such thing", old, "canary")
    assert [(zone.zone, list(zone.rollout.refused)) for zone in it.zones] == [
        ("here", [(CLUSTER, "deployment/a")])
    ]
    it.zones.close()


async def test_status_tells_what_is_contained() -> None:
    """By zone: the resource, who refused it, and its words."""
    it = refused()
    [zone] = map(described_zone, it.zones)
    assert (zone["proxies"], zone["staged"]) == (2, None)
    assert zone["refused"] == [
        {"type": "cds", "name": "deployment/a", "proxy": "canary", "text": "no such thing"}
    ]
    assert zone["served"] != AGAIN.version
    it.zones.close()


async def test_the_clock_lets_a_change_go_on_without_its_canary() -> None:
    """The others have it soon after its time."""
    it = Zones(canary_seconds=0.02)
    it.publish(here=HERE)
    canary, other = it.connect("canary", "here"), it.connect("other", "here")
    accept(*canary)
    accept(*other)
    it.publish(here=AGAIN)
    assert other[1].take() == []
    await asyncio.sleep(0.1)
    assert accept(*other) == [("clusters", ["deployment/a:2"], [])]
    it.zones.close()


async def test_who_asks_for_little_has_it_soon_where_there_is_no_canary() -> None:
    """The clock is wound as soon as somebody waits, also when nothing else of the zone changes."""
    it = Zones(canary_seconds=0.02)
    it.publish(here=HERE)
    it.asking = lambda node: [delta(LISTENER, node=node)]  # type: ignore[method-assign]
    session, wire = it.connect("tool", "here")
    await asyncio.sleep(0.1)
    assert accept(session, wire) == [("listeners", ["l:1"], [])]
    it.zones.close()


async def test_what_lingers_alone_goes_when_its_time_is_over() -> None:
    """A cluster that no routes lead to vanishes without anything else of the zone changing."""
    it = Zones()
    it.zones = Distributions(Zoning(), grace_seconds=0.02, canary_seconds=0)
    it.hearers = Hearers(it.zones, it.fleet, News(), Metrics(CollectorRegistry()))
    it.publish(here=HERE)
    session, wire = it.connect("envoy-1", "here")
    accept(session, wire)
    it.publish(here=BARE)
    assert accept(session, wire) == []
    await asyncio.sleep(0.1)
    assert accept(session, wire) == [("clusters", [], ["deployment/a"])]
    it.zones.close()


async def test_a_fault_with_one_proxy_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stream ends, the others have the change, and whoever published it hears nothing of that."""
    it = Zones()
    it.publish(here=HERE)
    sessions = [it.connect(f"envoy-{number}", "here") for number in (1, 2)]
    for pair in sessions:
        accept(*pair)
    (bad, wire), good = sessions

    def fault(_: Snapshot) -> list[Any]:
        raise KeyError("a fault")

    monkeypatch.setattr(bad.stream, "publish", fault)
    it.publish(here=AGAIN)
    assert accept(*good) == [("clusters", ["deployment/a:2"], [])]
    assert (wire.status, [proxy.id for proxy in it.fleet]) == (GrpcStatus.INTERNAL, ["envoy-2"])


async def test_what_a_proxy_says_of_itself_is_kept_cut() -> None:
    """Its id, and why it refuses something: they are in logs, status and the memory of the zone."""
    it = Zones()
    it.publish(here=HERE)
    session, wire = it.connect("x" * 10**6, "here")
    [clusters, _] = wire.take()
    session.receive(nack(clusters, error="y" * 10**6).SerializeToString())
    [proxy] = it.fleet
    assert proxy.last_nack is not None
    assert (proxy.id, proxy.last_nack.text) == ("x" * MAX_NAME, "y" * MAX_ERROR)
    [refused] = [found for zone in it.zones for found in zone.rollout.refused.values()]
    assert (len(refused.text), len(refused.proxy)) == (MAX_ERROR, MAX_NAME)


async def test_who_refuses_without_a_reason_refuses_all_the_same() -> None:
    """Status shows it as refusing."""
    it = Zones()
    it.publish(here=world(clusters=["igw-x"], listeners=["l"]))
    session, wire = it.connect("envoy-1", "here")
    session.receive(nack(wire.take()[0], error="").SerializeToString())
    assert [proxy.rejections for proxy in it.fleet] == [{CLUSTER: "it gave no reason"}]


async def test_who_asks_for_more_and_more_names_is_hung_up_on() -> None:
    """Names that do not exist are kept, for they may come to exist: up to a number."""
    it = Zones()
    it.publish(here=HERE)
    session, wire = it.connect("envoy-1", "here")
    for part in range(2):
        names = [f"{part}-{number}" for number in range(MAX_ASKED // 2 + 10)]
        accept(session, wire)
        assert wire.status is None
        session.receive(delta(CLUSTER, subscribe=names).SerializeToString())
    assert (wire.status, len(it.fleet)) == (GrpcStatus.RESOURCE_EXHAUSTED, 0)


async def test_who_asks_on_and_on_without_answering_is_hung_up_on() -> None:
    """It reads what it is sent, but each response is remembered until it is answered."""
    it = Zones()
    it.publish(here=HERE)
    session, wire = it.connect("envoy-1", "here")
    for _ in range(MAX_OPEN + 10):
        session.receive(delta(CLUSTER, subscribe=["nothing"]).SerializeToString())
        if wire.status is not None:
            break
    assert (wire.status, len(it.fleet)) == (GrpcStatus.RESOURCE_EXHAUSTED, 0)


async def test_a_zone_is_shown_as_definitions_spell_it() -> None:
    """Not as it is compared, nor as the first proxy happened to write it."""
    it = Zones()
    it.publish(here=HERE)
    it.zones.spell(["Here", "Elsewhere"])
    it.connect("envoy-1", "HERE")
    assert [described_zone(zone)["zone"] for zone in it.zones] == ["Here"]


@dataclass
class Receiver:
    """A proxy that only counts what it is given, and the first time does something else meanwhile."""

    number: int
    node: Node = field(default_factory=Node)
    proxyless: bool = True
    stream: Any = None
    first: Any = lambda: None
    given: int = 0

    def give(self) -> None:
        """Take note."""
        self.given += 1
        if self.given == 1:
            self.first()

    def fail(self) -> None:
        """Nobody fails."""
        raise AssertionError


async def test_what_one_is_given_may_make_all_be_given_more() -> None:
    """As when the canary is hung up on meanwhile, and the next has all already: nobody is left out."""
    zone = Distribution("here", Rollout())
    receivers = [Receiver(1, first=zone.give_all), Receiver(2), Receiver(3)]
    for receiver in receivers:
        zone.join(receiver)
    zone.give_all()
    assert [receiver.given for receiver in receivers] == [2, 1, 1]
