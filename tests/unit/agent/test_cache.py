"""What the agent takes for accepted, and what of it the next Envoy may start with."""

from tests.unit.agent.talk import CLUSTER, ENDPOINTS, LISTENER, Talk, body, kept, response


def test_an_ack_puts() -> None:
    """What was sent counts once it is acknowledged, with the bytes that were sent."""
    talk = Talk()
    talk.asks(CLUSTER)
    nonce = talk.told(CLUSTER, a="1")
    assert talk.cache.held == {}
    talk.acks(CLUSTER, nonce)
    assert talk.cache.held == kept(CLUSTER, a="1")
    assert talk.cache.held[CLUSTER, "a"].body == body("a", "1")


def test_a_nack_puts_nothing() -> None:
    """Nothing of what was refused gets in, neither then nor when the nonce is heard again."""
    talk = Talk()
    talk.starts(a="1")
    nonce = talk.told(CLUSTER, a="2", b="2")
    talk.nacks(CLUSTER, nonce)
    talk.acks(CLUSTER, nonce)
    assert talk.clusters() == talk.saved() == {"a": "1"}


def test_parts_of_what_was_refused() -> None:
    """The control plane sends the good ones again, alone: then they are accepted."""
    talk = Talk()
    talk.starts()
    talk.nacks(CLUSTER, talk.told(CLUSTER, a="1", b="1"))
    talk.gets(CLUSTER, a="1")
    talk.nacks(CLUSTER, talk.told(CLUSTER, b="1"))
    assert talk.saved() == {"a": "1"}


def test_answers_in_any_order() -> None:
    """Each answer is to its nonce."""
    talk = Talk()
    talk.starts()
    first, second = talk.told(CLUSTER, a="1"), talk.told(CLUSTER, b="1")
    talk.nacks(CLUSTER, second)
    talk.acks(CLUSTER, first)
    assert talk.clusters() == {"a": "1"}


def test_a_removal_counts_when_it_is_accepted() -> None:
    """Until then Envoy has it."""
    talk = Talk()
    talk.starts(a="1", b="1")
    nonce = talk.told(CLUSTER, "a")
    assert talk.clusters() == {"a": "1", "b": "1"}
    talk.acks(CLUSTER, nonce)
    assert talk.clusters() == {"b": "1"}


def test_what_envoy_leaves_is_gone() -> None:
    """Also when it is still sent, and accepted with the same request or later: nobody asked for it."""
    talk = Talk()
    talk.starts()
    talk.asks(ENDPOINTS, "a", "b")
    talk.gets(ENDPOINTS, a="1", b="1")
    talk.leaves(ENDPOINTS, "a")
    assert talk.cache.held.keys() >= {(ENDPOINTS, "b")}
    late = talk.told(ENDPOINTS, a="2")
    talk.acks(ENDPOINTS, late)
    assert (ENDPOINTS, "a") not in talk.cache.held
    talk.acks(ENDPOINTS, talk.told(ENDPOINTS, b="2"), "b")
    assert not [key for key in talk.cache.held if key[0] == ENDPOINTS]


def test_what_is_asked_for_by_name_and_as_one_of_all() -> None:
    """Left by name it is still one of all; all being left, what was named stays."""
    talk = Talk()
    talk.asks(CLUSTER, "*", "a")
    talk.gets(CLUSTER, a="1", b="1")
    talk.leaves(CLUSTER, "b")
    assert talk.clusters() == {"a": "1", "b": "1"}
    talk.leaves(CLUSTER, "*")
    assert talk.clusters() == {"a": "1"}


def test_a_heartbeat_changes_nothing() -> None:
    """A resource without content only prolongs the life of what there is."""
    talk = Talk()
    talk.starts(a="1")
    message = response(CLUSTER, "h", {})
    message.resources.add(name="a", version="1")
    talk.stream.tell(message)
    talk.acks(CLUSTER, "h")
    assert talk.cache.held == {**kept(CLUSTER, a="1"), **kept(LISTENER, ingress="1")}


def test_what_envoy_brings_to_a_new_stream() -> None:
    """It says what it has: what it does not say is gone, whatever was held of it."""
    talk = Talk()
    talk.starts(a="1", b="1", c="1")
    talk.reconnects()
    talk.asks(CLUSTER, known={"a": "1", "b": "0"})
    assert talk.clusters() == {"a": "1"}


def test_an_ack_that_was_lost() -> None:
    """What was sent and not answered when the stream ended is held if Envoy says that it has that version."""
    talk = Talk()
    talk.starts(a="1")
    talk.told(CLUSTER, a="2", b="1", c="1")
    talk.nacks(CLUSTER, talk.told(CLUSTER, c="2"))
    talk.reconnects()
    talk.asks(CLUSTER, known={"a": "2", "c": "2"})
    assert talk.clusters() == {"a": "2"}


def test_a_stream_that_is_over_counts_no_more() -> None:
    """What is late on it says nothing of Envoy, and its nonces mean something else on the new one."""
    talk, late = Talk(), Talk()
    talk.asks(CLUSTER)
    late.stream = talk.stream
    talk.told(CLUSTER, late="1")
    talk.reconnects()
    talk.asks(CLUSTER)
    late.acks(CLUSTER, "1")
    talk.told(CLUSTER, a="1")
    late.told(CLUSTER, b="9")
    late.acks(CLUSTER, "1")
    assert talk.clusters() == {}
    talk.acks(CLUSTER, "1")
    assert talk.clusters() == {"a": "1"}


def test_in_step() -> None:
    """All that an Envoy starts with was asked for and answered, and nothing waits for an answer, on either side."""
    talk = Talk()
    seen = [talk.cache.in_step]
    talk.asks(CLUSTER)
    talk.gets(CLUSTER, a="1")
    seen.append(talk.cache.in_step)  # no listener was asked for
    talk.asks(ENDPOINTS, "a", "b")
    talk.asks(LISTENER)
    seen.append(talk.cache.in_step)
    nonce = talk.told(LISTENER, ingress="1")
    seen.append(talk.cache.in_step)
    talk.acks(LISTENER, nonce)
    talk.gets(ENDPOINTS, a="1")
    seen.append(talk.cache.in_step)  # it still waits for b
    talk.gets(ENDPOINTS, "b")
    assert [*seen, talk.cache.in_step] == [False, False, False, False, False, True]


def test_an_envoy_that_comes_back_is_owed_nothing() -> None:
    """The control plane says nothing where nothing changed."""
    talk = Talk()
    talk.starts(a="1")
    talk.reconnects()
    talk.asks(CLUSTER, known={"a": "1"})
    seen = [talk.cache.in_step]
    talk.asks(LISTENER, known={"ingress": "1"})
    assert [*seen, talk.cache.in_step] == [False, True]
    assert talk.saved() == {"a": "1"}


def test_a_new_envoy_sweeps() -> None:
    """What was kept stays whole until the new Envoy is in step; then all is gone that it did not get."""
    talk = Talk({**kept(CLUSTER, old="1", a="1"), **kept(ENDPOINTS, old="1")})
    talk.asks(CLUSTER)
    talk.gets(CLUSTER, a="2")
    assert talk.saved() == {"old": "1", "a": "1"}
    seen = [talk.cache.complete]
    talk.asks(LISTENER)
    talk.gets(LISTENER, ingress="1")
    assert talk.saved() == {"a": "2"}
    assert [*seen, talk.cache.complete] == [False, True]
    assert dict(talk.cache.saved) == {**kept(CLUSTER, a="2"), **kept(LISTENER, ingress="1")}


def test_a_new_envoy_that_refuses_the_new_version() -> None:
    """What was accepted last stays for the next; not so what this one refused in that very version."""
    talk = Talk(kept(CLUSTER, a="1", b="1", old="1"))
    talk.starts()
    talk.nacks(CLUSTER, talk.told(CLUSTER, a="2"))
    talk.nacks(CLUSTER, talk.told(CLUSTER, b="1"))
    assert talk.saved() == {"a": "1"}
    talk.gets(CLUSTER, "a")
    assert talk.saved() == {}


def test_what_is_kept_is_not_changed_later() -> None:
    """A writer may take its time."""
    talk = Talk()
    talk.starts(a="1")
    contents = talk.cache.settle()
    talk.gets(CLUSTER, b="1")
    assert contents == {**kept(CLUSTER, a="1"), **kept(LISTENER, ingress="1")}
