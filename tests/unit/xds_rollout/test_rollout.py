"""Who of a zone is given what, and when: a canary first, refusals contained, removals last."""

from typing import Any

import pytest
from igw_xds.containment import Refused
from igw_xds.names import LISTENER as INGRESS
from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, NO_RESOURCES, ROUTES, Resource
from igw_xds.stream import Accepted, Holds, Lacks, Rejected

from tests.unit.xds_rollout.zone import Proxy, Zone, cluster, defined, names, routes
from tests.unit.xds_stream.builders import content

ONE, TWO = defined(gateways={"a": 1}), defined(gateways={"a": 2})


def in_step(*numbers: int, snapshot: Any = ONE, **settings: Any) -> Zone:
    """Give a zone whose proxies have all of a snapshot."""
    zone = Zone(**settings)
    zone.publish(snapshot)
    for number in numbers or (1, 2, 3):
        zone.join(number)
    zone.settle()
    assert zone.rollout.served == snapshot
    return zone


def test_a_change_goes_to_the_canary_alone() -> None:
    """The one that has been there longest gets it; the others keep what they have."""
    zone = in_step()
    zone.publish(TWO)
    assert (zone.rollout.canary, zone.rollout.staged) == (1, TWO)
    assert [zone.rollout.given_to(number) for number in (1, 2, 3)] == [TWO, ONE, ONE]


def test_the_others_get_it_when_the_canary_has_accepted_all_of_it() -> None:
    """Not before: what it has not answered yet may be what it refuses."""
    zone = in_step()
    both = defined(gateways={"a": 2, "b": 1})
    zone.publish(both)
    canary = zone.proxies[1]
    canary.snapshot, canary.has[ROUTES, "gateway/a"] = both, routes("a", 2)
    zone.rollout.hear(1, "envoy-1", None, zone.now)
    assert zone.rollout.given_to(2) == ONE
    canary.has[ROUTES, "gateway/b"], canary.idle = routes("b", 1), False
    zone.rollout.hear(1, "envoy-1", None, zone.now)
    assert zone.rollout.given_to(2) == ONE
    canary.idle = True
    zone.rollout.hear(1, "envoy-1", None, zone.now)
    assert (zone.rollout.given_to(2), zone.rollout.staged, zone.rollout.next_deadline) == (both, None, None)


def test_what_the_canary_had_already_goes_on() -> None:
    """A canary that came back with all of it has nothing to answer."""
    zone = Zone()
    zone.publish(TWO)
    returning = Proxy(has={(ROUTES, "gateway/a"): routes("a", 2)})
    zone.join(1, returning)
    zone.join(2)
    assert zone.rollout.given_to(2) is None
    zone.deliver(1)
    assert zone.rollout.given_to(2) == TWO


def test_a_slow_canary_holds_nobody_up_for_long() -> None:
    """After `canary_seconds` the others get the change as well, and it is counted."""
    zone = in_step()
    zone.publish(TWO)
    assert zone.rollout.next_deadline == zone.now + 5
    zone.wait(4.9)
    assert (zone.rollout.given_to(2), zone.rollout.timeouts) == (ONE, 0)
    zone.wait(0.1)
    assert (zone.rollout.given_to(2), zone.rollout.timeouts) == (TWO, 1)


def test_a_slow_canary_is_not_chosen_again_while_others_can_be() -> None:
    """Else each change of the zone waits for it."""
    zone = in_step(1, 2)
    zone.publish(TWO)
    zone.wait(5)
    zone.settle()
    zone.publish(ONE)
    assert zone.rollout.canary == 2
    zone.wait(5)
    zone.settle()
    zone.publish(TWO)
    assert zone.rollout.canary == 1  # both were slow


def test_a_canary_that_leaves_is_followed_by_the_next_at_the_same_deadline() -> None:
    """Proxies that come and go must not put a change off for ever."""
    zone = in_step()
    zone.publish(TWO)
    zone.wait(3)
    zone.leave(1)
    assert (zone.rollout.canary, zone.rollout.given_to(2), zone.rollout.given_to(3)) == (2, TWO, ONE)
    zone.wait(2)
    assert zone.rollout.given_to(3) == TWO


def test_one_proxy_alone_is_its_own_canary() -> None:
    """It gets every change at once."""
    zone = in_step(1)
    zone.publish(TWO)
    zone.settle()
    assert (zone.has(1, ROUTES), zone.rollout.served) == ({"gateway/a": "2"}, TWO)


def test_without_a_canary_all_get_it_at_once() -> None:
    """`canary_seconds` 0."""
    zone = in_step(canary_seconds=0)
    zone.publish(TWO)
    assert [zone.rollout.given_to(number) for number in (1, 2, 3)] == [TWO] * 3
    assert zone.rollout.canary is None


def test_while_one_change_is_on_its_way_newer_ones_wait_and_are_taken_together() -> None:
    """A burst is two stages, not a hundred; the canary is not bothered meanwhile."""
    zone = in_step()
    for number in range(2, 9):
        zone.publish(defined(gateways={"a": number}))
    assert zone.rollout.given_to(1) == TWO
    zone.settle()
    assert [snapshot.version for snapshot in zone.proxies[1].given] == [
        s.version for s in (ONE, TWO, defined(gateways={"a": 8}))
    ]
    assert zone.has(2, ROUTES) == {"gateway/a": "8"}


def test_nobody_connected_means_nothing_is_on_its_way() -> None:
    """The first to come tries what is defined then, not what was an hour ago."""
    zone = Zone()
    zone.publish(ONE)
    zone.publish(TWO)
    zone.wait(3600)
    proxy = zone.join(1)
    zone.join(2)
    zone.settle()
    assert proxy.given == [TWO]
    zone.leave(1)
    zone.publish(ONE)
    zone.leave(2)
    zone.publish(defined(gateways={"a": 3}))
    zone.wait(3600)
    late, later = zone.join(3), zone.join(4)
    assert (zone.rollout.given_to(3), zone.rollout.given_to(4)) == (defined(gateways={"a": 3}), TWO)
    zone.settle()
    assert late.given == later.given == [defined(gateways={"a": 3})]


def test_who_asks_for_little_is_no_canary_and_waits_no_longer_than_others() -> None:
    """It could not accept all; where there is no other, the change goes on after the same time."""
    zone = Zone()
    zone.publish(ONE)
    zone.join(1, Proxy(follows_all=False))
    assert (zone.rollout.canary, zone.rollout.given_to(1)) == (None, None)
    zone.wait(5)
    assert (zone.rollout.given_to(1), zone.rollout.timeouts) == (ONE, 0)
    zone.join(2)
    zone.publish(TWO)
    assert zone.rollout.canary == 2


def test_nothing_goes_backwards() -> None:
    """The canary is never given what was before what it had, whatever happens on the way."""
    zone = in_step()
    zone.publish(TWO)
    zone.deliver(1)
    zone.publish(defined(gateways={"a": 3}))
    zone.leave(1)
    zone.wait(10)
    zone.settle()
    for proxy in zone.proxies.values():
        numbers = [s.of(ROUTES)["gateway/a"] for s in proxy.given]
        assert numbers == sorted(numbers, key=[routes("a", n) for n in (1, 2, 3)].index)


# Refusals


def times_given(zone: Zone, resource: Resource) -> int:
    """Count how often the first proxy was given a resource."""
    given = [snapshot.of(t).get(resource.name) for snapshot in zone.proxies[1].given for t in snapshot.groups]
    return given.count(resource)


def test_what_the_canary_refuses_nobody_else_is_given() -> None:
    """All keep its last accepted version; all else of the same change goes on."""
    zone = in_step()
    zone.proxies[1].bad = {routes("a", 2)}
    zone.publish(defined(gateways={"a": 2, "b": 1}, deployments={"d": 1}))
    zone.settle()
    for number in (1, 2, 3):
        assert zone.has(number, ROUTES) == {"gateway/a": "1", "gateway/b": "1"}
        assert zone.has(number, CLUSTER) == {"deployment/d": "1"}
        assert zone.proxies[number].refused == {}
    assert zone.rollout.refused == {
        (ROUTES, "gateway/a"): Refused(routes("a", 2), "no", "envoy-1", 100, routes("a", 1))
    }
    assert zone.rollout.timeouts == 0
    assert [len(zone.proxies[number].given) for number in (2, 3)] == [2, 2]


def test_a_new_definition_releases_what_was_refused() -> None:
    """It is tried like every change; the same content again is not."""
    zone = in_step()
    zone.proxies[1].bad = {routes("a", 2)}
    zone.publish(TWO)
    zone.settle()
    zone.publish(defined(gateways={"a": 2, "b": 1}))
    zone.settle()
    assert zone.rollout.refused.keys() == {(ROUTES, "gateway/a")}
    assert zone.has(1, ROUTES) == {"gateway/a": "1", "gateway/b": "1"}
    assert times_given(zone, routes("a", 2)) == 1
    zone.publish(defined(gateways={"a": 3, "b": 1}))
    zone.settle()
    assert (zone.rollout.refused, zone.has(3, ROUTES)) == ({}, {"gateway/a": "3", "gateway/b": "1"})


def test_a_cluster_that_is_refused_and_new_is_left_out_with_all_that_leads_to_it() -> None:
    """Routes that need it go back to what they were, and its endpoints are of no use."""
    zone = in_step(snapshot=defined(gateways={"a": 1, "b": 1}, deployments=["d"], needs={"a": "d"}))
    zone.proxies[1].bad = {cluster("e", 1)}
    zone.publish(
        defined(gateways={"a": 2, "b": 2}, deployments=["d", "e"], needs={"a": "de", "b": "d"}),
    )
    zone.settle()
    for number in (1, 2, 3):
        assert zone.has(number, ROUTES) == {"gateway/a": "1", "gateway/b": "2"}
        assert (zone.has(number, CLUSTER), zone.has(number, ENDPOINTS)) == (
            {"deployment/d": "1"},
            {"deployment/d": "7"},
        )
    zone.publish(defined(gateways={"a": 2, "b": 2}, deployments={"d": 1, "e": 2}, needs={"a": "de"}))
    zone.settle()
    assert zone.has(3, ROUTES) == {"gateway/a": "2", "gateway/b": "2"}
    assert zone.has(3, ENDPOINTS).keys() == {"deployment/d", "deployment/e"}


def test_routes_of_a_refused_cluster_stay_back_while_they_change() -> None:
    """They go back to what was accepted, not to what was held back before."""
    zone = in_step(snapshot=defined(gateways={"a": 1}, deployments=["d"], needs={"a": "d"}))
    zone.proxies[1].bad = {cluster("e", 1)}
    for number in (2, 3):
        zone.publish(defined(gateways={"a": number}, deployments=["d", "e"], needs={"a": "de"}))
        zone.settle()
        assert zone.has(2, ROUTES) == {"gateway/a": "1"}
    zone.publish(defined(gateways={"a": 4}, deployments=["d", "e"], needs={"a": "d"}))
    zone.settle()
    assert zone.has(2, ROUTES) == {"gateway/a": "4"}


def test_routes_that_turn_to_a_refused_cluster_later_stay_where_they_work() -> None:
    """Also when they did not change with it."""
    here = {"a": "d"}
    zone = in_step(snapshot=defined(gateways={"a": 1}, deployments=["d"], needs=here))
    zone.proxies[1].bad = {cluster("e", 1)}
    zone.publish(defined(gateways={"a": 1}, deployments=["d", "e"], needs=here))
    zone.settle()
    zone.publish(defined(gateways={"a": 2}, deployments=["e"], needs={"a": "e"}))
    for seconds in (0, 31):
        zone.wait(seconds)
        zone.settle()
        assert zone.has(2, ROUTES) == {"gateway/a": "1"}
        assert zone.has(2, CLUSTER) == {"deployment/d": "1"}
        assert zone.proxies[1].given[-1] == zone.proxies[2].given[-1]


def test_what_all_were_given_though_none_answered_is_what_to_go_back_to() -> None:
    """A canary that was too slow proved nothing; still nobody is to lose what it has."""
    zone = Zone()
    zone.publish(ONE)
    for number in (1, 2):
        zone.join(number)
    zone.wait(5)
    zone.publish(TWO)
    zone.proxies[2].bad = {routes("a", 2)}
    assert (zone.rollout.canary, zone.rollout.served) == (2, ONE)
    zone.deliver(2)
    zone.settle()
    assert [zone.has(number, ROUTES) for number in (1, 2)] == [{"gateway/a": "1"}] * 2
    assert zone.rollout.refused[ROUTES, "gateway/a"].resource == routes("a", 2)


def test_who_refuses_what_another_accepted_is_odd() -> None:
    """Nobody else is touched, and nothing is held back."""
    zone = in_step()
    zone.proxies[3].bad = {routes("a", 2)}
    zone.publish(TWO)
    zone.settle()
    assert zone.rollout.refused == {}
    assert [zone.has(number, ROUTES)["gateway/a"] for number in (1, 2, 3)] == ["2", "2", "1"]
    assert zone.rollout.served == TWO


def test_a_refusal_after_the_canarys_time_is_contained_while_nobody_accepted() -> None:
    """Who answers first decides, be it the canary or not."""
    zone = in_step()
    zone.proxies[2].bad = zone.proxies[3].bad = {routes("a", 2)}
    zone.publish(TWO)
    zone.wait(5)
    zone.deliver(2)
    zone.settle()
    assert [zone.has(number, ROUTES)["gateway/a"] for number in (1, 2, 3)] == ["1"] * 3
    assert [proxy.refused for proxy in zone.proxies.values()] == [{}] * 3
    assert [len(zone.proxies[number].given) for number in (2, 3)] == [3, 2]


def test_what_the_canary_refuses_while_newer_waits_goes_no_further() -> None:
    """The newer is tried instead; the others never see the bad one."""
    zone = in_step()
    zone.proxies[1].bad = {routes("a", 2)}
    zone.publish(TWO)
    zone.publish(defined(gateways={"a": 3}))
    zone.settle()
    assert zone.rollout.refused == {}
    for number in (2, 3):
        assert [s.of(ROUTES)["gateway/a"] for s in zone.proxies[number].given] == [
            routes("a", 1),
            routes("a", 3),
        ]


def test_what_was_accepted_while_newer_waited_is_what_to_go_back_to() -> None:
    """Not to the one before it."""
    zone = in_step()
    zone.proxies[1].bad = {routes("a", 3)}
    zone.publish(TWO)
    zone.publish(defined(gateways={"a": 3}))
    zone.settle()
    assert zone.rollout.refused[ROUTES, "gateway/a"].kept == routes("a", 2)
    assert [zone.has(number, ROUTES)["gateway/a"] for number in (1, 2, 3)] == ["2"] * 3


def half_way() -> Zone:
    """Give a zone with two changes on their way: the canary has not answered the first, and the newer waits."""
    zone = in_step(snapshot=defined(gateways={"a": 1, "b": 1}))
    zone.publish(defined(gateways={"a": 2, "b": 2}))
    zone.publish(defined(gateways={"a": 3, "b": 3}))
    return zone


def answer(zone: Zone, number: int, name: str, content: int, *, refused: bool = False) -> None:
    """Let a proxy answer routes of a number."""
    key, resource, proxy = (ROUTES, f"gateway/{name}"), routes(name, content), zone.proxies[number]
    names = frozenset({key[1]})
    proxy.refused[key] = resource
    if not refused:
        proxy.has[key] = proxy.refused.pop(key)
    said = Rejected(ROUTES, names, "no") if refused else Accepted(ROUTES, names)
    zone.rollout.hear(number, f"envoy-{number}", said, zone.now)


@pytest.mark.parametrize("accepted_first", [True, False])
def test_what_the_canary_accepted_of_what_is_not_to_be_had_counts(*, accepted_first: bool) -> None:
    """Of a change of which it refuses a part, and that a newer one replaces: before the refusal or after it."""
    zone = half_way()
    zone.proxies[1].idle = False
    if accepted_first:
        answer(zone, 1, "a", 2)
    answer(zone, 1, "b", 2, refused=True)
    if not accepted_first:
        answer(zone, 1, "a", 2)
    answer(zone, 1, "a", 3, refused=True)
    assert zone.rollout.refused[ROUTES, "gateway/a"].kept == routes("a", 2)


def test_a_late_answer_to_what_is_older_changes_nothing_to_go_back_to() -> None:
    """A slow proxy that accepts the one before last does not make that the last accepted."""
    zone = half_way()
    zone.proxies[1].idle = False
    answer(zone, 1, "a", 2)
    answer(zone, 3, "a", 1)
    answer(zone, 1, "b", 2, refused=True)
    answer(zone, 1, "a", 3, refused=True)
    assert zone.rollout.refused[ROUTES, "gateway/a"].kept == routes("a", 2)


@pytest.mark.parametrize("bad", [content("igw-extauth", 2), content(INGRESS, 2)], ids=["cluster", "listener"])
def test_what_all_gateways_share_is_never_held_back(bad: Any) -> None:
    """It is the same whatever is defined: a proxy that refuses it is too old or broken, and the others are not."""

    def shared(number: int) -> Any:
        return defined(listeners={INGRESS: number}, services={"igw-extauth": number})

    zone = in_step(snapshot=shared(1))
    zone.proxies[1].bad = {bad}
    zone.publish(shared(2))
    zone.settle()
    assert (zone.rollout.refused, zone.rollout.timeouts) == ({}, 0)
    for number in (2, 3):
        assert {**zone.has(number, LISTENER), **zone.has(number, CLUSTER)} == {
            INGRESS: "2",
            "igw-extauth": "2",
        }


# Names that are withheld


def after_a_restart(*proxies: Proxy) -> Zone:
    """Give a zone whose first snapshot has routes that its canary refuses: what came before them is not known."""
    zone = Zone()
    for number, proxy in enumerate(proxies, start=1):
        proxy.bad.add(routes("a", 2))
        zone.join(number, proxy)
    zone.publish(defined(gateways={"a": 2, "b": 1}))
    zone.settle()
    return zone


def test_what_was_refused_and_never_accepted_is_withheld() -> None:
    """Who has an earlier version from another control plane keeps it; who has none does not get it."""
    has = Proxy(has={(ROUTES, "gateway/a"): routes("a", 1)})
    zone = after_a_restart(Proxy(), has)
    served = zone.rollout.served
    assert served is not None
    assert (names(served, ROUTES), served.withheld) == ({"gateway/b"}, {ROUTES: frozenset({"gateway/a"})})
    assert zone.has(1, ROUTES) == {"gateway/b": "1"}
    assert zone.has(2, ROUTES) == {"gateway/a": "1", "gateway/b": "1"}


def test_what_was_withheld_and_is_defined_no_more_goes() -> None:
    """Routes at once; nobody keeps what nobody defines."""
    has = Proxy(has={(ROUTES, "gateway/a"): routes("a", 1)})
    zone = after_a_restart(Proxy(), has)
    zone.publish(defined(gateways={"b": 1}))
    zone.settle()
    assert zone.has(2, ROUTES) == {"gateway/b": "1"}


def test_a_cluster_that_was_withheld_lingers_with_who_has_it() -> None:
    """A removed cluster is served for a while more; of one that is withheld that means: not taken away."""
    old = Proxy(has={(CLUSTER, "deployment/d"): cluster("d", 1)})
    zone = Zone()
    for number, proxy in enumerate((Proxy(), old), start=1):
        proxy.bad.add(cluster("d", 2))
        zone.join(number, proxy)
    zone.publish(defined(deployments={"d": 2}))
    zone.settle()
    assert zone.has(2, CLUSTER) == {"deployment/d": "1"}
    zone.publish(defined())
    zone.settle()
    assert zone.has(2, CLUSTER) == {"deployment/d": "1"}
    zone.wait(30)
    zone.settle()
    assert zone.has(2, CLUSTER) == {}


# What vanishes


BOTH = defined(deployments=["a", "b"], gateways=["q", "r"])
LEFT = defined(deployments=["a"], gateways=["r"])
LINGERING = defined(deployments=["a", "b"], gateways=["r"])


def test_clusters_and_endpoints_linger() -> None:
    """What vanished is served until its deadline; routes go at once."""
    zone = in_step(snapshot=BOTH)
    zone.publish(LEFT)
    zone.settle()
    assert (zone.rollout.served, zone.rollout.next_deadline) == (LINGERING, 130)


def test_after_the_deadline_only_the_newest_is_served() -> None:
    """At the deadline what lingers goes."""
    zone = in_step(snapshot=BOTH)
    zone.publish(LEFT)
    zone.settle()
    zone.wait(30)
    zone.settle()
    assert (zone.rollout.served, zone.rollout.next_deadline) == (LEFT, None)


def test_later_publishes_do_not_move_a_deadline() -> None:
    """A cluster goes when its own grace ends, however often is published meanwhile."""
    zone = in_step(snapshot=BOTH)
    zone.publish(LEFT)
    zone.wait(29)
    newer = defined(deployments={"a": 2}, gateways=["r"])
    zone.publish(newer)
    zone.settle()
    assert zone.rollout.next_deadline == 130
    assert zone.rollout.served == defined(deployments={"a": 2, "b": 1}, gateways=["r"])
    zone.wait(1)
    zone.settle()
    assert zone.rollout.served == newer


def test_what_comes_back_stays() -> None:
    """A resource that comes back, with its new content, has no deadline."""
    zone = in_step(snapshot=BOTH)
    zone.publish(LEFT)
    zone.wait(10)
    again = defined(deployments={"a": 1, "b": 2}, gateways=["r"])
    zone.publish(again)
    zone.settle()
    assert (zone.rollout.served, zone.rollout.next_deadline) == (again, None)


def test_without_grace_nothing_lingers() -> None:
    """Zero seconds of grace serve just the newest."""
    zone = in_step(snapshot=BOTH, grace_seconds=0)
    zone.publish(LEFT)
    zone.wait(0)
    zone.settle()
    assert zone.rollout.served == LEFT


def test_equal_parts_are_the_same_objects() -> None:
    """Streams compare by identity first, so what did not change keeps its objects."""
    zone = in_step(snapshot=BOTH)
    newer = BOTH.changed({CLUSTER: [cluster("b", 2)]}, {})
    zone.publish(newer)
    zone.settle()
    served = zone.rollout.served
    assert served is not None
    assert served.of(ENDPOINTS) is BOTH.of(ENDPOINTS)
    assert served.of(CLUSTER)["deployment/a"] is BOTH.of(CLUSTER)["deployment/a"]


def test_an_equal_snapshot_changes_nothing() -> None:
    """Publishing the same content again wakes nobody and keeps the deadline."""
    zone = in_step(snapshot=BOTH)
    zone.publish(LEFT)
    zone.settle()
    before, since, deadline = zone.rollout.served, zone.rollout.since, zone.rollout.next_deadline
    zone.wait(1)
    zone.publish(defined(deployments=["a"], gateways=["r"]))
    assert (zone.rollout.served is before, zone.rollout.staged) == (True, None)
    assert (zone.rollout.since, zone.rollout.next_deadline) == (since, deadline)


def test_what_lingers_is_what_was_served() -> None:
    """A cluster that was refused and is then removed lingers as it was accepted, not as it was refused."""
    zone = in_step(snapshot=defined(deployments=["d"]))
    zone.proxies[1].bad = {cluster("d", 2)}
    zone.publish(defined(deployments={"d": 2}))
    zone.settle()
    zone.publish(defined())
    zone.settle()
    assert [zone.has(number, CLUSTER) for number in (1, 2, 3)] == [{"deployment/d": "1"}] * 3
    assert times_given(zone, cluster("d", 2)) == 1
    zone.wait(30)
    zone.settle()
    assert zone.has(2, CLUSTER) == {}


def test_what_lingers_and_is_refused_lingers_as_it_was() -> None:
    """Its removal was published before the canary had answered."""
    zone = in_step(snapshot=defined(deployments=["d"]))
    zone.proxies[1].bad = {cluster("d", 2)}
    zone.publish(defined(deployments={"d": 2}))
    zone.publish(defined())
    zone.settle()
    zone.publish(defined(gateways=["a"]))
    zone.settle()
    assert [zone.has(number, CLUSTER) for number in (1, 2, 3)] == [{"deployment/d": "1"}] * 3
    assert [len(proxy.given) for proxy in zone.proxies.values()] == [4, 3, 3]


def test_routes_that_are_kept_keep_the_clusters_that_they_need() -> None:
    """With their endpoints, also when their time is over: they are served, and lead there."""
    old = cluster("old", 1)
    first = defined(gateways={"a": 1}, deployments=["old"], needs={"a": ["old"]})
    zone = in_step(snapshot=first)
    zone.proxies[1].bad = {routes("a", 2, "new")}
    zone.publish(defined(gateways={"a": 2}, deployments=["new"], needs={"a": ["new"]}))
    for seconds in (0, 31, 31):
        zone.wait(seconds)
        zone.settle()
        assert zone.has(2, ROUTES) == {"gateway/a": "1"}
        assert zone.proxies[2].standing(CLUSTER, "deployment/old") == Holds(old)
        assert zone.has(2, ENDPOINTS).keys() == {"deployment/old", "deployment/new"}
    zone.publish(defined(gateways={"a": 3}, deployments=["new"], needs={"a": ["new"]}))
    zone.settle()
    zone.wait(31)
    zone.settle()
    assert zone.proxies[2].standing(CLUSTER, "deployment/old") == Lacks()


def test_what_may_go_back_keeps_the_clusters_that_it_would_need() -> None:
    """New clusters may take longer to warm than the old ones linger: nobody has accepted the new routes by then."""
    zone = in_step(snapshot=defined(gateways={"a": 1}, deployments=["old"], needs={"a": ["old"]}))
    zone.publish(defined(gateways={"a": 2}, deployments=["new"], needs={"a": ["new"]}))
    zone.wait(31)
    zone.proxies[1].bad = zone.proxies[2].bad = zone.proxies[3].bad = {routes("a", 2)}
    zone.settle()
    for proxy in zone.proxies.values():
        assert proxy.standing(ROUTES, "gateway/a") == Holds(routes("a", 1))
        assert proxy.standing(CLUSTER, "deployment/old") == Holds(cluster("old", 1))
    zone.publish(defined(gateways={"a": 3}, deployments=["new"], needs={"a": ["new"]}))
    zone.settle()
    zone.wait(31)
    zone.settle()
    assert zone.has(1, CLUSTER) == {"deployment/new": "1"}


def test_a_zone_without_anything_is_served_all_the_same() -> None:
    """An unknown zone gets an empty snapshot, and nobody waits for an answer to nothing."""
    zone = Zone()
    zone.publish(NO_RESOURCES)
    zone.join(1)
    zone.join(2)
    zone.settle()
    assert [proxy.given for proxy in zone.proxies.values()] == [[NO_RESOURCES]] * 2


# Who is canary next, and what is proven without one


def test_slow_canaries_take_turns() -> None:
    """One that let us wait goes last: it is neither never chosen again, nor for ever in the way of the others."""
    zone = in_step(1, 2)
    chosen = []
    for number in range(2, 7):
        zone.publish(defined(gateways={"a": number}))
        chosen.append(zone.rollout.canary)
        zone.wait(5)
        zone.settle()
    assert chosen == [1, 2, 1, 2, 1]


@pytest.mark.parametrize("seconds", [0, 5])
def test_what_came_back_with_a_proxy_is_proven(seconds: float) -> None:
    """After a restart nobody answers what it has already: one that refuses it then is odd, and nothing is withheld."""
    zone = Zone(canary_seconds=seconds)
    zone.publish(TWO)
    for number in (1, 2):
        zone.join(number, Proxy(has={(ROUTES, "gateway/a"): routes("a", 2)}))
    zone.settle()
    zone.join(3, Proxy(bad={routes("a", 2)}))
    zone.settle()
    assert (zone.rollout.refused, zone.rollout.served) == ({}, TWO)
    assert zone.has(2, ROUTES) == {"gateway/a": "2"}
