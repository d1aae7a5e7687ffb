"""Sentences of "Eventual consistency considerations" and "Resource warming", for both transports."""

from typing import Any

import pytest
from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SCOPE, Snapshot
from igw_xds.stream import DeltaStream, SotwStream

from tests.unit.xds_stream.builders import ack, delta, nack, sent, sotw, world

OLD = world(clusters=["a"], endpoints=["a"], listeners=["l"], scopes=["s"], routes=["r"])


class Client:
    """An Envoy that answers when it is told to; `say` sends a request in its transport."""

    def __init__(self, transport: str) -> None:
        self.delta = transport == "delta"
        self.stream: Any = DeltaStream() if self.delta else SotwStream()
        self.names: dict[str, tuple[str, ...]] = {}
        self.nonces: dict[str, str] = {}

    def publish(self, snapshot: Snapshot) -> list[Any]:
        return self._keep(self.stream.publish(snapshot))

    def want(self, type_url: str, *names: str) -> list[Any]:
        """Subscribe to all names given; in both transports these become the subscription."""
        new = set(names) - set(self.names.get(type_url, ()))
        self.names[type_url] = names
        if self.delta:
            return self._keep(self.stream.receive(delta(type_url, subscribe=sorted(new))))
        return self._keep(self.stream.receive(sotw(type_url, *names, nonce=self.nonces.get(type_url, ""))))

    def ack(self, response: Any) -> list[Any]:
        return self._keep(self.stream.receive(ack(response, *self.names.get(response.type_url, ()))))

    def nack(self, response: Any) -> list[Any]:
        return self._keep(self.stream.receive(nack(response, *self.names.get(response.type_url, ()))))

    def _keep(self, responses: list[Any]) -> list[Any]:
        self.nonces.update({r.type_url: r.nonce for r in responses})
        return responses


@pytest.fixture(params=["delta", "sotw"])
def client(request: pytest.FixtureRequest) -> Client:
    """Give a client of either transport that has accepted `OLD`."""
    client = Client(request.param)
    client.publish(OLD)
    wanted = {CLUSTER: (), ENDPOINTS: ("a",), LISTENER: (), SCOPE: (), ROUTES: ("r",)}
    for type_url, names in wanted.items():
        [response] = client.want(type_url, *names)
        client.ack(response)
    assert client.stream.synced
    return client


def kinds(responses: list[Any]) -> list[str]:
    """Give the types of responses in order."""
    return [kind for kind, _, _ in sent(responses)]


def test_changes_go_in_order_each_after_the_answer_before(client: Client) -> None:
    """Clusters first, then endpoints, listeners, and routes [Eventual consistency considerations]."""
    everything = world(
        clusters={"a": 1, "b": 1}, endpoints={"a": 2}, listeners={"l": 2}, scopes={"s": 2}, routes={"r": 2}
    )
    order, pending = [], client.publish(everything)
    while pending:
        order += kinds(pending)
        pending = [next_one for response in pending for next_one in client.ack(response)]
    assert order == ["clusters", "endpoints", "listeners", "scopes", "routes"]


def test_routes_wait_for_warm_clusters(client: Client) -> None:
    """Routes are not warmed: the server makes sure that their clusters are [Eventual consistency...]."""
    newest = world(clusters=["a", "b"], endpoints=["a", "b"], listeners=["l"], scopes=["s"], routes={"r": 2})
    [clusters] = client.publish(newest)
    [endpoints] = client.want(ENDPOINTS, "a", "b")
    assert client.ack(endpoints) == []
    assert sent(client.ack(clusters)) == [("routes", ["r:2"], [])]


def test_endpoints_asked_for_are_sent_while_clusters_wait(client: Client) -> None:
    """Endpoints must come during warming, or it never ends [Resource warming]."""
    client.publish(
        world(clusters=["a", "b"], endpoints=["a", "b"], listeners=["l"], scopes=["s"], routes=["r"])
    )
    assert sent(client.want(ENDPOINTS, "a", "b")) == [("endpoints", ["b:1"], [])]


def test_endpoints_published_late_are_sent_while_clusters_wait(client: Client) -> None:
    """... also those that did not exist when they were asked for [Resource warming]."""
    client.publish(world(clusters=["a", "b"], endpoints=["a"], listeners=["l"], scopes=["s"], routes=["r"]))
    missing = client.want(ENDPOINTS, "a", "b")
    for response in missing:
        client.ack(response)
    newest = world(clusters=["a", "b"], endpoints=["a", "b"], listeners=["l"], scopes=["s"], routes=["r"])
    assert sent(client.publish(newest)) == [("endpoints", ["b:1"], [])]


def test_changed_cluster_gets_unchanged_endpoints_again(client: Client) -> None:
    """A cluster warms again only with a new endpoint response, changed or not [Resource warming, note]."""
    changed = world(clusters={"a": 2}, endpoints=["a"], listeners=["l"], scopes=["s"], routes=["r"])
    assert sent(client.publish(changed)) == [("clusters", ["a:2"], []), ("endpoints", ["a:1"], [])]


def test_unchanged_cluster_does_not_get_its_endpoints_again(client: Client) -> None:
    """A cluster that is resent only because the set is whole is not warmed [Resource warming]."""
    added = world(clusters=["a", "b"], endpoints=["a", "b"], listeners=["l"], scopes=["s"], routes=["r"])
    assert kinds(client.publish(added)) == ["clusters"]


def test_stale_clusters_go_last(client: Client) -> None:
    """X and Y, then the route from X to Y, then Y alone [Eventual consistency considerations]."""
    moved = world(clusters=["b"], endpoints=["b"], listeners=["l"], scopes=["s"], routes={"r": 2})
    [added] = client.publish(moved)
    assert all(not removed for _, _, removed in sent([added]))
    [endpoints] = client.want(ENDPOINTS, "a", "b")
    client.ack(endpoints)
    [routes] = client.ack(added)
    assert kinds([routes]) == ["routes"]
    [last] = client.ack(routes)
    assert sent([last]) == [("clusters", [] if client.delta else ["b:1"], ["a"] if client.delta else [])]


def test_a_refused_earlier_type_does_not_stop_the_rest(client: Client) -> None:
    """A NACK is an answer: later types go on without it [ACK and NACK semantics; our choice]."""
    changed = world(clusters=["a", "b"], endpoints=["a"], listeners=["l"], scopes=["s"], routes={"r": 2})
    [clusters] = client.publish(changed)
    assert kinds(client.nack(clusters)) == ["routes"]


def test_types_not_subscribed_to_hold_up_nobody() -> None:
    """A client without clusters gets its listeners [Basic Protocol Overview; our choice]."""
    stream = DeltaStream()
    stream.publish(OLD)
    assert kinds(stream.receive(delta(LISTENER))) == ["listeners"]


def test_what_was_refused_together_is_sent_together_again(client: Client) -> None:
    """After a NACK of several nobody knows which were applied: all come again once one changed [our choice]."""
    both = world(clusters=["a"], endpoints=["a", "b"], listeners=["l"], scopes=["s"], routes={"r": 2, "q": 1})
    client.publish(OLD)
    for response in client.want(ROUTES, "r", "q"):
        client.ack(response)
    pending = client.publish(both)
    [routes] = [response for response in pending if response.type_url == ROUTES]
    assert sent([routes]) == [("routes", ["q:1", "r:2"], [])]
    assert client.nack(routes) == []
    fixed = world(
        clusters=["a"], endpoints=["a", "b"], listeners=["l"], scopes=["s"], routes={"r": 3, "q": 1}
    )
    assert sent(client.publish(fixed)) == [("routes", ["q:1", "r:3"], [])]
