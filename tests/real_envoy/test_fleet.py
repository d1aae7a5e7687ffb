"""Fleets: zones, canaries, restarts, stuck Envoys; with real Envoys, a real control plane, and clients that count."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random

import pytest

from tests.real_envoy.churn import Churn
from tests.real_envoy.counting import Count, Way, counted
from tests.real_envoy.fleet import (
    CANARY_SECONDS,
    ROUTINGS,
    Document,
    Plane,
    Proxy,
    Zone,
    backend,
    control_plane,
    envoys,
    file_deployment,
    file_gateway,
)
from tests.real_envoy.running import Running, eventually
from tests.real_envoy.test_status import TOO_LARGE

CHANGES = 200
SEED = 5
KINDS = 9
"""Kinds of random changes, of which each is to be made."""
STEPS = 10
"""Changes while one proxy is stuck."""
MANY = 300
"""Gateways in the store while an Envoy starts."""


@pytest.fixture(scope="module")
def plane(gateway: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane that the tests share; each has a zone of its own."""
    with control_plane(gateway, tmp_path_factory.mktemp("fleet")) as running:
        yield running


def zone(plane: Plane, gateway: Running, name: str) -> Zone:
    return Zone(plane, name, gateway.token)


def updates(proxy: Proxy) -> dict[str, int]:
    """Give how many responses a proxy got, by what of it they were for."""
    return proxy.stats(r"(cds|lds|rds|deployment)\..*update_(attempt|success|rejected)$")


def accepted(proxy: Proxy, gateway: Document) -> int:
    """Give how many versions of a gateway's routes a proxy took."""
    return proxy.stats(f"rds.gateway/{gateway['id']}.update_success$").popitem()[1]


def rejected(proxy: Proxy, gateway: Document) -> int:
    """Give how many versions of a gateway's routes a proxy refused."""
    return proxy.stats(f"rds.gateway/{gateway['id']}.update_rejected$").popitem()[1]


def nothing_failed(count: Count, *proxies: Proxy, least: int = 20) -> None:
    """Assert that the clients of each proxy were served, all of the time."""
    assert count.failures == []
    assert all(count.served[proxy.id] >= least for proxy in proxies), count.served


def test_each_proxy_gets_its_own_zone_alone(plane: Plane, gateway: Running) -> None:
    """It has and serves no other's gateways, and a change for one zone is sent to no proxy of another: counted."""
    east, west = zone(plane, gateway, "EAST"), zone(plane, gateway, "WEST")
    ours, theirs = east.gateway("ours"), west.gateway("theirs", "path")
    serving = [east.deployment("one", ours), west.deployment("two", theirs)]
    with envoys(plane, "EAST", "a", "b") as [a, b], envoys(plane, "west", "a", "b") as [c, d]:
        for proxy, own, other in ((a, 0, 1), (b, 0, 1), (c, 1, 0), (d, 1, 0)):
            made, ways = (ours, theirs), (east.way(ours), west.way(theirs))
            dump, port = proxy.dump(), proxy.port()
            assert all(found[own]["id"] in dump for found in (made, serving))
            assert not any(found[other]["id"] in dump for found in (made, serving))
            assert (ways[own].ask(port), ways[other].ask(port)) == (200, 404)
        before, sent = [updates(proxy) for proxy in (c, d)], plane.sent()
        east.deployment("three", ours, model="demo/other")
        eventually(lambda: east.in_step(a, b) and plane.sent() - sent == {"cds": 2, "eds": 2, "rds": 2})
        assert [east.way(ours, "demo/other").ask(proxy.port()) for proxy in (a, b)] == [200, 200]
        assert [updates(proxy) for proxy in (c, d)] == before


def test_a_proxy_of_an_unknown_zone_waits_for_work(plane: Plane, gateway: Running) -> None:
    """It is ready with nothing to serve, and it is told why; a gateway of its zone is served without a restart."""
    with envoys(plane, "NOWHERE", "a") as [stray]:
        assert (stray.ready(), stray.port()) == (200, 0)
        assert plane.proxy(stray.id)["reason"] == "zone NOWHERE is not one of ours"
        assert [plane.zone("NOWHERE")[key] for key in ("known", "proxies")] == [False, 1]
        late = file_gateway(1, "NOWHERE")
        plane.define("nowhere.yaml", [late], [file_deployment(1, [late], plane.replicas[0])])
        way = zone(plane, gateway, "NOWHERE").way(late)
        eventually(lambda: stray.port() != 0)
        assert (stray.ready(), way.ask(stray.port())) == (200, 200)
        assert plane.proxy(stray.id)["reason"] == ""


@pytest.mark.alone
def test_a_poisonous_change_stops_at_the_canary(plane: Plane, gateway: Running) -> None:
    """One proxy alone is ever sent it, and none loses what it had; all else reaches all, and so does what is mended.

    The definition says what is wrong, in Envoy's words, within a second. A control plane that is restarted meanwhile
    lets one proxy try it again, and it is no other way then.
    """
    poisoned = zone(plane, gateway, "POISONED")
    picky, other = poisoned.gateway("picky", "path"), poisoned.gateway("other")
    poisoned.deployment("kept", picky, other)
    with (
        envoys(plane, "POISONED", "a", "b", "c", strict=True) as proxies,
        counted([poisoned.way(picky), poisoned.way(other)], proxies) as count,
    ):
        bad = poisoned.deployment("bad", picky, other, model=TOO_LARGE)
        eventually(lambda: plane.said("gateway", picky)[0] == "ERROR", seconds=1, pause=0.01)
        assert "program size" in plane.said("gateway", picky)[1]
        # The same transaction changed the other gateway, which has no use for a regular expression.
        eventually(lambda: serve(proxies, poisoned.way(other, TOO_LARGE)))
        poisoned.deployment("after", other, model="demo/after")
        eventually(lambda: serve(proxies, poisoned.way(other, "demo/after")))
        refused = {proxy.id: rejected(proxy, picky) for proxy in proxies}
        assert sorted(refused.values()) == [0, 0, 2]  # with the other gateway's, and alone

        plane.stop()
        plane.start()
        eventually(lambda: poisoned.in_step(*proxies) and plane.said("gateway", picky)[0] == "ERROR")
        again = [rejected(proxy, picky) - refused[proxy.id] for proxy in proxies]
        assert sorted(again) == [0, 0, 1]
        plane.put("deployment", {**bad, "model": {"name": "demo/mended"}})
        eventually(lambda: serve(proxies, poisoned.way(picky, "demo/mended")))
        eventually(lambda: plane.said("gateway", picky)[0] == "READY")
        assert plane.canary_timeouts() == 0
    nothing_failed(count, *proxies)


def serve(proxies: Sequence[Proxy], way: Way) -> bool:
    """Say whether all of these answer."""
    return all(way.ask(proxy.port()) == 200 for proxy in proxies)


def test_random_changes_fail_no_request(plane: Plane, gateway: Running) -> None:
    """As many as the API takes, of weights, deployments, replicas, gateways and names."""
    busy = zone(plane, gateway, "BUSY")
    kept = [busy.gateway(f"kept-{routing}", routing) for routing in ROUTINGS]
    churn = Churn(busy, Random(SEED), kept)  # noqa: S311 - no secret
    with (
        envoys(plane, "BUSY", "a", "b") as proxies,
        counted([busy.way(one) for one in kept], proxies) as count,
    ):
        for _ in range(CHANGES):
            churn.change()
        eventually(lambda: busy.in_step(*proxies))
    assert count.failures == [], f"seed {SEED}: {churn.done}"
    nothing_failed(count, *proxies)
    assert len(churn.done) == KINDS, f"seed {SEED}: {churn.done}"


@pytest.mark.alone
def test_replicas_that_replace_all_others_serve_at_once(plane: Plane, gateway: Running) -> None:
    """What fails, fails until their first health check, some milliseconds; Envoy would wait for up to two seconds."""
    moved = zone(plane, gateway, "MOVED")
    made = moved.gateway("moved")
    alone = moved.deployment("alone", made)
    with envoys(plane, "MOVED", "a") as [proxy], counted([moved.way(made)], [proxy]) as count:
        for port in (*plane.replicas, *plane.replicas):
            plane.put("deployment", {**alone, "staticBackend": backend(port)})
            time.sleep(0.4)
            before = len(count.failures)
            time.sleep(0.2)
            assert len(count.failures) == before, count.failures


def test_a_restart_of_the_control_plane_sends_what_changed_alone(plane: Plane, gateway: Running) -> None:
    """Three restarts: after nothing changed, at a change's very moment, and with a change of a file meanwhile."""
    restarted = zone(plane, gateway, "RESTARTED")
    filed = file_gateway(2, "RESTARTED")
    plane.define("restarted.yaml", [filed], [file_deployment(2, [filed], plane.replicas[0])])
    kept = [restarted.gateway(f"again-{routing}", routing) for routing in ROUTINGS]
    arms = [restarted.deployment(f"arm-{number}", *kept, replica=number) for number in (0, 1)]
    ways = [restarted.way(one) for one in (*kept, filed)]
    with envoys(plane, "RESTARTED", "a", "b") as proxies, counted(ways, proxies) as count:
        for number in range(20):
            plane.put("deployment", {**arms[0], "traffic": {"weight": number + 2}})
        # In step with what was published: an answered write is, a moment later, which READY says.
        eventually(lambda: plane.said("deployment", arms[0])[0] == "READY" and restarted.in_step(*proxies))
        restart(restarted, proxies)
        assert plane.sent() == {}

        plane.put("deployment", {**arms[0], "traffic": {"weight": 50}})
        restart(restarted, proxies)
        assert plane.sent() <= Counter({"rds": len(proxies) * len(kept)})

        plane.stop()
        second = file_deployment(3, [filed], plane.replicas[1], model={"name": "demo/other"})
        first = file_deployment(2, [filed], plane.replicas[0])
        plane.define("restarted.yaml", [filed], [first, second])
        plane.start()
        eventually(lambda: restarted.in_step(*proxies))
        assert plane.sent() == dict.fromkeys(("cds", "eds", "rds"), len(proxies))
        assert serve(proxies, restarted.way(filed, "demo/other"))
    nothing_failed(count, *proxies)


def restart(zone: Zone, proxies: Sequence[Proxy]) -> None:
    """Restart the control plane, and wait until all are back and in step."""
    zone.plane.stop()
    zone.plane.start()
    eventually(lambda: zone.in_step(*proxies))


def test_an_envoy_is_ready_once_it_has_everything(plane: Plane, gateway: Running) -> None:
    """From the moment that a new one's `/ready` is 200 it serves each of hundreds of gateways; another goes on.

    The control plane works for moments alone, so that there are many in which a part is missing, and not any more
    once the Envoy says that it is ready.
    """
    loaded = zone(plane, gateway, "LOADED")
    gateways = [file_gateway(100 + number, "LOADED") for number in range(MANY)]
    parts = [gateways[start : start + 100] for start in range(0, MANY, 100)]
    deployments = [
        file_deployment(100 + number, part, plane.replicas[number % 2])
        for number, part in enumerate([*parts, *parts])
    ]
    plane.define("loaded.yaml", gateways, deployments)
    ways = [loaded.way(one) for one in gateways]
    with envoys(plane, "LOADED", "old") as [old]:
        # Published and tried by the canary, which `old` is: until then the others get what was there before.
        eventually(lambda: old.port() != 0 and serve([old], ways[-1]) and loaded.in_step(old))
        with counted(ways[:3], [old]) as count, envoys(plane, "LOADED", "new", wait=False) as [new]:
            try:
                eventually(lambda: new.ready() == 200 or plane.work(0.005), 60, pause=0.01)
                port = new.port()
                assert [way.ask(port) for way in ways] == [200] * MANY
            finally:
                plane.thaw()
            with counted(ways[-3:], [new]) as counted_anew:
                eventually(lambda: counted_anew.served[new.id] > 100)
    nothing_failed(counted_anew, new)
    nothing_failed(count, old)


@pytest.mark.alone
@pytest.mark.parametrize("stuck", ["canary", "other"])
def test_a_stuck_proxy_holds_up_nobody(plane: Plane, gateway: Running, stuck: str) -> None:
    """The others wait for a canary for a while and for another not at all; it gets the newest alone once it is back."""
    held = zone(plane, gateway, f"STUCK-{stuck}".upper())
    made = held.gateway("held")
    arms = [held.deployment(f"arm-{number}", made, replica=number) for number in (0, 1)]
    with envoys(plane, held.name, "a", "b", "c") as proxies:
        [frozen] = [proxy for proxy in proxies if plane.proxy(proxy.id)["canary"] == (stuck == "canary")][:1]
        others = [proxy for proxy in proxies if proxy is not frozen]
        before = accepted(frozen, made)
        frozen.freeze()
        try:
            took = [reached(plane, arms[0], number + 2, made, others) for number in range(STEPS)]
        finally:
            frozen.thaw()
        least, most = (CANARY_SECONDS, CANARY_SECONDS + 1) if stuck == "canary" else (0, 1)
        assert least <= took[0] < most
        assert max(took[1:]) < 1
        eventually(lambda: held.in_step(*proxies))
        assert accepted(frozen, made) == before + 2  # the first, which was on its way to it, and the last
        assert {routes(proxy, made) for proxy in proxies} == {routes(others[0], made)}


def reached(plane: Plane, arm: Document, weight: int, gateway: Document, proxies: Sequence[Proxy]) -> float:
    """Set a weight; give the seconds until all of these have it."""
    before = [accepted(proxy, gateway) for proxy in proxies]
    began = time.monotonic()
    plane.put("deployment", {**arm, "traffic": {"weight": weight}})
    eventually(
        lambda: all(accepted(p, gateway) > had for p, had in zip(proxies, before, strict=True)), pause=0.01
    )
    return time.monotonic() - began


def routes(proxy: Proxy, gateway: Document) -> str:
    """Give the routes of a gateway as a proxy has them."""
    dump = proxy.http.get(f"{proxy.admin}/config_dump?resource=dynamic_route_configs").json()
    [found] = [one for one in dump["configs"] if one["route_config"]["name"] == f"gateway/{gateway['id']}"]
    return json.dumps(found["route_config"], sort_keys=True)
