"""Sentences of "Eventual consistency considerations" and "Resource warming", for both transports."""

from typing import Any

import pytest
from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SCOPE, Snapshot, assembled
from igw_xds.stream import Holds, Refuses

from tests.unit.xds_stream.builders import (
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


def wanting(transport: str, *names: str) -> Client:
    """Give a client that has accepted `OLD` and subscribed to routes that are not there yet."""
    client = Client(transport)
    client.publish(OLD)
    for type_url, found in {CLUSTER: (), ENDPOINTS: ("a",), LISTENER: (), SCOPE: (), ROUTES: names}.items():
        for response in client.want(type_url, *found):
            client.ack(response)
    return client


def routes_of(**numbers: int) -> Snapshot:
    """Give `OLD` with these routes, each needing cluster a."""
    needs = dict.fromkeys(numbers, "a")
    return world(clusters=["a"], endpoints=["a"], listeners=["l"], scopes=["s"], routes=numbers, needs=needs)


@pytest.mark.parametrize("transport", ["delta", "sotw"])
def test_what_was_refused_together_is_tried_apart(transport: str) -> None:
    """A NACK does not name the bad resource: each is sent alone, and the bad one is known [our choice].

    Only it is not sent again, and the others' updates go on.
    """
    client = wanting(transport, "q", "r", "z")
    [together] = client.publish(routes_of(q=2, r=2, z=2))
    pending, tried = client.nack(together), []
    while pending:
        [name] = [name for response in pending[:1] for name in sent([response])[0][1]]
        tried.append(name)
        bad = name == "r:2"
        pending = [*pending[1:], *(client.nack(pending[0]) if bad else client.ack(pending[0]))]
    assert tried == ["q:2", "r:2", "z:2"]
    assert client.stream.standing(ROUTES, "r") == Refuses(content("r", 2), "bad", content("r", 1))
    assert client.stream.standing(ROUTES, "q") == Holds(content("q", 2))
    assert sent(client.publish(routes_of(q=3, r=2, z=2))) == [("routes", ["q:3"], [])]


def test_what_was_refused_with_what_is_gone_is_tried_apart() -> None:
    """Of two that were refused together one was replaced since: the other is not to blame for that [our choice]."""
    client = wanting("delta", "q", "r")
    [together] = client.publish(routes_of(q=2, r=2))
    assert client.publish(routes_of(q=2, r=3)) == []
    [alone, replaced_since] = client.nack(together)
    assert sent([alone, replaced_since]) == [("routes", ["q:2"], []), ("routes", ["r:3"], [])]
    for response in (alone, replaced_since):
        client.ack(response)
    assert (client.stream.rejections, client.stream.synced) == ({}, True)


def test_the_good_one_of_two_is_not_blamed_when_the_other_was_sent_anew() -> None:
    """Endpoints of a cluster that warms again are sent while the refused ones are open [our choice]."""
    client = wanting("delta", "r")
    [missing] = client.want(ENDPOINTS, "a", "b")
    client.ack(missing)
    changed = {"clusters": {"a": 1}, "listeners": ["l"], "scopes": ["s"], "routes": ["r"]}
    [together] = client.publish(world(**changed, endpoints={"a": 2, "b": 2}))
    clusters, anew = client.publish(world(**{**changed, "clusters": {"a": 2}}, endpoints={"a": 3, "b": 2}))
    assert sent([together, clusters, anew]) == [
        ("endpoints", ["b:2", "a:2"], []),
        ("clusters", ["a:2"], []),
        ("endpoints", ["a:3"], []),
    ]
    [tried] = client.nack(together)
    assert sent([tried]) == [("endpoints", ["b:2"], [])]
    client.ack(tried)
    assert client.stream.standing(ENDPOINTS, "b") == Holds(content("b", 2))


def test_many_are_tried_in_parts() -> None:
    """Of a thousand, one bad one is found in three rounds of at most sixteen responses [our choice]."""
    names = [f"r{number:03}" for number in range(1000)]
    client = wanting("delta", *names)
    [together] = client.publish(routes_of(**dict.fromkeys(names, 2)))
    pending, responses = client.nack(together), 0
    while pending:
        response, *pending = pending
        responses += 1
        bad = "r500:2" in sent([response])[0][1]
        pending += client.nack(response) if bad else client.ack(response)
    assert responses == 16 + 16 + 4
    assert client.stream.rejections == {ROUTES: "bad"}
    assert len(client.stream.acked[ROUTES]) == 999


def test_a_refusal_holds_no_other_removal_back(client: Client) -> None:
    """What a refused route still uses stays; a cluster that it does not use goes [our choice]."""
    two = world(clusters=["a", "b"], endpoints=["a", "b"], listeners=["l"], scopes=["s"], routes=["r"])
    [clusters] = client.publish(two)
    [endpoints] = client.want(ENDPOINTS, "a", "b")
    client.ack(endpoints)
    client.ack(clusters)
    uses_a = world(
        clusters=["a", "b"],
        endpoints=["a", "b"],
        listeners=["l"],
        scopes=["s"],
        routes={"r": 2},
        needs={"r": "a"},
    )
    [routes] = client.publish(uses_a)
    client.ack(routes)
    moved = world(
        clusters=["c"],
        endpoints=["c"],
        listeners=["l"],
        scopes=["s"],
        routes={"r": 3},
        needs={"r": "c"},
    )
    [clusters] = client.publish(moved)
    [endpoints] = client.want(ENDPOINTS, "a", "b", "c")
    client.ack(endpoints)
    [routes] = client.ack(clusters)
    [last] = client.nack(routes)
    assert sent([last]) == [
        ("clusters", [] if client.delta else ["a:1", "c:1"], ["b"] if client.delta else [])
    ]


def test_routes_that_work_do_not_follow_to_a_refused_cluster(client: Client) -> None:
    """A change of which the cluster is refused leaves the routes as they were, until it is mended [our choice].

    They stand refused with the cluster, for its reason.
    """

    def split(number: int) -> Snapshot:
        return world(
            clusters={"a": 1, "b": number},
            endpoints=["a"],
            listeners=["l"],
            scopes=["s"],
            routes={"r": 2},
            needs={"r": "a b"},
        )

    [clusters] = client.publish(split(1))
    assert client.nack(clusters) == [] or client.delta is False
    assert client.stream.standing(ROUTES, "r") == Refuses(content("r", 2), "bad", content("r", 1))
    [clusters] = client.publish(split(2))
    [routes] = client.ack(clusters)
    assert sent([routes]) == [("routes", ["r:2"], [])]
    client.ack(routes)
    assert client.stream.standing(ROUTES, "r") == Holds(content("r", 2))


def replaced(snapshot: Snapshot, newer: Snapshot, type_url: str) -> Snapshot:
    """Give a snapshot with one group of a newer one; the others are the same objects, as a publisher serves them."""
    return assembled({**snapshot.groups, type_url: newer.groups[type_url]})


def test_routes_follow_once_the_cluster_is_mended_though_they_did_not_change(client: Client) -> None:
    """What was held back is sent when what it waited for is accepted [our choice]."""

    def split(number: int) -> Snapshot:
        clusters = {"a": 1, "b": number}
        routes, needs = {"r": 2}, {"r": "a b"}
        return world(
            clusters=clusters, endpoints=["a"], listeners=["l"], scopes=["s"], routes=routes, needs=needs
        )

    first = split(1)
    [clusters] = client.publish(first)
    assert client.nack(clusters) == []
    [clusters] = client.publish(replaced(first, split(2), CLUSTER))
    assert kinds(client.ack(clusters)) == ["routes"]


def test_a_cluster_goes_once_the_routes_that_kept_it_are_mended(client: Client) -> None:
    """What was kept for a refused route is removed when that route is accepted [our choice]."""
    using = world(
        clusters=["a"], endpoints=["a"], listeners=["l"], scopes=["s"], routes={"r": 2}, needs={"r": "a"}
    )
    [routes] = client.publish(using)
    client.ack(routes)

    def moved(number: int) -> Snapshot:
        routes, needs = {"r": number}, {"r": "b"}
        return world(
            clusters=["b"], endpoints=["b"], listeners=["l"], scopes=["s"], routes=routes, needs=needs
        )

    refused = moved(3)
    [clusters] = client.publish(refused)
    [endpoints] = client.want(ENDPOINTS, "a", "b")
    client.ack(endpoints)
    [routes] = client.ack(clusters)
    assert client.nack(routes) == []
    [routes] = client.publish(replaced(refused, moved(4), ROUTES))
    [last] = client.ack(routes)
    assert sent([last]) == [("clusters", [] if client.delta else ["b:1"], ["a"] if client.delta else [])]


def test_a_changed_cluster_that_is_tried_again_gets_its_endpoints_again() -> None:
    """It warms only now, for Envoy refused it before with another [Resource warming, note; our choice]."""
    client = wanting("delta")
    both = world(clusters={"a": 2, "b": 1}, endpoints=["a"], listeners=["l"], scopes=["s"], routes=["r"])
    clusters, endpoints = client.publish(both)
    assert sent([clusters, endpoints]) == [("clusters", ["a:2", "b:1"], []), ("endpoints", ["a:1"], [])]
    client.ack(endpoints)
    tried = sent(client.nack(clusters))
    assert tried == [("clusters", ["a:2"], []), ("clusters", ["b:1"], []), ("endpoints", ["a:1"], [])]


@pytest.mark.parametrize(("has", "removed"), [(1, ["b"]), (7, None)], ids=["our version", "an older one"])
def test_what_a_returning_client_uses_is_known_by_version(has: int, removed: list[str] | None) -> None:
    """Of a version that we still serve we know the clusters; of another nothing, so nothing goes [our choice]."""
    before = world(clusters=["a", "b"], listeners=["l"], scopes=["s"], routes=["r"], needs={"r": "a"})
    stream = DeltaStream()
    stream.publish(before)
    for type_url in (CLUSTER, LISTENER, SCOPE):
        known = {name: resource.version for name, resource in before.of(type_url).items()}
        assert stream.receive(delta(type_url, known=known)) == []
    pending = stream.receive(delta(ROUTES, subscribe=["r"], known={"r": content("r", has).version}))
    for response in pending:
        stream.receive(nack(response))
    after = world(clusters=["a"], listeners=["l"], scopes=["s"], routes={"r": 2}, needs={"r": "a"})
    responses = stream.publish(after)
    while responses and responses[0].type_url == ROUTES:
        responses = stream.receive(nack(responses[0]))
    assert sent(responses) == ([("clusters", [], removed)] if removed else [])


def test_of_one_content_sent_twice_the_last_answer_counts() -> None:
    """Endpoints are sent again for a cluster that warms: once accepted, no refusal of them stands [our choice]."""
    client = wanting("delta")
    [first] = client.publish(
        world(clusters=["a"], endpoints={"a": 2}, listeners=["l"], scopes=["s"], routes=["r"])
    )
    newer = world(clusters={"a": 2}, endpoints={"a": 2}, listeners=["l"], scopes=["s"], routes=["r"])
    clusters, second = client.publish(newer)
    assert sent([first, second]) == [("endpoints", ["a:2"], [])] * 2
    client.nack(first)
    assert client.stream.standing(ENDPOINTS, "a") == Refuses(content("a", 2), "bad", content("a", 1))
    client.ack(second)
    client.ack(clusters)
    assert client.stream.standing(ENDPOINTS, "a") == Holds(content("a", 2))
    assert (client.stream.rejections, client.stream.synced) == ({}, True)
