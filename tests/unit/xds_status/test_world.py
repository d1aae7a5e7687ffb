"""The store's changes become the present definitions, and only what changed is parsed again."""

from igw_model.record import Kind, Replica
from igw_model.status import Observed, Status
from igw_store.store import Change
from igw_xds.table import Table
from igw_xds.world import Defined, World, after

from tests.builders import (
    NOW,
    change,
    deployment,
    deployment_id,
    deployment_spec,
    gateway,
    gateway_id,
    gateway_spec,
    record,
)

WHOLE = change(
    record(Kind.GATEWAY, gateway_spec(1)),
    record(Kind.DEPLOYMENT, deployment_spec(1), generation=3, observed=Observed(3, Status.READY)),
    whole=True,
)


def test_the_whole_state_becomes_a_world() -> None:
    """Gateways and deployments are there with their generation and what was observed of them."""
    assert after(World(), WHOLE) == World(
        Table({gateway_id(1): Defined(gateway(1), 1)}),
        Table({deployment_id(1): Defined(deployment(1), 3, observed=Observed(3, Status.READY))}),
    )


def test_a_change_parses_what_changed_alone() -> None:
    """What did not change stays the same object: plans and resources are kept by that."""
    before = after(World(), WHOLE)
    changed = after(before, change(record(Kind.GATEWAY, gateway_spec(1, name="other"), generation=2)))
    assert changed.gateways[gateway_id(1)] == Defined(gateway(1, name="other"), 2)
    assert changed.deployments[deployment_id(1)] is before.deployments[deployment_id(1)]


def test_what_is_deleted_is_not_served_and_then_gone() -> None:
    """An object that is being deleted is known, so that it can be told when it is gone; it is not served."""
    before = after(World(), WHOLE)
    deleting = after(before, change(record(Kind.GATEWAY, gateway_spec(1), deleting=True)))
    assert (list(deleting.served_gateways), list(before.served_gateways)) == ([], [gateway(1)])
    assert after(deleting, Change(whole=False, records={(Kind.GATEWAY, gateway_id(1)): None})).gateways == {}


def test_another_whole_state_replaces_everything() -> None:
    """A watcher that fell behind is given all there is: what is not in it is gone."""
    assert after(after(World(), WHOLE), change(whole=True)) == World()


def test_what_cannot_be_read_is_left_out_and_known() -> None:
    """A record that breaks our rules serves nothing, until it is mended."""
    broken = record(Kind.GATEWAY, {**gateway_spec(1), "zones": []}, generation=2)
    world = after(after(World(), WHOLE), change(broken))
    [unreadable] = world.unreadable.values()
    assert (unreadable.generation, [str(error) for error in unreadable.errors]) == (
        2,
        ["zones: must have exactly one zone"],
    )
    assert world.gateways == {}
    assert after(world, change(record(Kind.GATEWAY, gateway_spec(1)))).unreadable == {}


def test_gateways_are_named_in_one_spelling() -> None:
    """A deployment may name its gateway's id in capitals; it is attached all the same."""
    spec = deployment_spec(1, gatewayIds=[gateway_id(1).upper(), gateway_id(1)])
    world = after(World(), change(record(Kind.DEPLOYMENT, spec), whole=True))
    assert world.deployments[deployment_id(1)].definition.gateway_ids == (gateway_id(1),)


def test_replicas_come_and_go() -> None:
    """The replicas that registered are those of the last change; none is none."""
    replica = Replica(deployment_id(1), "one", "10.0.0.1", 8000, NOW)
    world = after(World(), change(whole=True, replicas={deployment_id(1): (replica,)}))
    assert world.replicas == {deployment_id(1): (replica,)}
    assert after(world, change(replicas={deployment_id(1): ()})).replicas == {}


def test_capacity_claims_are_not_served() -> None:
    """Nothing that Envoy is told depends on them."""
    claim = record(Kind.CAPACITY_CLAIM, {"id": gateway_id(1), "name": "claim"})
    assert after(World(), change(claim, whole=True)) == World()
