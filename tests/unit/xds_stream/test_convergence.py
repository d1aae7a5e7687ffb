"""Universal rules of a stream, against a small model of Envoy: any order of events, both transports."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SCOPE, Snapshot
from igw_xds.stream import Holds, Refuses

from tests.unit.xds_stream.builders import content, sent, world
from tests.unit.xds_stream.envoy_model import ModelEnvoy

GATEWAYS = st.dictionaries(st.sampled_from("abcd"), st.tuples(*[st.integers(1, 3)] * 4), max_size=4)
EVENTS = st.lists(
    st.one_of(
        GATEWAYS.map(lambda gateways: ("publish", gateways)),
        st.sampled_from([("ack", None), ("ack", None), ("ack", None), ("nack", None)]),
        st.integers(0, 30).map(lambda back: ("reconnect", back)),
    ),
    max_size=30,
)


def snapshot_of(gateways: dict[str, tuple[int, int, int, int]], listener: int = 1) -> Snapshot:
    """Give a consistent snapshot: each gateway has a cluster, its endpoints, a scope and its routes."""
    by_kind = [{name: numbers[kind] for name, numbers in gateways.items()} for kind in range(4)]
    clusters, endpoints, scopes, routes = by_kind
    return world(
        clusters=clusters, endpoints=endpoints, listeners={"l": listener}, scopes=scopes, routes=routes
    )


def play(transport: str, events: list[tuple[str, Any]]) -> tuple[ModelEnvoy, Snapshot]:
    """Play events, then a last publish with new content that Envoy accepts whole."""
    envoy, newest, number = ModelEnvoy(transport), snapshot_of({}), 1
    envoy.publish(newest)
    history = [newest]
    for event, value in events:
        if event == "publish":
            newest = snapshot_of(value)
            history.append(newest)
            envoy.publish(newest)
        elif event == "reconnect":  # to one that takes any of the earlier snapshots for what it may have
            envoy.connect(newest, history[value % len(history)])
        else:
            envoy.answer(refuse=event == "nack")
    number += 8
    newest = snapshot_of(dict.fromkeys("abe", (number, number, number, number)), listener=number)
    envoy.publish(newest)
    for _ in range(200):
        envoy.answer()
        if not envoy.inbox:
            envoy.time_out()
        if not envoy.inbox:
            break
    return envoy, newest


@pytest.mark.parametrize("transport", ["delta", "sotw"])
@given(events=EVENTS)
@settings(max_examples=100, deadline=None)
def test_an_envoy_that_accepts_gets_the_newest_state(transport: str, events: list[tuple[str, Any]]) -> None:
    """After any history, a client that accepts what it is sent has the newest snapshot, and we know it."""
    envoy, newest = play(transport, events)
    expected = {
        t: {r.name: r.version for r in newest.of(t).values()}
        for t in (CLUSTER, ENDPOINTS, LISTENER, SCOPE, ROUTES)
    }
    assert envoy.has == expected
    assert envoy.stream.synced
    assert envoy.stream.acked == expected
    assert envoy.stream.rejections == {}


@pytest.mark.parametrize("transport", ["delta", "sotw"])
@given(events=EVENTS)
@settings(max_examples=100, deadline=None)
def test_the_same_content_is_not_sent_twice(transport: str, events: list[tuple[str, Any]]) -> None:
    """No resource is sent again with the content it was sent with last, whether accepted or refused.

    Except: the client asks for it anew, its cluster changed (endpoints), it was refused together with others,
    or it was refused and gone in between.
    """
    envoy, _ = play(transport, [event for event in events if event[0] != "reconnect" or transport == "delta"])
    assert envoy.repeats == []


BAD = 3
"""The number of content that an Envoy of the next test always refuses."""


def is_bad(response: Any) -> bool:
    """Say whether a response holds content that is always refused."""
    return any(named.endswith(f":{BAD}") for _, names, _ in sent([response]) for named in names)


def settle(envoy: ModelEnvoy) -> None:
    """Let it answer until there is nothing to answer."""
    for _ in range(300):
        if not envoy.inbox:
            envoy.time_out()
        if not envoy.inbox:
            return
        envoy.answer(refuse=is_bad(envoy.inbox[0]))
    raise AssertionError("it never ends")


@given(history=st.lists(GATEWAYS, min_size=1, max_size=5))
@settings(max_examples=150, deadline=None)
def test_a_refusal_is_contained(history: list[dict[str, tuple[int, int, int, int]]]) -> None:
    """Whatever else is refused: what an Envoy would accept it has, and just the bad ones stand refused.

    (Incremental transport; types that travel whole are refused whole.)
    """
    envoy = ModelEnvoy("delta")
    for gateways in history:
        envoy.publish(snapshot_of(gateways))
        settle(envoy)
    newest, numbers = history[-1], (CLUSTER, ENDPOINTS, SCOPE, ROUTES)
    for kind, type_url in enumerate(numbers):
        asked = newest.keys() if type_url in {CLUSTER, SCOPE} else newest.keys() & envoy.named(type_url)
        for name in asked:
            wanted = content(name, newest[name][kind])
            match envoy.stream.standing(type_url, name):
                case Refuses(refused, text):
                    assert (newest[name][kind], refused, text) == (BAD, wanted, "bad")
                case standing:
                    assert (newest[name][kind] != BAD, standing) == (True, Holds(wanted))
        if type_url in {CLUSTER, SCOPE}:
            assert envoy.has[type_url].keys() <= newest.keys()
    assert envoy.repeats == []
