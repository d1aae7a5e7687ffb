"""Definitions become a plan: what a zone serves, in the problem's words."""

from datetime import UTC, datetime
from typing import Any

import pytest
from igw_model.deployment import Deployment, HealthCheck
from igw_model.gateway import Gateway, PathBasedRouting
from igw_model.policy import Access, Policy, Provider
from igw_model.record import Replica
from igw_xds.access import KeyOwner, NotChecked, NotValid, OwnedBy
from igw_xds.plan import (
    Containers,
    Plan,
    PlannedDeployment,
    PlannedGateway,
    PlannedModel,
    Registered,
    Share,
    location,
    plan,
    planned_gateway,
    serves,
)
from igw_xds.settings import HostPort

from tests.builders import DOMAIN, containers, deployment, deployment_id, gateway, gateway_id, planned

UNPLACED: dict[str, Any] = {
    "model": {"name": "demo/small", "bucket": "b", "path": "p"},
    "runtime": {"engine": "vllm"},
    "resources": {"instanceType": "gd", "gpuCount": 1},
    "autoscaling": {"min": 1, "max": 1},
    "staticBackend": None,
}


def replica(deployment: str, name: str, address: str) -> Replica:
    """Give a replica that registered itself."""
    return Replica(deployment, name, address, 8000, datetime(2026, 1, 1, tzinfo=UTC))


def test_a_whole_plan() -> None:
    """A gateway's host names, policy, routing, addresses and models, and its deployments' backends."""
    chat = gateway(
        1,
        name="chat",
        organizationId="acme",
        pathBasedRouting={},
        endpointConfiguration={
            "additionalDns": ["Chat.Example.com.", "b.example.com", "chat.example.com"],
            "allowedSourceIpRanges": ["10.0.0.0/8"],
        },
    )
    large = deployment(2, weight=1, name="large", model={"name": "demo-large"})
    small = deployment(1, weight=7, name="small")
    assert planned(chat, large, small) == Plan(
        gateways=(
            PlannedGateway(
                id=gateway_id(1),
                name="chat",
                hosts=(f"api.{gateway_id(1)}.{DOMAIN}", "chat.example.com", "b.example.com"),
                policy=Policy(Provider.COREWEAVE, "acme", gateway_id(1)),
                routing=PathBasedRouting(kind="pathBasedRouting"),
                source_ranges=("10.0.0.0/8",),
                models=(
                    PlannedModel("demo-large", (Share(deployment_id(2), 1),)),
                    PlannedModel("demo/small", (Share(deployment_id(1), 1),)),
                ),
            ),
        ),
        deployments=(
            PlannedDeployment(deployment_id(1), "small", location(small, ())),
            PlannedDeployment(deployment_id(2), "large", location(large, ())),
        ),
    )


def test_nothing_gives_an_empty_plan() -> None:
    """No definitions is a state like others."""
    assert planned() == Plan()


def test_the_order_of_definitions_does_not_matter() -> None:
    """Files are read in any order; the plan is the same."""
    definitions: list[Gateway | Deployment] = [
        gateway(1),
        gateway(2),
        deployment(1, on=[1, 2]),
        deployment(2, on=[2, 1], weight=3),
    ]
    assert planned(*definitions) == planned(*reversed(definitions))


def test_each_gateway_weighs_its_own_deployments() -> None:
    """Weights are normalised over the gateway's deployments with the same model name."""
    made = planned(
        gateway(1),
        gateway(2),
        deployment(1, weight=1, on=[1, 2]),
        deployment(2, weight=3, on=[2]),
        deployment(3, weight=9, on=[2], model={"name": "demo-large"}),
    )
    first, second = (gateway.models for gateway in made.gateways)
    assert first == (PlannedModel("demo/small", (Share(deployment_id(1), 1),)),)
    assert second == (
        PlannedModel("demo-large", (Share(deployment_id(3), 1),)),
        PlannedModel("demo/small", (Share(deployment_id(1), 1), Share(deployment_id(2), 3))),
    )


def test_a_disabled_model_is_known() -> None:
    """A model of which all deployments are disabled is not unknown (404) but not ready (503)."""
    assert planned(gateway(), deployment(disabled=True)).gateways[0].models == (
        PlannedModel("demo/small", ()),
    )


def test_model_names_are_told_apart_by_every_character() -> None:
    """Names are matched as they are: letter case makes another model."""
    names = [
        m.name
        for m in planned(gateway(), deployment(1), deployment(2, model={"name": "Demo/small"}))
        .gateways[0]
        .models
    ]
    assert names == ["Demo/small", "demo/small"]


@pytest.mark.parametrize(
    ("zone", "numbers"),
    [(None, [1, 2]), ("us-east-04a", [1]), ("US-EAST-04A", [1]), ("eu-north-01", [2]), ("elsewhere", [])],
)
def test_a_zone_serves_its_own_gateways(zone: str | None, numbers: list[int]) -> None:
    """Zones are matched case-insensitively (section 2); deployments follow their gateways."""
    made = planned(
        gateway(1), gateway(2, zones=["EU-North-01"]), deployment(1, on=[1]), deployment(2, on=[2]), zone=zone
    )
    assert [g.id for g in made.gateways] == [gateway_id(n) for n in numbers]
    assert [d.id for d in made.deployments] == [deployment_id(n) for n in numbers]
    assert serves(gateway(1), zone) is (1 in numbers)


def test_wandb_vouches_for_its_gateways_and_its_key_is_nowhere() -> None:
    """The policy names the provider; the plan holds no secret, and until it is known whose the key is nobody passes."""
    auth = {"apiKey": "s3cret", "serverUrl": "https://wandb.example.com"}
    made = planned(gateway(weightsAndBiasesAuth=auth))
    assert made.gateways[0].policy == Policy(Provider.WANDB, "acme", gateway_id(1), Access.PENDING)
    assert "s3cret" not in repr(made)


@pytest.mark.parametrize(
    ("allowed", "owner", "access", "entities"),
    [
        ([], None, Access.ANY, ()),
        (["vision", "ops"], None, Access.ENTITIES, ("ops", "vision")),
        ([], NotChecked(), Access.PENDING, ()),
        (["vision"], NotChecked(), Access.PENDING, ()),
        ([], NotValid(), Access.ENTITIES, ()),
        (["vision"], NotValid(), Access.ENTITIES, ()),
        ([], OwnedBy(frozenset({"ops", "eve"})), Access.ENTITIES, ("eve", "ops")),
        (["vision", "ops"], OwnedBy(frozenset({"ops", "eve"})), Access.ENTITIES, ("ops",)),
        (["vision"], OwnedBy(frozenset({"ops"})), Access.ENTITIES, ()),
        (
            [],
            OwnedBy(frozenset(map(str, range(300)))),
            Access.ENTITIES,
            tuple(sorted(map(str, range(300)))[:200]),
        ),
    ],
)
@pytest.mark.parametrize("limited", [False, True])
def test_whose_wandb_keys_may_pass(
    allowed: list[str], owner: KeyOwner | None, access: Access, entities: tuple[str, ...], *, limited: bool
) -> None:
    """A key of its own and `allowedEntities` each narrow it; with neither every key passes, which is said elsewhere."""
    auth = {"allowedEntities": allowed, "enableRateLimiting": limited}
    it = gateway(weightsAndBiasesAuth=auth, coreWeaveAuth=None)
    expected = Policy(Provider.WANDB, "acme", it.id, access, entities, limited)
    assert planned_gateway(it, [], DOMAIN, owner).policy == expected


def test_a_deployment_of_no_served_gateway_is_not_planned() -> None:
    """Only what a gateway leads to is served; definitions without their gateway are not an error here."""
    assert plan([], [deployment()], domain=DOMAIN) == Plan()


def test_replicas_that_registered_are_a_backend() -> None:
    """A deployment without a backend is where its replicas say, each address once; one with a backend is not."""
    unplaced = deployment(1, **UNPLACED)
    replicas = {
        key: (replica(key, "b", "10.0.0.2"), replica(key, "a", "10.0.0.1"), replica(key, "c", "10.0.0.2"))
        for key in (deployment_id(1), deployment_id(2))
    }
    made = plan([gateway()], [unplaced, deployment(2)], domain=DOMAIN, replicas=replicas)
    registered = Registered((HostPort("10.0.0.1", 8000), HostPort("10.0.0.2", 8000)))
    assert [d.backend for d in made.deployments] == [registered, deployment(2).backend]
    assert [d.backend for d in planned(gateway(), unplaced).deployments] == [Registered()]


def test_containers_are_a_backend() -> None:
    """A deployment in containers is where they were found, each address once; none yet is a backend too."""
    contained = deployment(1, dockerBackend={"port": 8000, "healthCheck": {"path": "/ready"}})
    replicas = {contained.id: containers(contained, "10.0.0.2", "10.0.0.1", "10.0.0.2")}
    made = plan([gateway()], [contained], domain=DOMAIN, replicas=replicas)
    addresses = (HostPort("10.0.0.1", 8000), HostPort("10.0.0.2", 8000))
    assert [d.backend for d in made.deployments] == [Containers(addresses, HealthCheck(path="/ready"))]
    assert [d.backend for d in planned(gateway(), contained).deployments] == [
        Containers((), HealthCheck(path="/ready"))
    ]


def test_what_is_left_of_another_backend_is_not_served() -> None:
    """After a change of the spec a container is no replica that registered, and the reverse."""
    contained, unplaced = deployment(1, dockerBackend={"port": 8000}), deployment(1, **UNPLACED)
    kept = (*containers(contained, "10.0.0.1"), replica(contained.id, "r", "10.0.0.2"))
    assert location(contained, kept) == Containers((HostPort("10.0.0.1", 8000),), HealthCheck())
    assert location(unplaced, kept) == Registered((HostPort("10.0.0.2", 8000),))
    static = deployment(1)
    assert location(static, kept) == static.backend
