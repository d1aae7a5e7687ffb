"""Which containers are replicas of which deployments, where they are reached, and why others are none."""

from typing import Any

import pytest
from igw_containers.replicas import MOST, LeftOut, Target, found
from igw_model.record import NEVER, Replica

from tests.unit.containers.known import container, target


def row(name: str = "a", address: str = "10.0.0.1", deployment: str = "d1", port: int = 8000) -> Replica:
    return Replica(deployment, name, address, port, NEVER)


def reason(*targets: Target, **fields: Any) -> str:
    """Give why the one container is left out."""
    made = found([container(**fields)], targets or [target()])
    assert not any(made.replicas.values())
    (left,) = made.left_out
    return left.reason


def test_replicas() -> None:
    """By name, at the backend's port; a deployment without containers has none, which is told too."""
    made = found(
        [container("b", addresses={"x": "10.0.0.2"}), container("a")], [target(), target(2, "mistral")]
    )
    assert made.replicas == {"d1": (row("a"), row("b", "10.0.0.2")), "d2": ()}
    assert made.left_out == ()


def test_ipv6() -> None:
    """An IPv6 address serves as well."""
    made = found([container(addresses={"n": "fd00::2"})], [target()])
    assert made.replicas["d1"] == (row(address="fd00::2"),)


BOTH = {"demo_models": "10.0.0.1", "models": "10.0.0.2", "demo_other": "10.0.0.3"}


def test_another_compose_project() -> None:
    """Two stacks on one engine keep apart: another's container is meant by its network's full name alone."""
    one = {"demo_models": "10.0.0.3"}
    foreign = container(addresses=one, project="demo", foreign=True)
    assert found([foreign], [target(network="demo_models")]).replicas["d1"][0].address == "10.0.0.3"
    for network in ("models", None):
        [left_out] = found([foreign], [target(network=network)]).left_out
        assert "demo_models" in left_out.reason
        assert "dockerBackend.network" in left_out.reason
    assert found([container(addresses=one, project="demo")], [target(network="models")]).replicas["d1"]


@pytest.mark.parametrize(
    ("network", "project", "address"),
    [
        ("models", "demo", "10.0.0.2"),  # the exact name first
        ("demo_models", None, "10.0.0.1"),
        ("other", "demo", "10.0.0.3"),  # then the project's
    ],
)
def test_network(network: str, project: str | None, address: str) -> None:
    """The definition says the network's name, or its name in the container's Compose project."""
    made = found([container(addresses=BOTH, project=project)], [target(network=network)])
    assert made.replicas["d1"] == (row(address=address),)


def test_several_networks() -> None:
    """Nobody guesses: the reason names them, and the field that chooses."""
    said = reason(addresses=BOTH)
    assert (
        said
        == "it is on several networks, demo_models, models, demo_other: name one in dockerBackend.network"
    )


def test_another_network() -> None:
    """The reason names the field, the one that is meant, and those that there are."""
    said = reason(target(network="models"))
    assert said == "it is not on network 'models' (dockerBackend.network) but on demo_models"


@pytest.mark.parametrize(
    ("addresses", "said"),
    [
        ({}, "it is on no network"),
        ({"host": ""}, "it has no address of its own on network 'host'"),
        ({"n": "nonsense"}, "it has no address of its own on network 'n'"),
    ],
)
def test_no_address(addresses: dict[str, str], said: str) -> None:
    """On the host's network, or on none, there is nothing to send to."""
    assert reason(addresses=addresses) == said


def test_organizations() -> None:
    """A name is an organization's own, and the label chooses between those that have it."""
    targets = [target(), target(2, organization="other")]
    labelled = found([container(organization="other")], targets)
    assert labelled.replicas == {"d1": (), "d2": (row(deployment="d2"),)}
    assert "another organization's" in reason(organization="evil\n")
    assert "\n" not in reason(organization="evil\n")


def test_without_an_organization() -> None:
    """It is a replica of all deployments of the name where they are one organization's, of none where they are not."""
    assert found([container()], [target(), target(2)]).replicas == {
        "d1": (row(),),
        "d2": (row(deployment="d2"),),
    }
    assert reason(target(), target(2, organization="other")) == (
        "several organizations have a deployment of that name: set label igw.organization"
    )


def test_no_such_deployment() -> None:
    """The label may name one that is not there yet, or has its replicas elsewhere."""
    assert reason(deployment="unknown") == "no deployment of that name has a dockerBackend"


def test_most() -> None:
    """So many of a deployment are taken; the others are told."""
    many = [container(f"c{n:04}", addresses={"n": "10.0.0.1"}) for n in range(MOST + 1)]
    made = found(many, [target()])
    assert len(made.replicas["d1"]) == MOST
    said = f"deployment has {MOST} replicas, the most there may be"
    assert made.left_out == (LeftOut("c1000", "llama", said),)


def test_a_name_is_one_containers() -> None:
    """A row has a name: of two containers that are called alike one has it, or they would take turns for ever."""
    two = [container(addresses={"n": "10.0.0.1"}), container(addresses={"n": "10.0.0.2"})]
    made = found(two, [target(), target(2)])
    assert made.replicas == {"d1": (row(),), "d2": (row(deployment="d2"),)}
    assert made.left_out == (LeftOut("a", "llama", "another container has that name"),)


def test_reasons_are_bounded() -> None:
    """Names that strangers chose are short where they are told."""
    said = reason(addresses={f"{n}{'x' * 500}": "10.0.0.1" for n in range(50)})
    assert len(said) < 1000
    assert "45 more" in said
