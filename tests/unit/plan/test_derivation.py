"""What is derived change by change is what is derived of all at once, and costs what changed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from igw_certs.authority import Authority
from igw_model.gateway import Gateway
from igw_model.policy import Access
from igw_model.record import Kind, Record
from igw_store.store import Change
from igw_xds import derivation as derivation_module
from igw_xds.access import NotChecked, OwnedBy
from igw_xds.derivation import Derivation
from igw_xds.plan import Plan, plan, zone_key
from igw_xds.resources.everything import snapshot_of
from igw_xds.settings import DataPlane, HostPort
from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SCOPE, SECRET, TYPES, Resource, Snapshot
from igw_xds.world import World, after
from pydantic import SecretStr

from tests.builders import (
    DOMAIN,
    change,
    containers,
    deployment,
    deployment_id,
    deployment_spec,
    gateway_id,
    gateway_spec,
    record,
)
from tests.unit.plan.histories import HOST, Moment, histories

HERE, THERE = zone_key("US-EAST-04A"), zone_key("EU-NORTH-01")


def place(gateway: Gateway) -> str | None:
    """Serve two zones."""
    key = zone_key(gateway.zone)
    return key if key in {HERE, THERE} else None


def derivation(*changes: Change) -> Derivation:
    """Give what is derived of changes, one after the other."""
    derived = Derivation(DOMAIN, DataPlane(), place)
    for each in changes:
        derived.take(each)
    return derived


def on_gateway(number: int, **fields: Any) -> Record:
    """Give the record of a gateway."""
    return record(Kind.GATEWAY, gateway_spec(number, **fields))


def on_deployment(number: int, *on: int, weight: int = 1, **fields: Any) -> Record:
    """Give the record of a deployment of these gateways."""
    spec = {"gatewayIds": [gateway_id(n) for n in on], "traffic": {"weight": weight}, **fields}
    return record(Kind.DEPLOYMENT, deployment_spec(number, **spec))


def named(host: str) -> dict[str, Any]:
    """Give a gateway this host name."""
    return {"endpointConfiguration": {"additionalDns": [host]}}


def content(snapshot: Snapshot) -> object:
    """Give all of a snapshot, down to the bytes."""
    return snapshot, {
        type_url: {name: (r, r.body, r.needs) for name, r in snapshot.of(type_url).items()}
        for type_url in TYPES
    }


def at_once(world: World, zone: str | None = None) -> tuple[dict[str, Any], dict[str, Any], Snapshot]:
    """Plan and make everything of a world, without what was before."""
    gateways = [gateway for gateway in world.served_gateways if place(gateway)]
    made = plan(gateways, world.served_deployments, domain=DOMAIN, zone=zone, replicas=world.replicas)
    by_id = ({g.id: g for g in made.gateways}, {d.id: d for d in made.deployments})
    return *by_id, snapshot_of(made, DataPlane())


@given(histories())
@settings(max_examples=100, deadline=None)
def test_any_history_gives_what_its_last_moment_gives(history: list[Change]) -> None:
    """After each change: the same world, plan and snapshots as of all there is then, by either way at once."""
    derived, moment = derivation(), Moment()
    for step in history:
        before = derived.snapshots
        derived.take(step)
        moment = moment.after(step)
        fresh, (gateways, deployments, _) = derivation(moment.whole), at_once(derived.world)
        assert derived.world == fresh.world == after(World(), moment.whole)
        assert (dict(derived.gateways), dict(derived.deployments)) == (gateways, deployments)
        assert fresh.snapshots.keys() <= derived.snapshots.keys() <= {HERE, THERE}
        for zone, snapshot in derived.snapshots.items():
            assert content(snapshot) == content(fresh.snapshots.get(zone, fresh.bare))
            assert content(snapshot) == content(at_once(derived.world, zone)[2])
            assert zone not in before or (before[zone] is snapshot) == (before[zone] == snapshot)


def test_a_weight_costs_one_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    """Among 500 gateways one is made anew, and one route configuration of it is new; all else is the same object."""
    records = [on_gateway(n) for n in range(1, 501)]
    records += [on_deployment(n, (n + 1) // 2) for n in range(1, 1001)]
    derived = derivation(change(*records, whole=True))
    before, gateways, deployments = derived.snapshots[HERE], derived.gateways, derived.deployments
    defined, made = derived.world, list[str]()
    counted(monkeypatch, "of_gateway", made)
    counted(monkeypatch, "of_deployment", made)
    derived.take(change(on_deployment(501, 251, weight=7)))
    assert made == [gateway_id(251)]
    assert [r.name for r in unlike(before, derived.snapshots[HERE])] == [f"gateway/{gateway_id(251)}"]
    assert derived.gateways.differing(gateways) == {gateway_id(251)}
    assert all(derived.gateways[key] is gateways[key] for key in gateways if key != gateway_id(251))
    assert derived.deployments is deployments
    assert derived.world.deployments.differing(defined.deployments) == {deployment_id(501)}
    assert derived.world.gateways is defined.gateways


def counted(monkeypatch: pytest.MonkeyPatch, name: str, made: list[str]) -> None:
    """Note the ids of what a function makes: what is made in vain leaves no other trace."""
    make = getattr(derivation_module, name)

    def noting(planned: Any, *more: Any) -> Any:
        made.append(planned.id)
        return make(planned, *more)

    monkeypatch.setattr(derivation_module, name, noting)


def test_whose_a_key_is_touches_its_gateway_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may pass until it is known, and again when the key is another one; without a key none is asked about."""
    wandb = {"coreWeaveAuth": None, "weightsAndBiasesAuth": {"serverUrl": "https://x"}}
    keyed = [replace(on_gateway(n, **wandb), api_key=SecretStr("k")) for n in (1, 2)]
    derived = derivation(change(*keyed, on_gateway(3, **wandb), whole=True))
    assert access(derived) == [Access.PENDING, Access.PENDING, Access.ANY]
    made = list[str]()
    counted(monkeypatch, "of_gateway", made)
    derived.take(Change(whole=False), {gateway_id(2): OwnedBy(frozenset({"ops"}))})
    assert made == [gateway_id(2)]
    assert derived.gateways[gateway_id(2)].policy.entities == ("ops",)
    derived.take(change(on_deployment(1, 2)))
    assert access(derived) == [Access.PENDING, Access.ENTITIES, Access.ANY]
    derived.take(change(replace(keyed[1], generation=2)), {gateway_id(2): NotChecked()})
    assert access(derived) == [Access.PENDING, Access.PENDING, Access.ANY]
    derived.take(change(replace(keyed[0], api_key=None)), {})
    assert access(derived) == [Access.ANY, Access.PENDING, Access.ANY]
    assert derived.owner(gateway_id(1)) is None


def access(derived: Derivation) -> list[Access]:
    """Give whose W&B keys may use each gateway, by number."""
    return [derived.gateways[gateway_id(number)].policy.access for number in (1, 2, 3)]


def test_replicas_touch_no_gateway() -> None:
    """A replica that comes is endpoints alone: not even where its gateways are served is asked."""
    asked: list[str] = []

    def asking(gateway: Gateway) -> str:
        asked.append(gateway.id)
        return HERE

    derived = Derivation(DOMAIN, DataPlane(), asking)
    derived.take(change(on_gateway(1), on_deployment(1, 1, dockerBackend={"port": 8000}), whole=True))
    asked.clear()
    before = derived.snapshots[HERE]
    derived.take(change(replicas={deployment_id(1): containers(deployment(1), "10.0.0.1")}))
    assert asked == []
    assert [r.name for r in unlike(before, derived.snapshots[HERE])] == [f"deployment/{deployment_id(1)}"]
    assert derived.snapshots[HERE].of(CLUSTER) is before.of(CLUSTER)


def unlike(before: Snapshot, snapshot: Snapshot) -> list[Resource]:
    """Give the resources that are other objects than before."""
    return [
        r
        for type_url in TYPES
        for name, r in snapshot.of(type_url).items()
        if before.of(type_url).get(name) is not r
    ]


def test_what_is_told_again_is_the_same_snapshot() -> None:
    """A record of the same content, a generation later, a name that Envoy is not told, and all there is once more."""
    everything = change(on_gateway(1), on_deployment(1, 1), on_deployment(2, 1), whole=True)
    derived = derivation(everything)
    before = derived.snapshots[HERE]
    derived.take(change(replace(on_deployment(1, 1), generation=2)))
    derived.take(change(on_gateway(1, name="for people alone")))
    derived.take(everything)
    assert derived.snapshots[HERE] is before


def test_a_split_of_two_gateways_stays_until_the_last_goes() -> None:
    """Both lead to the same two deployments: their split clusters are the same, and one gateway's end is not theirs."""
    both = [on_deployment(n, 1, 2) for n in (1, 2)]
    derived = derivation(change(on_gateway(1), on_gateway(2), *both, whole=True))
    splits = {name for name in derived.snapshots[HERE].of(CLUSTER) if name.startswith("split/")}
    assert len(splits) == 2
    derived.take(Change(False, {(Kind.GATEWAY, gateway_id(1)): None}))
    assert splits <= derived.snapshots[HERE].of(CLUSTER).keys()
    derived.take(Change(False, {(Kind.GATEWAY, gateway_id(2)): None}))
    assert derived.snapshots[HERE] == derived.bare


def test_a_split_passes_from_one_gateway_to_another() -> None:
    """One gateway loses what the other gets in the same change: the very same cluster stays."""
    derived = derivation(
        change(on_gateway(1), on_gateway(2), *(on_deployment(n, 1) for n in (1, 2)), whole=True)
    )
    before = derived.snapshots[HERE]
    derived.take(change(*(on_deployment(n, 2) for n in (1, 2))))
    assert {r.name for r in unlike(before, derived.snapshots[HERE])} == {
        f"gateway/{gateway_id(n)}" for n in (1, 2)
    }
    assert derived.snapshots[HERE].of(CLUSTER) is before.of(CLUSTER)


def test_a_host_name_passes_from_one_gateway_to_another() -> None:
    """In one change, in whatever order its records come."""
    gone = record(Kind.GATEWAY, gateway_spec(1, **named(HOST)), deleting=True)
    for step in ([gone, on_gateway(2, **named(HOST))], [on_gateway(2, **named(HOST)), gone]):
        derived = derivation(change(on_gateway(1, **named(HOST)), on_gateway(2), whole=True), change(*step))
        assert set(derived.snapshots[HERE].of(SCOPE)) == {
            f"host/api.{gateway_id(2)}.{DOMAIN}",
            f"host/{HOST}",
        }
        assert content(derived.snapshots[HERE]) == content(at_once(derived.world)[2])


def test_a_gateway_moves_with_its_deployments() -> None:
    """It leaves a zone and enters the other; a deployment that a gateway of either names is in both."""
    records = [on_gateway(1), on_gateway(2), on_deployment(1, 1), on_deployment(2, 1, 2)]
    derived = derivation(change(*records, whole=True), change(on_gateway(1, zones=["EU-North-01"])))

    def deployed(zone: str) -> set[str]:
        return {name.removeprefix("deployment/") for name in derived.snapshots[zone].of(ENDPOINTS)}

    assert deployed(HERE) == {deployment_id(2)}
    assert deployed(THERE) == {deployment_id(1), deployment_id(2)}
    assert set(derived.snapshots[THERE].of(ROUTES)) == {f"gateway/{gateway_id(1)}"}


def test_a_zone_that_is_empty_is_still_there() -> None:
    """Its Envoys are there, too, and are to be told; of a zone that never had a gateway nothing is known."""
    derived = derivation(change(on_gateway(1), whole=True), change(whole=True))
    assert derived.snapshots == {HERE: derived.bare}


def test_a_deployment_may_come_before_its_gateway() -> None:
    """It is served as soon as the gateway is there."""
    derived = derivation(change(on_deployment(1, 1), whole=True))
    assert (len(derived.snapshots), len(derived.deployments)) == (0, 0)
    derived.take(change(on_gateway(1)))
    assert f"deployment/{deployment_id(1)}" in derived.snapshots[HERE].of(CLUSTER)


def test_what_is_read_meanwhile_is_of_before() -> None:
    """A change is taken in a thread: until all of it is derived, everything is as it was."""
    seen = []

    def watching(gateway: Gateway) -> str:
        seen.append(read())
        return zone_key(gateway.zone)

    def read() -> tuple[object, ...]:
        return derived.world, derived.gateways, derived.deployments, derived.snapshots

    derived = Derivation(DOMAIN, DataPlane(), watching)
    before = read()
    derived.take(change(on_gateway(1), on_deployment(1, 1), whole=True))
    assert seen == [before]


def test_certificates(tmp_path: Path) -> None:
    """They come into every zone, also one that has no gateway yet; a renewed one changes its secret alone."""
    data_plane, authority = DataPlane(https=HostPort("127.0.0.1", 8443)), Authority.kept(tmp_path)
    first, second = (authority.issue_server(["a.example.com"]) for _ in range(2))
    derived = Derivation(DOMAIN, data_plane, place)
    derived.take(change(on_gateway(1)))
    derived.certify({"a": first})
    derived.take(change(on_gateway(2, zones=["EU-NORTH-01"])))
    for snapshot in (derived.bare, derived.snapshots[HERE], derived.snapshots[THERE]):
        assert set(snapshot.of(LISTENER)) == {"ingress", "ingress-https"}
        assert set(snapshot.of(SECRET)) == {"certificate/a"}
    whole = snapshot_of(Plan(), data_plane, {"a": first})
    assert derived.bare.resources == whole.resources
    before = derived.snapshots[HERE]
    derived.certify({"a": second})
    after_it = derived.snapshots[HERE]
    changed = {t for t in TYPES if before.of(t) is not after_it.of(t)}
    assert changed == {SECRET}
    derived.certify({})
    assert derived.bare.resources == snapshot_of(Plan(), data_plane).resources
    assert derived.snapshots[HERE].of(SECRET) == {}
