"""With a memo the snapshot is the same, and a change costs what changed."""

from hypothesis import given, settings
from hypothesis import strategies as st
from igw_model.deployment import Deployment
from igw_model.gateway import Gateway
from igw_xds.resources.everything import Memo, snapshot_of
from igw_xds.settings import DataPlane
from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SCOPE, TYPES

from tests.builders import deployment, deployment_id, gateway, gateway_id, planned
from tests.unit.resources.plans import definitions

BASE: list[Gateway | Deployment] = [
    gateway(1),
    gateway(2),
    deployment(1, weight=1),
    deployment(2, weight=1),
    deployment(3, on=[2]),
]


@given(st.lists(definitions(), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_whatever_was_before_the_snapshot_is_that_of_the_plan(
    history: list[list[Gateway | Deployment]],
) -> None:
    """After any history of plans a memo gives what is given without one, byte for byte."""
    memo = Memo()
    for made in (planned(*found) for found in history):
        with_memo, without = snapshot_of(made, DataPlane(), memo), snapshot_of(made, DataPlane())
        assert with_memo == without
        for type_url in TYPES:
            assert [(r.name, r.body, r.needs) for r in with_memo.of(type_url).values()] == [
                (r.name, r.body, r.needs) for r in without.of(type_url).values()
            ]


def test_a_weight_makes_one_route_configuration_anew() -> None:
    """All other resources, and all groups without a change, are the same objects: streams compare by identity."""
    memo = Memo()
    before = snapshot_of(planned(*BASE), DataPlane(), memo)
    changed = [*BASE[:3], deployment(2, weight=5), BASE[4]]
    after = snapshot_of(planned(*changed), DataPlane(), memo)
    assert all(after.of(t) is before.of(t) for t in (CLUSTER, ENDPOINTS, LISTENER, SCOPE))
    routes = {name: after.of(ROUTES)[name] is r for name, r in before.of(ROUTES).items()}
    assert routes == {f"gateway/{gateway_id(1)}": False, f"gateway/{gateway_id(2)}": True}


def test_resources_name_the_clusters_that_they_need() -> None:
    """Routes need a lone deployment's cluster, or the clusters of their split, and those all of its members."""
    snapshot = snapshot_of(planned(*BASE), DataPlane())
    clusters, routes = snapshot.of(CLUSTER), snapshot.of(ROUTES)
    lone, members = (f"deployment/{deployment_id(3)}", {f"deployment/{deployment_id(n)}" for n in (1, 2)})
    splits = {name for name in clusters if name.startswith("split/")}
    assert routes[f"gateway/{gateway_id(2)}"].needs == frozenset({lone})
    assert routes[f"gateway/{gateway_id(1)}"].needs == frozenset(splits)
    assert {name: clusters[name].needs for name in splits} == dict.fromkeys(splits, frozenset(members))


def test_a_memo_forgets_what_is_no_more() -> None:
    """Definitions that come and go leave nothing behind."""
    memo = Memo()
    snapshot_of(planned(*BASE), DataPlane(), memo)
    snapshot_of(planned(), DataPlane(), memo)
    assert (memo.gateways, memo.deployments) == ({}, {})
