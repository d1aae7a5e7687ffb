"""Sentences of Envoy's xDS protocol page on subscriptions and on what a stream carries, for both transports.

Each docstring gives the rule, the page's own words where they are short, and in brackets the section. With
`test_xds_delta`, `test_xds_sotw` and `test_xds_order` that is all of the page but for what does not apply to us:

- Protoc-Gen-Validate Annotations, Client Behavior, and all that a client does: those are Envoy's own tests.
- Filesystem subscriptions, REST-JSON polling: we serve gRPC alone. Four Variants: the two aggregated ones alone, so
  there is no service for each type, and no second management server with versions of its own.
- VirtualHost, Secret and Runtime: we have no such resources; requests for them are ignored, see below.
- Transport API version: v3 is in the method's name; another method is refused by `igw_ops.grpc`.
- TTL, SotW TTL: what an Envoy has stays while we are away, so no resource has one.
- Resource names: aliases are of VHDS; ours have none. On-demand requests are what a subscription by name is.
"""

from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Node
from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Snapshot
from igw_xds.stream import Rejected

from tests.unit.xds_stream.builders import (
    NODE,
    DeltaStream,
    SotwStream,
    ack,
    content,
    delta,
    nack,
    sent,
    sotw,
    world,
)

WORLD = world(clusters=["a", "b"], endpoints=["a", "b"], listeners=["l"], scopes=["s"], routes=["r"])
OTHER = "type.googleapis.com/envoy.service.runtime.v3.Runtime"


class Client:
    """A client of either transport; `ask` states what it wants in full."""

    def __init__(self, transport: str, snapshot: Snapshot | None = WORLD) -> None:
        self.delta = transport == "delta"
        self.stream: Any = DeltaStream() if self.delta else SotwStream()
        self.names: dict[str, tuple[str, ...]] = {}
        self.nonces: dict[str, str] = {}
        if snapshot is not None:
            self.stream.publish(snapshot)

    def ask(self, type_url: str, *names: str, node: Node | None = None) -> list[Any]:
        """Subscribe to just these names, without an answer to anything."""
        before = self.names.get(type_url, ())
        self.names[type_url] = names
        if self.delta:
            new, old = sorted(set(names) - set(before)), sorted(set(before) - set(names))
            return self._heard(delta(type_url, subscribe=new, unsubscribe=old, node=node))
        return self._heard(sotw(type_url, *names, nonce=self.nonces.get(type_url, ""), node=node))

    def ack(self, response: Any) -> list[Any]:
        """Accept a response."""
        return self._heard(ack(response, *self.names.get(response.type_url, ())))

    def publish(self, snapshot: Snapshot) -> list[Any]:
        """Let the server have something else."""
        return self._keep(self.stream.publish(snapshot))

    def _heard(self, request: Any) -> list[Any]:
        return self._keep(self.stream.receive(request))

    def _keep(self, responses: list[Any]) -> list[Any]:
        self.nonces.update({r.type_url: r.nonce for r in responses})
        return responses


@pytest.fixture(params=["delta", "sotw"])
def transport(request: pytest.FixtureRequest) -> str:
    """Give each transport."""
    return str(request.param)


def test_a_later_node_is_not_read(transport: str) -> None:
    """It is "sufficient to only check the first message for the node identifier" [Basic Protocol Overview]."""
    client = Client(transport)
    client.ask(CLUSTER, node=NODE)
    client.ask(LISTENER, node=Node(id="another"))
    assert client.stream.node.id == "envoy-1"


def test_a_request_is_answered_when_there_is_something(transport: str) -> None:
    """The server replies "either immediately or when the requested resources are available" [ACK/NACK]."""
    client = Client(transport, None)
    assert client.ask(ENDPOINTS, "a") == []
    assert sent(client.publish(WORLD)) == [("endpoints", ["a:1"], [])]


def test_more_responses_may_follow(transport: str) -> None:
    """They come "at any time when the subscribed resources change" [Basic Protocol Overview]."""
    client = Client(transport)
    [response] = client.ask(ENDPOINTS, "a")
    client.ack(response)
    for number in (2, 3):
        [response] = client.publish(world(endpoints={"a": number}))
        assert sent([response]) == [("endpoints", [f"a:{number}"], [])]
        client.ack(response)


def test_versions_of_types_are_apart() -> None:
    """Each type "has its own version even though all are being sent on the same stream" [ACK/NACK]."""
    client = Client("sotw")
    before = {r.type_url: r.version_info for t in (CLUSTER, LISTENER) for r in client.ask(t)}
    again = Client("sotw", world(clusters={"a": 2, "b": 1}, listeners=["l"]))
    after = {r.type_url: r.version_info for t in (CLUSTER, LISTENER) for r in again.ask(t)}
    assert (before[CLUSTER] == after[CLUSTER], before[LISTENER] == after[LISTENER]) == (False, True)


def test_the_systems_version_is_for_people() -> None:
    """`system_version_info` is there "for debugging purposes only": that of the whole snapshot [Incremental xDS]."""
    client = Client("delta")
    responses = [r for t in (CLUSTER, LISTENER) for r in client.ask(t)]
    assert {r.system_version_info for r in responses} == {WORLD.version}
    client.stream.receive(nack(responses[0]))
    assert client.stream.answer == Rejected(CLUSTER, frozenset({"a", "b"}), "bad", final=False)


def test_the_latest_request_counts() -> None:
    """Requests "supersede any prior" of the same type: only the latest is answered [When to send an update]."""
    client = Client("sotw", None)
    for names in (("a",), ("a", "b"), ("b",)):
        client.ask(ENDPOINTS, *names)
    assert sent(client.publish(WORLD)) == [("endpoints", ["b:1"], [])]


def test_all_of_the_example_of_a_wildcard_in_incremental() -> None:
    """Nothing: "*"; +a: more; -"*": a alone; -a: none, and no wildcard [How the client specifies..., incremental]."""
    client = Client("delta")
    for request, expected in (
        (delta(CLUSTER), ["a:1", "b:1"]),
        (delta(CLUSTER, subscribe=["a"]), ["a:1"]),
    ):
        [response] = client._heard(request)
        assert sent([response]) == [("clusters", expected, [])]
        client._heard(ack(response))
    assert client._heard(delta(CLUSTER, unsubscribe=["*"])) == []
    [response] = client.publish(world(clusters={"a": 2, "b": 2}))
    assert sent([response]) == [("clusters", ["a:2"], [])]
    client._heard(ack(response))
    assert client._heard(delta(CLUSTER, unsubscribe=["a"])) == []
    assert client.publish(world(clusters={"a": 3, "b": 3})) == []


def test_what_was_sent_unasked_is_sent_again_when_asked_for(transport: str) -> None:
    """They are resent though the server sent them "without having been asked" [How the client specifies...]."""
    client = Client(transport)
    [wild] = client.ask(CLUSTER, "*")
    client.ack(wild)
    [again] = client.ask(CLUSTER, "*", "a")
    assert "a:1" in sent([again])[0][1]


def test_a_first_request_that_only_unsubscribes_is_no_wildcard() -> None:
    """The legacy wildcard has "no resources in both" lists [Incremental xDS]."""
    client = Client("delta")
    assert client._heard(delta(CLUSTER, unsubscribe=["a"])) == []


def test_a_wildcard_is_of_types_that_have_one(transport: str) -> None:
    """It is there "for Listener and Cluster"; no names of another ask for nothing [How the client specifies...]."""
    client = Client(transport)
    assert client.ask(ENDPOINTS) == client.ask(ROUTES) == []
    assert client.publish(world(endpoints={"a": 2}, routes={"r": 2})) == []


def test_a_name_occurs_once_in_a_response(transport: str) -> None:
    """It is an error to send "the same resource name twice", asked for twice or not [Duplicate Resource Names]."""
    client = Client(transport)
    request = delta(ENDPOINTS, subscribe=["a", "a"]) if client.delta else sotw(ENDPOINTS, "a", "a")
    assert sent(client.stream.receive(request)) == [("endpoints", ["a:1"], [])]


def test_one_of_a_wildcard_cannot_be_left() -> None:
    """A client "can only unsubscribe from the wildcard as a whole" [Unsubscribing From Resources]."""
    client = Client("delta")
    [response] = client._heard(delta(CLUSTER))
    client._heard(ack(response))
    assert client._heard(delta(CLUSTER, unsubscribe=["a"])) == []
    assert sent(client.publish(world(clusters={"a": 2, "b": 1}))) == [("clusters", ["a:2"], [])]


def test_who_left_the_wildcard_gets_nothing_unasked(transport: str) -> None:
    """Without "*" and without names a client is "no longer interested" [How the client specifies...]."""
    client = Client(transport)
    [response] = client.ask(CLUSTER, "*")
    client.ack(response)
    assert [r for r in client.ask(CLUSTER) if r.resources] == []
    assert [r for r in client.publish(world(clusters={"a": 2, "c": 1})) if r.resources] == []


def test_names_may_come_one_by_one(transport: str) -> None:
    """Both ways are "valid for fetching two EDS resources" [Requesting Multiple Resources on a Single Stream]."""
    client = Client(transport)
    [first] = client.ask(ENDPOINTS, "a")
    client.ack(first)
    [second] = client.ask(ENDPOINTS, "a", "b")
    assert sent([first, second]) == [("endpoints", ["a:1"], []), ("endpoints", ["b:1"], [])]


def test_an_answer_may_change_the_subscription(transport: str) -> None:
    """A client "may update the list" in each request that ACKs or NACKs [Resource updates]."""
    client = Client(transport)
    [first] = client.ask(ENDPOINTS, "a")
    request: Any = sotw(ENDPOINTS, "a", "b", nonce=first.nonce, error="no")
    if client.delta:
        request = delta(ENDPOINTS, subscribe=["b"], nonce=first.nonce, error="no")
    assert sent(client.stream.receive(request)) == [("endpoints", ["b:1"], [])]
    assert client.stream.answer == Rejected(ENDPOINTS, frozenset({"a"}), "no")


def test_what_a_client_has_is_read_from_its_first_request_alone() -> None:
    """`initial_resource_versions` is what "on reconnect" it "may tell" [Incremental xDS]."""
    client = Client("delta")
    [first] = client._heard(delta(ENDPOINTS, subscribe=["a"]))
    client._heard(ack(first))
    later = delta(ENDPOINTS, subscribe=["b"], known={"b": content("b").version})
    assert sent(client._heard(later)) == [("endpoints", ["b:1"], [])]


@pytest.mark.parametrize("type_url", ["", OTHER, "nonsense"])
def test_types_that_we_do_not_have_are_ignored(transport: str, type_url: str) -> None:
    """Types are "multiplexed via the type URL"; without one of ours nothing is meant [Aggregated Discovery Service]."""
    client = Client(transport)
    assert client.ask(type_url, "a") == []
    assert client.stream.answer is None
    assert sent(client.ask(LISTENER)) == [("listeners", ["l:1"], [])]


def test_routes_asked_for_are_sent_while_their_listener_warms(transport: str) -> None:
    """The server "is expected to provide the EDS/RDS updates during warming" [Resource warming]."""
    client = Client(transport)
    [_] = client.ask(LISTENER)
    assert sent(client.ask(ROUTES, "r")) == [("routes", ["r:1"], [])]


def test_endpoints_go_with_their_stale_clusters() -> None:
    """Stale clusters "and related EDS endpoints" go last, in this order [Eventual consistency considerations]."""
    client = Client("delta", world(clusters=["a", "b"], endpoints=["a", "b"], routes=["r"]))
    for type_url, names in ((CLUSTER, ()), (ENDPOINTS, ("a", "b")), (ROUTES, ("r",))):
        [response] = client.ask(type_url, *names)
        client.ack(response)
    [routes] = client.publish(world(clusters=["b"], endpoints=["b"], routes={"r": 2}))
    [clusters] = client.ack(routes)
    [endpoints] = client.ack(clusters)
    assert sent([routes, clusters, endpoints]) == [
        ("routes", ["r:2"], []),
        ("clusters", [], ["a"]),
        ("endpoints", [], ["a"]),
    ]
