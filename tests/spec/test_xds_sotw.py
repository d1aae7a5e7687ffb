"""Sentences of Envoy's xDS protocol page (docs/root/api-docs/xds_protocol.rst), state of the world.

Each docstring gives the rule in our words and, in brackets, the section it is from.
"""

import pytest
from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SCOPE
from igw_xds.stream import Accepted, Rejected

from tests.unit.xds_stream.builders import NODE, SotwStream, ack, content, nack, sent, sotw, world

WORLD = world(clusters=["a", "b"], endpoints=["a", "b"], listeners=["l"], scopes=["s"], routes=["q", "r"])


@pytest.fixture
def stream() -> SotwStream:
    """Give a stream to a control plane that has `WORLD`."""
    stream = SotwStream()
    stream.publish(WORLD)
    return stream


def test_response_names_type_nonce_and_version(stream: SotwStream) -> None:
    """A response has a nonce, its type URL and the version of that type [Basic Protocol Overview]."""
    [response] = stream.receive(sotw(CLUSTER))
    assert (response.type_url, bool(response.nonce)) == (CLUSTER, True)
    assert response.version_info == WORLD.type_version(CLUSTER)


def test_version_changes_with_a_resource(stream: SotwStream) -> None:
    """Whenever one resource of a type changes its version changes [ACK/NACK]."""
    [first] = stream.receive(sotw(CLUSTER))
    stream.receive(ack(first))
    [second] = stream.publish(world(clusters={"a": 1, "b": 2}))
    assert second.version_info != first.version_info


def test_version_is_of_the_content(stream: SotwStream) -> None:
    """A version belongs to the resources, not to a stream [ACK/NACK]."""
    other = SotwStream()
    other.publish(WORLD)
    [one], [two] = stream.receive(sotw(LISTENER)), other.receive(sotw(LISTENER))
    assert one.version_info == two.version_info


def test_node_on_the_first_request_only(stream: SotwStream) -> None:
    """Only the first request is sure to carry the node [Basic Protocol Overview]."""
    stream.receive(sotw(CLUSTER, node=NODE))
    stream.receive(sotw(LISTENER))
    assert stream.node is not None
    assert stream.node.id == "envoy-1"


def test_ack_carries_nonce_and_version(stream: SotwStream) -> None:
    """An answer without an error says that the update was applied [ACK]."""
    [response] = stream.receive(sotw(CLUSTER))
    stream.receive(ack(response))
    assert stream.answer == Accepted(CLUSTER, frozenset({"a", "b"}))
    assert set(stream.acked[CLUSTER]) == {"a", "b"}


def test_nack_is_told_by_error_detail(stream: SotwStream) -> None:
    """A NACK is known by error_detail; the version may be old or none [NACK]."""
    [response] = stream.receive(sotw(CLUSTER))
    stream.receive(nack(response, error="no"))
    assert stream.answer == Rejected(CLUSTER, frozenset({"a", "b"}), "no")
    assert stream.acked[CLUSTER] == {}


def test_nack_is_known_even_with_the_current_version(stream: SotwStream) -> None:
    """With a changed subscription the version may equal the refused one [NACK, error-detail example]."""
    [response] = stream.receive(sotw(ENDPOINTS, "a"))
    stream.receive(nack(response, "a", version=response.version_info))
    assert isinstance(stream.answer, Rejected)


def test_an_older_version_is_no_nack(stream: SotwStream) -> None:
    """Without error_detail it is an ACK whatever its version says [NACK]."""
    [response] = stream.receive(sotw(ENDPOINTS, "a"))
    stream.receive(sotw(ENDPOINTS, "a", version="older", nonce=response.nonce))
    assert stream.answer == Accepted(ENDPOINTS, frozenset({"a"}))


def test_after_a_nack_new_content_may_succeed(stream: SotwStream) -> None:
    """After a NACK an update may succeed at a new version [NACK]."""
    [first] = stream.receive(sotw(ROUTES, "r"))
    assert stream.receive(nack(first, "r")) == []
    [second] = stream.publish(world(routes={"r": 2}))
    stream.receive(ack(second, "r"))
    assert stream.acked[ROUTES] == {"r": content("r", 2).version}
    assert stream.rejections == {}


def test_equal_content_is_not_sent_again(stream: SotwStream) -> None:
    """The same resources again would be needless work [When to send an update]."""
    [response] = stream.receive(sotw(CLUSTER))
    assert stream.receive(ack(response)) == []
    assert stream.publish(world(clusters=["a", "b"])) == []


def test_a_new_request_supersedes_those_before() -> None:
    """Only the latest request of a type counts [When to send an update]."""
    unanswered = SotwStream()
    unanswered.receive(sotw(ENDPOINTS, "a"))
    unanswered.receive(sotw(ENDPOINTS, "b"))
    assert sent(unanswered.publish(WORLD)) == [("endpoints", ["b:1"], [])]


def test_first_request_without_names_is_wildcard(stream: SotwStream) -> None:
    """No names in all requests so far means all [How the client specifies...]."""
    assert sent(stream.receive(sotw(LISTENER))) == [("listeners", ["l:1"], [])]
    assert sent(stream.receive(sotw(SCOPE))) == [("scopes", ["s:1"], [])]


def test_star_is_wildcard(stream: SotwStream) -> None:
    """The name "*" means all [How the client specifies...]."""
    assert sent(stream.receive(sotw(CLUSTER, "*"))) == [("clusters", ["a:1", "b:1"], [])]


def test_wildcard_example(stream: SotwStream) -> None:
    """None, then "*" and A, then A, then none: the last asks for nothing [How the client specifies...]."""
    [response] = stream.receive(sotw(CLUSTER))
    [both] = stream.receive(sotw(CLUSTER, "*", "a", nonce=response.nonce))
    stream.receive(sotw(CLUSTER, "a", nonce=both.nonce))
    [named] = stream.publish(world(clusters={"a": 2, "b": 2}))
    assert sent([named]) == [("clusters", ["a:2"], [])]
    stream.receive(sotw(CLUSTER, nonce=named.nonce))
    assert stream.publish(world(clusters={"a": 3, "b": 3})) == []


def test_only_what_is_asked_for_is_sent(stream: SotwStream) -> None:
    """Requests state which resources a client is interested in [How the client specifies...]."""
    assert sent(stream.receive(sotw(ROUTES, "r"))) == [("routes", ["r:1"], [])]


def test_newly_requested_names_are_sent(stream: SotwStream) -> None:
    """A request that adds names is answered with them [How the client specifies...; Resource updates]."""
    [response] = stream.receive(sotw(ENDPOINTS, "a"))
    stream.receive(ack(response, "a"))
    more = sotw(ENDPOINTS, "a", "b", version=response.version_info, nonce=response.nonce)
    assert sent(stream.receive(more)) == [("endpoints", ["b:1"], [])]


def test_a_name_dropped_and_asked_for_again_is_sent_again(stream: SotwStream) -> None:
    """A newly requested resource is resent though unchanged since [How the client specifies...]."""
    [response] = stream.receive(sotw(ENDPOINTS, "a", "b"))
    stream.receive(ack(response, "a"))
    assert sent(stream.receive(ack(response, "a", "b"))) == [("endpoints", ["b:1"], [])]


@pytest.mark.parametrize(
    ("type_url", "kind"), [(CLUSTER, "clusters"), (LISTENER, "listeners"), (SCOPE, "scopes")]
)
def test_root_types_are_sent_whole(type_url: str, kind: str) -> None:
    """Clusters and listeners, and Envoy's scopes, travel as the whole set [Grouping Resources...]."""
    stream = SotwStream()
    stream.publish(world(**{kind: ["a", "b"]}))
    [response] = stream.receive(sotw(type_url))
    stream.receive(ack(response))
    assert sent(stream.publish(world(**{kind: {"a": 1, "b": 2}}))) == [(kind, ["a:1", "b:2"], [])]


@pytest.mark.parametrize(("type_url", "kind"), [(ENDPOINTS, "endpoints"), (ROUTES, "routes")])
def test_other_types_are_sent_as_they_change(type_url: str, kind: str) -> None:
    """Of other types only changed resources need be sent [Grouping Resources into Responses]."""
    stream = SotwStream()
    stream.publish(world(**{kind: ["a", "b"]}))
    [response] = stream.receive(sotw(type_url, "a", "b"))
    stream.receive(ack(response, "a", "b"))
    assert sent(stream.publish(world(**{kind: {"a": 1, "b": 2}}))) == [(kind, ["b:2"], [])]


def test_a_root_resource_is_deleted_by_absence(stream: SotwStream) -> None:
    """What a whole set does not hold is deleted [Deleting Resources]."""
    [response] = stream.receive(sotw(CLUSTER))
    stream.receive(ack(response))
    assert sent(stream.publish(world(clusters=["a"]))) == [("clusters", ["a:1"], [])]


def test_an_empty_set_deletes_all(stream: SotwStream) -> None:
    """A response of a root type without resources deletes all of them [Deleting Resources]."""
    [response] = stream.receive(sotw(LISTENER))
    stream.receive(ack(response))
    assert sent(stream.publish(world())) == [("listeners", [], [])]


def test_deletion_of_other_types_is_not_told(stream: SotwStream) -> None:
    """There is no way to say that a route or an endpoint group was deleted [Deleting Resources]."""
    [response] = stream.receive(sotw(ROUTES, "r"))
    stream.receive(ack(response, "r"))
    assert stream.publish(world()) == []


def test_missing_name_is_not_answered(stream: SotwStream) -> None:
    """There is no way to say that a name does not exist [Knowing When ... Not Exist]."""
    assert stream.receive(sotw(ROUTES, "none")) == []


def test_missing_name_is_sent_once_it_exists(stream: SotwStream) -> None:
    """The server remembers names and sends what springs into existence [Knowing When ... Not Exist]."""
    stream.receive(sotw(ROUTES, "later"))
    assert sent(stream.publish(world(routes=["later"]))) == [("routes", ["later:1"], [])]


def test_unsubscribing_is_a_list_without_the_name(stream: SotwStream) -> None:
    """Each request states the whole subscription [Unsubscribing From Resources]."""
    [response] = stream.receive(sotw(ENDPOINTS, "a", "b"))
    assert stream.receive(ack(response, "a")) == []
    assert sent(stream.publish(world(endpoints={"a": 2, "b": 2}))) == [("endpoints", ["a:2"], [])]


def test_a_stale_nonce_is_not_answered(stream: SotwStream) -> None:
    """No response is sent for a request about an older response [Resource updates]."""
    [first] = stream.receive(sotw(ENDPOINTS, "a"))
    stream.receive(ack(first, "a"))
    [second] = stream.publish(world(endpoints={"a": 2, "b": 1}))
    assert stream.receive(sotw(ENDPOINTS, "a", "b", version=first.version_info, nonce=first.nonce)) == []
    assert sent(stream.receive(ack(second, "a", "b"))) == [("endpoints", ["b:1"], [])]


def test_a_stale_request_rejects_nothing(stream: SotwStream) -> None:
    """A hint that crosses an update must not be taken for a rejection of it [Resource updates]."""
    [first] = stream.receive(sotw(ENDPOINTS, "a"))
    stream.receive(ack(first, "a"))
    [second] = stream.publish(world(endpoints={"a": 2}))
    stream.receive(sotw(ENDPOINTS, "a", "b", version=first.version_info, nonce=first.nonce))
    assert (stream.answer, stream.rejections) == (None, {})
    stream.receive(ack(second, "a", "b"))
    assert stream.acked[ENDPOINTS] == {"a": content("a", 2).version}


def test_several_requests_at_one_version(stream: SotwStream) -> None:
    """A client may ask more than once before a new version is ready [Resource updates]."""
    [first] = stream.receive(sotw(ENDPOINTS, "a"))
    [second] = stream.receive(ack(first, "a", "b"))
    assert stream.receive(ack(second, "b")) == []
    assert stream.receive(ack(second, "b", "none")) == []


def test_a_nonce_does_not_survive_its_stream(stream: SotwStream) -> None:
    """The first request of a stream is heard whatever nonce it has [Basic Protocol Overview]."""
    assert sent(stream.receive(sotw(CLUSTER, nonce="17"))) == [("clusters", ["a:1", "b:1"], [])]


@pytest.mark.parametrize("type_url", [CLUSTER, LISTENER])
def test_reconnect_at_our_version_sends_nothing(type_url: str) -> None:
    """A server need not resend what the client saw on its previous stream [ACK/NACK]."""
    before, after = SotwStream(), SotwStream()
    before.publish(WORLD)
    after.publish(WORLD)
    [response] = before.receive(sotw(type_url))
    assert after.receive(sotw(type_url, version=response.version_info)) == []


@pytest.mark.parametrize(("type_url", "names"), [(ENDPOINTS, ("a", "b")), (ROUTES, ("r",))])
def test_reconnect_sends_what_is_asked_for_by_name(type_url: str, names: tuple[str, ...]) -> None:
    """... but it must, where the version does not say that the client still has all of it [ACK/NACK].

    It may have dropped a name since it got this version, and ask for it anew.
    """
    before, after = SotwStream(), SotwStream()
    before.publish(WORLD)
    after.publish(WORLD)
    [response] = before.receive(sotw(type_url, *names))
    [again] = after.receive(sotw(type_url, *names, version=response.version_info))
    assert sent([again]) == sent([response])


def test_reconnect_with_a_new_name_sends_it(stream: SotwStream) -> None:
    """... but only if it asks for nothing that it had not before [ACK/NACK]."""
    [before] = stream.receive(sotw(ENDPOINTS, "a"))
    again = SotwStream()
    again.publish(WORLD)
    responses = again.receive(sotw(ENDPOINTS, "a", "b", version=before.version_info))
    assert "b:1" in sent(responses)[0][1]


def test_types_are_versioned_and_answered_apart(stream: SotwStream) -> None:
    """Each type on an aggregated stream has its own versions and nonces [Aggregated Discovery Service]."""
    [clusters] = stream.receive(sotw(CLUSTER))
    [listeners] = stream.receive(sotw(LISTENER))
    stream.receive(nack(clusters, error="no"))
    stream.receive(ack(listeners))
    assert stream.rejections == {CLUSTER: "no"}
    assert set(stream.acked[LISTENER]) == {"l"}
