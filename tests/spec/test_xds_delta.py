"""Sentences of Envoy's xDS protocol page (docs/root/api-docs/xds_protocol.rst), incremental transport.

Each docstring gives the rule in our words and, in brackets, the section it is from.
"""

import pytest
from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from igw_xds.stream import Accepted, Rejected

from tests.unit.xds_stream.builders import NODE, DeltaStream, ack, content, delta, nack, sent, world


@pytest.fixture
def stream() -> DeltaStream:
    """Give a stream to a control plane with clusters a and b, one endpoint group and one route."""
    stream = DeltaStream()
    stream.publish(world(clusters=["a", "b"], endpoints=["a", "b"], listeners=["l"], routes=["r"]))
    return stream


def test_response_names_type_nonce_and_versions(stream: DeltaStream) -> None:
    """A response has a nonce to be answered by, its type URL and a version per resource [Incremental xDS]."""
    [response] = stream.receive(delta(CLUSTER))
    assert (response.type_url, bool(response.nonce)) == (CLUSTER, True)
    assert {r.name: r.version for r in response.resources} == {
        "a": content("a").version,
        "b": content("b").version,
    }


def test_nonces_differ_within_a_stream(stream: DeltaStream) -> None:
    """A nonce pairs one response with its answer [Incremental xDS]."""
    first, second = stream.receive(delta(CLUSTER)) + stream.receive(delta(LISTENER))
    assert first.nonce != second.nonce


def test_resource_version_is_of_the_resource() -> None:
    """A version belongs to the resource, not the stream: equal content has it on each stream [ACK/NACK]."""
    versions = []
    for _ in range(2):
        stream = DeltaStream()
        stream.publish(world(clusters=["a"]))
        versions += [r.version for response in stream.receive(delta(CLUSTER)) for r in response.resources]
    assert versions[0] == versions[1]


def test_node_on_the_first_request_only(stream: DeltaStream) -> None:
    """Only the first request is sure to carry the node [Basic Protocol Overview]."""
    stream.receive(delta(CLUSTER, node=NODE))
    stream.receive(delta(LISTENER))
    assert stream.node is not None
    assert stream.node.id == "envoy-1"


def test_one_subscribe_request_may_name_several(stream: DeltaStream) -> None:
    """A request may ask for one or more names [Requesting Multiple Resources on a Single Stream]."""
    assert sent(stream.receive(delta(ENDPOINTS, subscribe=["a", "b"]))) == [("endpoints", ["a:1", "b:1"], [])]


def test_only_what_is_asked_for_is_sent(stream: DeltaStream) -> None:
    """Requests state which resources a client is interested in [How the client specifies...]."""
    assert sent(stream.receive(delta(ENDPOINTS, subscribe=["a"]))) == [("endpoints", ["a:1"], [])]


def test_ack_is_an_answer_without_error(stream: DeltaStream) -> None:
    """A request with a nonce and no error acknowledges the response [Incremental xDS]."""
    [response] = stream.receive(delta(CLUSTER))
    stream.receive(ack(response))
    assert stream.answer == Accepted(CLUSTER, frozenset({"a", "b"}))
    assert stream.acked[CLUSTER] == {"a": content("a").version, "b": content("b").version}


def test_nack_is_an_answer_with_error(stream: DeltaStream) -> None:
    """A request with a nonce and error_detail refuses the response [Incremental xDS]."""
    [response] = stream.receive(delta(CLUSTER))
    stream.receive(nack(response, error="no"))
    assert stream.answer == Rejected(CLUSTER, frozenset({"a", "b"}), "no", final=False)
    assert stream.acked[CLUSTER] == {}
    assert stream.rejections == {CLUSTER: "no"}


def test_nack_keeps_what_was_accepted(stream: DeltaStream) -> None:
    """After a refused update the client goes on with what it had [NACK]."""
    [response] = stream.receive(delta(CLUSTER))
    stream.receive(ack(response))
    [update] = stream.publish(world(clusters={"a": 2, "b": 1}))
    stream.receive(nack(update))
    assert stream.acked[CLUSTER]["a"] == content("a").version


def test_after_a_nack_new_content_may_succeed(stream: DeltaStream) -> None:
    """An update may be accepted after one was refused [NACK]."""
    [first] = stream.receive(delta(CLUSTER, subscribe=["a"]))
    stream.receive(nack(first))
    [second] = stream.publish(world(clusters={"a": 2}))
    stream.receive(ack(second))
    assert stream.acked[CLUSTER] == {"a": content("a", 2).version}
    assert stream.rejections == {}


def test_an_ack_or_nack_alone_is_not_answered(stream: DeltaStream) -> None:
    """A response is sent only when something changed [When to send an update]."""
    [response] = stream.receive(delta(LISTENER))
    assert stream.receive(nack(response)) == []
    [response] = stream.receive(delta(ENDPOINTS, subscribe=["a", "b"]))
    assert stream.receive(ack(response)) == []


def test_equal_content_is_not_sent_again(stream: DeltaStream) -> None:
    """The same set of resources again would be needless work [When to send an update]."""
    [response] = stream.receive(delta(CLUSTER))
    stream.receive(ack(response))
    assert stream.publish(world(clusters=["a", "b"], endpoints={"a": 9})) == []


def test_only_the_changed_resource_is_sent(stream: DeltaStream) -> None:
    """One changed resource of many travels alone [Grouping Resources into Responses]."""
    [response] = stream.receive(delta(CLUSTER))
    stream.receive(ack(response))
    assert sent(stream.publish(world(clusters={"a": 1, "b": 2}))) == [("clusters", ["b:2"], [])]


def test_a_name_occurs_once_in_a_response(stream: DeltaStream) -> None:
    """A response must not hold a name twice, even if it is asked for twice [Duplicate Resource Names]."""
    [response] = stream.receive(delta(CLUSTER, subscribe=["*", "a", "a"]))
    names = [r.name for r in response.resources]
    assert sorted(names) == sorted(set(names))


def test_removal_is_told_by_name(stream: DeltaStream) -> None:
    """A deleted resource is named in removed_resources [Deleting Resources]."""
    [response] = stream.receive(delta(CLUSTER))
    stream.receive(ack(response))
    assert sent(stream.publish(world(clusters=["a"]))) == [("clusters", [], ["b"])]


def test_missing_name_is_answered_as_removed(stream: DeltaStream) -> None:
    """A subscribed name that does not exist is answered in removed_resources [Knowing When ... Not Exist]."""
    assert sent(stream.receive(delta(ROUTES, subscribe=["none"]))) == [("routes", [], ["none"])]


def test_missing_name_is_sent_once_it_exists(stream: DeltaStream) -> None:
    """A subscription outlives absence: the resource is sent when it comes [Knowing When ... Not Exist]."""
    [response] = stream.receive(delta(ROUTES, subscribe=["later"]))
    stream.receive(ack(response))
    assert sent(stream.publish(world(routes=["later"]))) == [("routes", ["later:1"], [])]


def test_first_request_without_names_is_wildcard(stream: DeltaStream) -> None:
    """No names in the first request means all, the legacy wildcard [How the client specifies...]."""
    assert sent(stream.receive(delta(CLUSTER))) == [("clusters", ["a:1", "b:1"], [])]


def test_star_is_wildcard(stream: DeltaStream) -> None:
    """The name "*" means all [How the client specifies...]."""
    assert sent(stream.receive(delta(CLUSTER, subscribe=["*"]))) == [("clusters", ["a:1", "b:1"], [])]


def test_wildcard_gets_new_resources_unasked(stream: DeltaStream) -> None:
    """With a wildcard the server decides what belongs to it [How the client specifies...]."""
    [response] = stream.receive(delta(CLUSTER))
    stream.receive(ack(response))
    assert sent(stream.publish(world(clusters=["a", "b", "c"]))) == [("clusters", ["c:1"], [])]


def test_naming_one_continues_a_legacy_wildcard(stream: DeltaStream) -> None:
    """Subscribing to a name adds it to the wildcard [How the client specifies..., incremental example]."""
    [response] = stream.receive(delta(CLUSTER))
    stream.receive(ack(response))
    [again] = stream.receive(delta(CLUSTER, subscribe=["a"]))
    stream.receive(ack(again))
    assert sent(stream.publish(world(clusters={"a": 1, "b": 2}))) == [("clusters", ["b:2"], [])]


def test_wildcard_can_be_left(stream: DeltaStream) -> None:
    """Unsubscribing "*" leaves the named ones [How the client specifies..., incremental example]."""
    [response] = stream.receive(delta(CLUSTER, subscribe=["*", "a"]))
    stream.receive(ack(response))
    stream.receive(delta(CLUSTER, unsubscribe=["*"]))
    assert sent(stream.publish(world(clusters={"a": 2, "b": 2}))) == [("clusters", ["a:2"], [])]


def test_an_emptied_subscription_is_not_a_wildcard(stream: DeltaStream) -> None:
    """Once names were given, none left means none, not all [How the client specifies...]."""
    [response] = stream.receive(delta(CLUSTER, subscribe=["a"]))
    stream.receive(ack(response))
    assert stream.receive(delta(CLUSTER, unsubscribe=["a"])) == []
    assert stream.receive(delta(CLUSTER)) == []
    assert stream.publish(world(clusters={"a": 2, "b": 2})) == []


def test_a_known_name_asked_for_again_is_sent_again(stream: DeltaStream) -> None:
    """The client may have forgotten a resource that it asks for again [Subscribing to Resources]."""
    [response] = stream.receive(delta(ENDPOINTS, subscribe=["a"]))
    stream.receive(ack(response))
    assert sent(stream.receive(delta(ENDPOINTS, subscribe=["a"]))) == [("endpoints", ["a:1"], [])]


def test_unsubscribing_needs_no_answer(stream: DeltaStream) -> None:
    """A request that only unsubscribes is not answered [Unsubscribing from Resources]."""
    [response] = stream.receive(delta(ENDPOINTS, subscribe=["a", "b"]))
    stream.receive(ack(response))
    assert stream.receive(delta(ENDPOINTS, unsubscribe=["b"])) == []
    assert sent(stream.publish(world(endpoints={"a": 2, "b": 2}))) == [("endpoints", ["a:2"], [])]


def test_phantom_unsubscription_is_ignored(stream: DeltaStream) -> None:
    """Names that were not subscribed to may be unsubscribed from [Unsubscribing from Resources]."""
    [response] = stream.receive(delta(ENDPOINTS, subscribe=["a"]))
    stream.receive(ack(response))
    assert stream.receive(delta(ENDPOINTS, unsubscribe=["never"])) == []


def test_leaving_a_name_under_a_wildcard_sends_it(stream: DeltaStream) -> None:
    """The client cannot know if the wildcard holds the name: it is sent [Unsubscribing from Resources]."""
    [response] = stream.receive(delta(CLUSTER, subscribe=["*", "a"]))
    stream.receive(ack(response))
    assert sent(stream.receive(delta(CLUSTER, unsubscribe=["a"]))) == [("clusters", ["a:1"], [])]


def test_leaving_a_missing_name_under_a_wildcard_removes_it(stream: DeltaStream) -> None:
    """... or named as removed if the wildcard does not hold it [Unsubscribing from Resources]."""
    [response] = stream.receive(delta(CLUSTER, subscribe=["*", "none"]))
    stream.receive(ack(response))
    assert sent(stream.receive(delta(CLUSTER, unsubscribe=["none"]))) == [("clusters", [], ["none"])]


def test_subscription_counts_though_its_nonce_is_stale(stream: DeltaStream) -> None:
    """A stale nonce must not make the server ignore a subscription [Incremental xDS]."""
    stream.receive(delta(ENDPOINTS, subscribe=["a"]))
    responses = stream.receive(delta(ENDPOINTS, subscribe=["b"], nonce="of-another-stream"))
    assert sent(responses) == [("endpoints", ["b:1"], [])]
    assert stream.answer is None


def test_spontaneous_subscription_needs_no_nonce(stream: DeltaStream) -> None:
    """A client may change its names at any time, without a nonce [Incremental xDS]."""
    [response] = stream.receive(delta(ENDPOINTS, subscribe=["a"]))
    stream.receive(ack(response))
    assert sent(stream.receive(delta(ENDPOINTS, subscribe=["b"]))) == [("endpoints", ["b:1"], [])]


def test_reconnect_with_versions_sends_nothing_known(stream: DeltaStream) -> None:
    """Resources in initial_resource_versions are not sent again [Incremental xDS]."""
    known = {"a": content("a").version, "b": content("b").version}
    assert stream.receive(delta(CLUSTER, known=known)) == []
    assert stream.receive(delta(ENDPOINTS, subscribe=["a", "b"], known=known)) == []


def test_reconnect_sends_what_changed_meanwhile(stream: DeltaStream) -> None:
    """... but those of another version are [Incremental xDS]."""
    known = {"a": content("a", 7).version, "b": content("b").version}
    assert sent(stream.receive(delta(CLUSTER, known=known))) == [("clusters", ["a:1"], [])]


def test_reconnect_names_all_subscriptions_anew(stream: DeltaStream) -> None:
    """No state survives a stream: a version without a subscription asks for nothing [Incremental xDS]."""
    known = {"a": content("a", 7).version}
    responses = stream.receive(delta(ENDPOINTS, subscribe=["b"], known=known))
    assert sent(responses) == [("endpoints", ["b:1"], [])]
    assert stream.acked[ENDPOINTS] == {}


def test_reconnect_removes_what_went_meanwhile(stream: DeltaStream) -> None:
    """A resource that the client still has and that is no more is removed [Deleting Resources]."""
    known = {name: content(name).version for name in ("a", "b", "old")}
    [read_all] = stream.receive(delta(CLUSTER, known=known))
    assert sent([read_all]) == [("clusters", [], [])]
    assert sent(stream.receive(ack(read_all))) == [("clusters", [], ["old"])]


def test_types_are_versioned_and_answered_apart(stream: DeltaStream) -> None:
    """Each type on an aggregated stream has its own state [ACK/NACK; Aggregated Discovery Service]."""
    [clusters] = stream.receive(delta(CLUSTER))
    [listeners] = stream.receive(delta(LISTENER))
    stream.receive(nack(clusters, error="no"))
    stream.receive(ack(listeners))
    assert stream.rejections == {CLUSTER: "no"}
    assert stream.acked[LISTENER] == {"l": content("l").version}
