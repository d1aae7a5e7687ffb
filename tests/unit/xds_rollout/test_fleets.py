"""Universal rules of a zone, with several model Envoys on real streams: any order of events, both transports."""

from collections.abc import Set as AbstractSet
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SCOPE, TYPES, Snapshot
from igw_xds.stream import Refuses

from tests.unit.xds_rollout.fleet import (
    BAD,
    CLUSTERS,
    GATEWAYS,
    NEEDS,
    Fleet,
    Proxy,
    is_bad,
    versions,
)

CONTENT, ROUTING = st.integers(1, BAD), st.integers(1, len(NEEDS))
GOOD = st.integers(1, BAD - 1)
Zone = tuple[dict[str, tuple[int, int]], dict[str, tuple[int, int]]]
"""Clusters with their endpoints, and gateways (scope and routes), by number of content."""


def zones(scopes: st.SearchStrategy[int] = CONTENT) -> st.SearchStrategy[Zone]:
    """Give any zone."""
    return st.tuples(
        st.dictionaries(st.sampled_from(CLUSTERS), st.tuples(CONTENT, CONTENT), max_size=3),
        st.dictionaries(st.sampled_from(GATEWAYS), st.tuples(scopes, ROUTING), max_size=3),
    )


NUMBERS = st.integers(0, 2)
ANSWERS = NUMBERS.map(lambda at: ("answer", at))
PUBLISHES = zones().map(lambda zone: ("publish", *zone))
MOVES = st.one_of(
    st.tuples(st.just("leave"), NUMBERS),
    st.tuples(st.just("join"), NUMBERS, st.integers(0, 9)),
    st.just(("restart",)),
    st.sampled_from([1.0, 6.0, 31.0]).map(lambda seconds: ("wait", seconds)),
)
EVENTS = st.lists(st.one_of(PUBLISHES, ANSWERS, ANSWERS, ANSWERS, MOVES), max_size=40)
DELTA = ("delta",) * 3
TRANSPORTS = st.sampled_from([("sotw",) * 3, ("delta", "sotw", "delta"), ("sotw", "delta", "delta")])
"""With a client of the other transport among them, or only such."""


def play(fleet: Fleet, first: Zone, events: list[tuple[Any, ...]]) -> None:
    """Bring all into step with a first snapshot, then play events."""
    fleet.publish(*first)
    for at in range(3):
        fleet.join(at)
    fleet.settle(6, 31)
    for event, *arguments in events:
        getattr(fleet, event)(*arguments)


def finish(fleet: Fleet) -> None:
    """Let all come back, and time pass until nothing moves."""
    for at in range(3):
        fleet.join(at)
    fleet.settle(6, 6, 31, 6, 31)
    assert fleet.rollout.next_deadline is None


@given(first=zones(), events=EVENTS)
@settings(max_examples=60, deadline=None)
def test_all_come_to_have_what_can_be_had(first: Zone, events: list[tuple[Any, ...]]) -> None:
    """After any history: what is defined, but for what all refuse and what needs it; and that is known by name.

    Nothing is sent twice, no route that worked leads nowhere, and nobody loses what was defined all the time.
    """
    fleet = Fleet(DELTA, [True] * 3)
    play(fleet, first, events)
    finish(fleet)
    all_have_what_is_served(fleet)
    served, rollout = fleet.rollout.served, fleet.rollout
    assert served is not None
    for type_url in TYPES:
        for name, resource in fleet.published[-1].of(type_url).items():
            if (type_url, name) in rollout.refused:
                assert is_bad(type_url, name, resource.version)
            elif served.of(type_url).get(name) != resource:
                assert (type_url, name) in rollout._held or (type_url == ENDPOINTS and lost(rollout, name))
    assert [proxy.wrong for proxy in fleet.proxies] == [[]] * 3


@given(first=zones(), events=EVENTS, transports=TRANSPORTS)
@settings(max_examples=60, deadline=None)
def test_all_have_the_same_over_any_transport(
    first: Zone, events: list[tuple[Any, ...]], transports: tuple[str, ...]
) -> None:
    """Types that travel whole are refused whole, so more is held back; all the same nobody is left behind."""
    fleet = Fleet(transports, [True] * 3)
    play(fleet, first, events)
    finish(fleet)
    all_have_what_is_served(fleet)


def all_have_what_is_served(fleet: Fleet) -> None:
    """Assert that each proxy has what is served, and that nothing of it is bad."""
    served = fleet.rollout.served
    assert served is not None
    for proxy in fleet.proxies:
        has_just(proxy, served)
    for type_url, asked in asked_for(fleet).items():
        assert not [
            n for n, r in served.of(type_url).items() if n in asked and is_bad(type_url, n, r.version)
        ]


def asked_for(fleet: Fleet) -> dict[str, AbstractSet[str]]:
    """Give the names that Envoys ask for, by type URL: of routes those of scopes that they have."""
    envoy, newest = fleet.proxies[0].envoy, fleet.rollout.served
    assert newest is not None
    return {t: envoy.named(t) if t in {ENDPOINTS, ROUTES} else set(newest.of(t)) for t in TYPES}


def lost(rollout: Any, name: str) -> bool:
    """Say whether a cluster was refused and has no earlier version."""
    refused = rollout.refused.get((CLUSTER, name))
    return refused is not None and refused.kept is None


def has_just(proxy: Proxy, served: Snapshot) -> None:
    """Assert that a proxy has what is served, else only what is withheld or needed by that; and that we know it.

    Of what is withheld and unknown to us nobody can say which clusters it needs: then it loses none.
    """
    has, wanted = proxy.envoy.has, versions(served)
    in_use = proxy.envoy.stream._still_used()
    spared = frozenset(CLUSTERS) if in_use is None else in_use
    for type_url in (CLUSTER, LISTENER, SCOPE):
        extra = has[type_url].keys() - wanted[type_url].keys()
        assert {n: v for n, v in has[type_url].items() if n not in extra} == wanted[type_url]
        assert extra <= served.withheld.get(type_url, frozenset()) | spared
    for type_url in (ENDPOINTS, ROUTES):
        asked = proxy.envoy.named(type_url)
        extra = has[type_url].keys() - wanted[type_url].keys()
        assert {n: v for n, v in has[type_url].items() if n not in extra} == {
            n: v for n, v in wanted[type_url].items() if n in asked
        }
        assert extra <= served.withheld.get(type_url, frozenset()) | spared or not proxy.envoy.delta
    assert proxy.envoy.stream.synced or in_use is None
    assert proxy.envoy.stream.rejections == {}


@given(
    first=zones(GOOD),
    events=st.lists(
        st.one_of(zones(GOOD).map(lambda zone: ("publish", *zone)), ANSWERS, ANSWERS, ANSWERS), max_size=40
    ),
    transports=st.one_of(st.just(DELTA), TRANSPORTS),
)
@settings(max_examples=60, deadline=None)
def test_what_is_bad_reaches_nobody_but_the_canary(
    first: Zone, events: list[tuple[Any, ...]], transports: tuple[str, ...]
) -> None:
    """While it answers in time: no other proxy is ever sent what it refuses."""
    fleet = Fleet(transports, [True] * 3)
    play(fleet, first, events)
    fleet.settle()
    assert fleet.rollout.timeouts == 0
    assert [proxy.bad for proxy in fleet.proxies[1:]] == [set(), set()]


@given(first=zones(), events=EVENTS, strict=st.tuples(*[st.booleans()] * 3))
@settings(max_examples=60, deadline=None)
def test_who_is_odd_harms_nobody(
    first: Zone, events: list[tuple[Any, ...]], strict: tuple[bool, ...]
) -> None:
    """Of proxies that refuse different things, each has all that is served but what it refuses itself."""
    fleet = Fleet(DELTA, strict)
    play(fleet, first, events)
    finish(fleet)
    served = fleet.rollout.served
    assert served is not None
    for proxy in fleet.proxies:
        if not proxy.strict:
            has_just(proxy, served)
        for type_url in TYPES:
            for name, resource in served.of(type_url).items():
                match proxy.envoy.stream.standing(type_url, name):
                    case Refuses(refused) if refused == resource:
                        assert proxy.strict
                    case _:
                        pass
    assert [proxy.wrong for proxy in fleet.proxies] == [[]] * 3
