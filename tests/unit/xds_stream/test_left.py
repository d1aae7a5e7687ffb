"""A client that leaves a type while what it refused of it is to be tried again; found by fuzzing."""

from igw_xds.snapshot import CLUSTER

from tests.unit.xds_stream.builders import DeltaStream, delta, sent, world


def test_nothing_is_left_to_be_tried_with_who_asks_for_nothing() -> None:
    """It refuses two clusters and asks for none any more: the stream is idle, so a rollout does not wait for it."""
    stream = DeltaStream()
    stream.publish(world(clusters=["a", "b"]))
    [response] = stream.receive(delta(CLUSTER))
    assert stream.receive(delta(CLUSTER, unsubscribe=["*"], nonce=response.nonce, error="bad")) == []
    assert stream.idle


def test_who_asks_again_gets_all_anew() -> None:
    """What was to be tried in parts is sent as a whole to a client that comes back to the type."""
    stream = DeltaStream()
    stream.publish(world(clusters=["a", "b"]))
    [response] = stream.receive(delta(CLUSTER))
    stream.receive(delta(CLUSTER, unsubscribe=["*"], nonce=response.nonce, error="bad"))
    responses = stream.receive(delta(CLUSTER, subscribe=["*"]))
    assert sent(responses) == [("clusters", ["a:1", "b:1"], [])]
