"""Which resources an object consists of, and which objects an answer about a resource is about."""

from collections.abc import Iterable

import pytest
from igw_model.deployment import Deployment
from igw_model.gateway import Gateway
from igw_model.record import Kind
from igw_model.status import Status
from igw_xds.observation import Client, Past, Replicas
from igw_xds.plan import Zoning, zone_key
from igw_xds.snapshot import CLUSTER, ENDPOINTS, ROUTES, SCOPE, Snapshot
from igw_xds.stream import Holds, Lacks, Standing
from igw_xds.subjects import Clients, Subjects
from igw_xds.table import Table
from igw_xds.world import Defined, World

from tests.builders import DOMAIN, deployment, deployment_id, gateway, gateway_id, served
from tests.unit.xds_status.test_observation import NOW

G, D = Kind.GATEWAY, Kind.DEPLOYMENT
PLACE = zone_key("US-EAST-04A")
BASE: list[Gateway | Deployment] = [
    gateway(1, endpointConfiguration={"additionalDns": ["Chat.Example.com"]}),
    gateway(2),
    deployment(1, weight=1, on=[1]),
    deployment(2, weight=1, on=[1]),
    deployment(3, on=[2]),
]


def subjects(*definitions: Gateway | Deployment) -> Subjects:
    """Give the subjects of definitions."""
    gateways = {d.id: Defined(d, 1) for d in definitions if isinstance(d, Gateway)}
    deployments = {d.id: Defined(d, 1) for d in definitions if isinstance(d, Deployment)}
    made = Subjects(DOMAIN, Zoning())
    keys = [*((G, key) for key in gateways), *((D, key) for key in deployments)]
    made.follow(World(Table(gateways), Table(deployments)), {PLACE: served(*definitions)}, keys)
    return made


def clients(envoy: Client) -> Clients:
    """Give an Envoy of the gateways' zone, the only one that is connected."""
    return lambda place: [envoy] if place == PLACE else []


def client(snapshot: Snapshot, *lacking: str) -> Client:
    """Give an Envoy that has all of a snapshot but some resources."""

    def standing(type_url: str, name: str) -> Standing:
        found = snapshot.of(type_url).get(name)
        return Lacks() if found is None or name in lacking else Holds(found)

    return Client("envoy-1", standing)


def ready(made: Subjects, lacking: Iterable[str] = ()) -> set[tuple[Kind, str]]:
    """Give the objects that are READY while an Envoy lacks some resources."""
    connected = clients(client(made.snapshots[PLACE], *lacking))
    counting = lambda _: Replicas(1, 1)  # noqa: E731 - a replica for each
    found = {key: made.observed(key, Past(1, None, NOW), connected, counting) for key in ALL}
    return {key for key, observed in found.items() if observed and observed.status is Status.READY}


ALL = {(G, gateway_id(1)), (G, gateway_id(2)), *((D, deployment_id(n)) for n in (1, 2, 3))}
SPLIT = next(name for name in served(*BASE).of(CLUSTER) if name.startswith(f"split/{deployment_id(1)}"))


@pytest.mark.parametrize(
    ("lacking", "unready"),
    [
        ([], set()),
        ([f"gateway/{gateway_id(2)}"], {(G, gateway_id(2)), (D, deployment_id(3))}),
        ([f"host/api.{gateway_id(2)}.{DOMAIN}"], {(G, gateway_id(2))}),
        (["host/chat.example.com"], {(G, gateway_id(1))}),
        ([SPLIT], {(G, gateway_id(1))}),
        ([f"deployment/{deployment_id(1)}"], {(G, gateway_id(1)), (D, deployment_id(1))}),
    ],
    ids=["nothing", "routes", "scope", "further scope", "split", "cluster"],
)
def test_an_object_is_ready_with_all_that_it_needs(
    lacking: list[str], unready: set[tuple[Kind, str]]
) -> None:
    """A gateway: its names, its routes, their clusters, behind a split too. A deployment: its own and routes to it."""
    assert ready(subjects(*BASE), lacking) == ALL - unready


@pytest.mark.parametrize(
    ("type_url", "name", "expected"),
    [
        (ROUTES, f"gateway/{gateway_id(2)}", {(G, gateway_id(2)), (D, deployment_id(3))}),
        (SCOPE, "host/chat.example.com", {(G, gateway_id(1))}),
        (SCOPE, "host/unknown.example.com", set()),
        (CLUSTER, f"deployment/{deployment_id(3)}", {(D, deployment_id(3)), (G, gateway_id(2))}),
        (ENDPOINTS, f"deployment/{deployment_id(3)}", {(D, deployment_id(3))}),
        (CLUSTER, SPLIT, {(D, deployment_id(1)), (G, gateway_id(1))}),
        (CLUSTER, "igw-extauth", set()),
    ],
)
def test_an_answer_is_about_all_that_need_the_resource(
    type_url: str, name: str, expected: set[tuple[Kind, str]]
) -> None:
    """Only these are looked at again, however many objects there are."""
    assert set(subjects(*BASE).of(type_url, name)) == expected


def test_names_and_attachments_follow_changes() -> None:
    """A name that moved is its new gateway's, a deployment its new gateway's."""
    made = subjects(*BASE)
    moved = [gateway(1), gateway(2, endpointConfiguration={"additionalDns": ["chat.example.com"]})]
    other = deployment(3, on=[1])
    world = World(
        Table({g.id: Defined(g, 2) for g in moved}),
        Table({d.id: Defined(d, 1) for d in (*BASE[2:4], other) if isinstance(d, Deployment)}),
    )
    keys = [(G, gateway_id(1)), (G, gateway_id(2)), (D, deployment_id(3))]
    made.follow(world, {PLACE: served(*moved, *BASE[2:4], other)}, keys)
    assert set(made.of(SCOPE, "host/chat.example.com")) == {(G, gateway_id(2))}
    assert set(made.of(ROUTES, f"gateway/{gateway_id(2)}")) == {(G, gateway_id(2))}
    assert (D, deployment_id(3)) in set(made.of(ROUTES, f"gateway/{gateway_id(1)}"))


@pytest.mark.parametrize("changed", [[1, 2], [2, 1]])
def test_a_name_is_not_of_the_gateway_that_is_deleted(changed: list[int]) -> None:
    """Of one that goes while another takes its name over, in one change, in whatever order."""
    made = subjects(*BASE)
    old = gateway(1, endpointConfiguration={"additionalDns": ["Chat.Example.com"]})
    taken = gateway(2, endpointConfiguration={"additionalDns": ["chat.example.com"]})
    world = World(Table({old.id: Defined(old, 1, deleting=True), taken.id: Defined(taken, 2)}))
    made.follow(world, {PLACE: served(taken)}, [(G, gateway_id(number)) for number in changed])
    assert list(made.of(SCOPE, "host/chat.example.com")) == [(G, gateway_id(2))]
    assert not made.still_held((G, gateway_id(1)), clients(client(made.snapshots[PLACE])))


def test_nothing_is_kept_of_attachments_that_went() -> None:
    """Else names of gateways that never were would pile up."""
    made = subjects(*BASE)
    world = World(made.world.gateways)
    made.follow(world, {PLACE: served(*BASE[:2])}, [(D, deployment_id(number)) for number in (1, 2, 3)])
    assert made._attached == {}


@pytest.mark.parametrize(
    ("lacking", "held"),
    [
        ([], True),
        ([f"gateway/{gateway_id(1)}"], True),
        ([f"gateway/{gateway_id(1)}", "host/chat.example.com", f"host/api.{gateway_id(1)}.{DOMAIN}"], False),
    ],
    ids=["all of it", "its names", "nothing"],
)
def test_a_deleted_gateway_is_held_while_an_envoy_has_its_routes_or_a_name(
    lacking: list[str], *, held: bool
) -> None:
    """Only then may it be forgotten."""
    made = subjects(*BASE)
    envoy = client(made.snapshots[PLACE], *lacking)
    found = made.world.gateways[gateway_id(1)].definition
    world = World(Table({found.id: Defined(found, 1, deleting=True)}))
    made.follow(world, {PLACE: served(BASE[1])}, [(G, gateway_id(1))])
    assert made.still_held((G, gateway_id(1)), clients(envoy)) is held
