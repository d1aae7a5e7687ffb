"""A change of one thing changes that thing's resources alone, and never the listener."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from igw_model.deployment import Deployment
from igw_model.gateway import Gateway
from igw_xds.plan import plan
from igw_xds.resources.everything import snapshot_of
from igw_xds.settings import DataPlane
from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SCOPE, TYPES, Snapshot

from tests.builders import DOMAIN, containers, deployment, deployment_id, gateway, gateway_id, served, static
from tests.unit.resources.plans import definitions, gateways

SHORT = {CLUSTER: "cluster", ENDPOINTS: "endpoints", LISTENER: "listener", SCOPE: "scope", ROUTES: "routes"}
Changes = dict[str, dict[str, str]]
"""Kind of resource → name → what happened to it."""


def changes(before: Snapshot, after: Snapshot) -> Changes:
    """Give what was added, removed and changed from one snapshot to another."""
    found: Changes = {}
    for type_url in TYPES:
        old, new = before.of(type_url), after.of(type_url)
        kinds = dict.fromkeys(new.keys() - old.keys(), "added")
        kinds |= dict.fromkeys(old.keys() - new.keys(), "removed")
        kinds |= {name: "changed" for name in old.keys() & new.keys() if old[name] != new[name]}
        if kinds:
            found[SHORT[type_url]] = kinds
    return found


def host(number: int) -> str:
    """Give the scope of a gateway's generated host name."""
    return f"host/api.{gateway_id(number)}.{DOMAIN}"


def routes(number: int) -> str:
    """Give a gateway's route configuration."""
    return f"gateway/{gateway_id(number)}"


def cluster(number: int) -> str:
    """Give a deployment's cluster, and its endpoints."""
    return f"deployment/{deployment_id(number)}"


BASE: list[Gateway | Deployment] = [
    gateway(1),
    gateway(2, pathBasedRouting={}),
    deployment(1, weight=900, on=[1]),
    deployment(2, weight=100, on=[1]),
    deployment(3, weight=5, on=[2], model={"name": "demo-large"}),
]


def changed(*replaced: Gateway | Deployment) -> Changes:
    """Give what changes when definitions of BASE are replaced by others with the same id, or added."""
    ids = {definition.id for definition in replaced}
    return changes(served(*BASE), served(*(d for d in BASE if d.id not in ids), *replaced))


def test_adding_a_gateway() -> None:
    """A new gateway is a scope and a route configuration; nobody else's resource changes."""
    assert changed(gateway(3)) == {"scope": {host(3): "added"}, "routes": {routes(3): "added"}}


def test_removing_a_gateway() -> None:
    """A gateway goes with its scope and routes; a deployment that it alone named goes too."""
    assert changes(served(*BASE), served(BASE[0], *BASE[2:])) == {
        "scope": {host(2): "removed"},
        "routes": {routes(2): "removed"},
        "cluster": {cluster(3): "removed"},
        "endpoints": {cluster(3): "removed"},
    }


def test_changing_a_weight() -> None:
    """A split is in the routes of its own gateway; clusters and endpoints stay."""
    assert changed(deployment(1, weight=500, on=[1])) == {"routes": {routes(1): "changed"}}


def test_weights_in_the_same_proportion() -> None:
    """900 to 100 and 9 to 1 are the same split: nothing is sent."""
    assert changed(deployment(1, weight=9, on=[1]), deployment(2, weight=1, on=[1])) == {}


def test_changing_replicas() -> None:
    """Replicas that come and go are endpoints and nothing else."""
    assert changed(deployment(1, weight=900, on=[1], staticBackend=static(7001, 7002))) == {
        "endpoints": {cluster(1): "changed"}
    }


def test_changing_containers() -> None:
    """Containers that come and go are endpoints and nothing else, the first and the last of them too."""
    contained = deployment(1, dockerBackend={"port": 8000})

    def at(*addresses: str) -> Snapshot:
        found = {contained.id: containers(contained, *addresses)}
        return snapshot_of(plan([gateway()], [contained], domain=DOMAIN, replicas=found), DataPlane())

    for before, after in ((at(), at("10.0.0.1")), (at("10.0.0.1", "10.0.0.2"), at("10.0.0.2"))):
        for old, new in ((before, after), (after, before)):
            assert changes(old, new) == {"endpoints": {cluster(1): "changed"}}


def test_changing_a_strategy_or_addresses() -> None:
    """How a gateway routes and whom it admits is in its routes."""
    assert changed(gateway(1, pathBasedRouting={})) == {"routes": {routes(1): "changed"}}
    ranges = {"allowedSourceIpRanges": ["10.0.0.0/8"]}
    assert changed(gateway(1, endpointConfiguration=ranges)) == {"routes": {routes(1): "changed"}}


def test_adding_a_host_name() -> None:
    """A further name is a scope."""
    names = {"additionalDns": ["chat.example.com"]}
    assert changed(gateway(1, endpointConfiguration=names)) == {"scope": {"host/chat.example.com": "added"}}


def test_renaming() -> None:
    """Names for people are no part of what Envoy is told."""
    assert (
        changed(
            gateway(1, name="other"), deployment(3, weight=5, on=[2], name="x", model={"name": "demo-large"})
        )
        == {}
    )


def test_disabling_a_deployment() -> None:
    """A disabled deployment's share goes to the others; its cluster stays, and is warm when it comes back."""
    found = changed(deployment(3, weight=5, on=[2], model={"name": "demo-large"}, disabled=True))
    assert found == {"routes": {routes(2): "changed"}}


@given(definitions(), st.data())
@settings(max_examples=40, deadline=None)
def test_any_gateway_change_is_its_own(before: list[Gateway | Deployment], data: Any) -> None:
    """Whatever is served: changing gateway 1 touches its own scopes and routes, and never the listener."""
    after = [data.draw(gateways(1)), *before[1:]]
    found = changes(served(*before), served(*after))
    assert found.keys() <= {"scope", "routes"}
    assert found.get("routes", {}).keys() <= {routes(1)}
    assert found.get("scope", {}).keys() <= {"host/g1.example.com"}


@given(definitions(), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_any_weight_change_stays_with_its_gateways(before: list[Gateway | Deployment], weight: int) -> None:
    """Whatever is served: a weight touches the routes and fall-backs of the deployment's gateways alone."""
    after = [_weighed(d, weight) if d.id == deployment_id(1) else d for d in before]
    mine = {
        f"gateway/{key}"
        for d in before
        if isinstance(d, Deployment) and d.id == deployment_id(1)
        for key in d.gateway_ids
    }
    found = changes(served(*before), served(*after))
    assert found.keys() <= {"routes", "cluster"}
    assert found.get("routes", {}).keys() <= mine
    assert all(
        name.startswith("split/") and how != "changed" for name, how in found.get("cluster", {}).items()
    )


def _weighed(definition: Gateway | Deployment, weight: int) -> Gateway | Deployment:
    assert isinstance(definition, Deployment)
    return definition.model_copy(update={"traffic": definition.traffic.model_copy(update={"weight": weight})})
