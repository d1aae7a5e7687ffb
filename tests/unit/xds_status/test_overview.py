"""Objects of every organisation at one look: how many are how, and the first that are not well, with the reasons."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from igw_model.document import FieldError
from igw_model.record import Kind
from igw_model.status import Condition, Observed, Status, Truth
from igw_xds.overview import SHOWN, overview
from igw_xds.plan import Zoning
from igw_xds.subjects import Subjects
from igw_xds.table import Table
from igw_xds.world import Defined, Key, Unreadable, World

from tests.builders import DOMAIN, deployment, deployment_id, gateway, gateway_id
from tests.unit.xds_status.test_observation import NOW
from tests.unit.xds_status.test_subjects import D, G, subjects


def condition(kind: str, truth: Truth, reason: str, message: str) -> Condition:
    """Give a condition."""
    return Condition(kind, truth, reason, message, "US-EAST-04A", NOW)


HAVE = condition("Programmed", Truth.TRUE, "Programmed", "Programmed proxies: 1/1")
REFUSED = condition("Programmed", Truth.FALSE, "Rejected", "Programmed proxies: 0/1. envoy-1: no")
HALF = condition("Ready", Truth.FALSE, "NotReady", "Ready replicas: 1/2")
UNCERTIFIED = condition("CertificateReady", Truth.FALSE, "Broken", "a: tls.key is missing")
ANYONE = condition("AccessRestricted", Truth.FALSE, "AnyKeyAccepted", "Any valid W&B key")
NOBODY = condition("AccessRestricted", Truth.FALSE, "KeyInvalid", "Nobody may use this gateway")


def seen(status: Status, *conditions: Condition, generation: int = 1) -> Observed:
    """Give what was observed."""
    return Observed(generation, status, conditions)


def looked(made: Subjects, said: Mapping[Key, Observed]) -> dict[str, Any]:
    """Give the overview."""
    return overview(made, said.get)


def told(found: Mapping[str, Any]) -> list[tuple[str, str, list[str]]]:
    """Give the objects of a kind that are named."""
    return [(item["name"], item["status"], item["reasons"]) for item in found["items"]]


def test_all_is_well() -> None:
    """Then nothing is named."""
    made = subjects(gateway(1), deployment(1), deployment(2))
    keys = [(G, gateway_id(1)), (D, deployment_id(1)), (D, deployment_id(2))]
    assert looked(made, dict.fromkeys(keys, seen(Status.READY, HAVE))) == {
        "gateways": {"total": 1, "byStatus": {"READY": 1}, "unwell": 0, "items": []},
        "deployments": {"total": 2, "byStatus": {"READY": 2}, "unwell": 0, "items": []},
    }


def test_what_is_worst_is_named_first() -> None:
    """With whose it is, and what its conditions say; one that nobody looked at yet is awaited."""
    made = subjects(*(gateway(n) for n in range(1, 5)))
    found = looked(
        made,
        {
            (G, gateway_id(1)): seen(Status.READY, HAVE, UNCERTIFIED),
            (G, gateway_id(2)): seen(Status.READY, HAVE),
            (G, gateway_id(4)): seen(Status.ERROR, REFUSED, UNCERTIFIED),
        },
    )["gateways"]
    assert found["byStatus"] == {"CREATING": 1, "ERROR": 1, "READY": 2}
    assert (found["total"], found["unwell"]) == (4, 3)
    broken = "Broken: a: tls.key is missing"
    assert told(found) == [
        ("gateway-4", "ERROR", ["Rejected: Programmed proxies: 0/1. envoy-1: no", broken]),
        ("gateway-3", "CREATING", []),
        ("gateway-1", "READY", [broken]),
    ]
    assert found["items"][0]["id"] == gateway_id(4)
    assert found["items"][0]["organizationId"] == "acme"


@pytest.mark.parametrize(
    ("conditions", "disabled", "well"),
    [
        ((HAVE,), False, True),
        ((HAVE, HALF), False, False),
        ((HAVE, HALF), True, True),
        ((REFUSED, HALF), True, False),
        ((HAVE, ANYONE), False, True),
        ((HAVE, NOBODY), False, False),
    ],
)
def test_what_is_meant_needs_no_look(
    conditions: tuple[Condition, ...], *, disabled: bool, well: bool
) -> None:
    """A deployment that is disabled needs no replicas, and a gateway may be for everybody."""
    made = subjects(gateway(1), deployment(1, disabled=disabled))
    found = looked(made, {(D, deployment_id(1)): seen(Status.READY, *conditions)})["deployments"]
    assert (found["unwell"] == 0) is well


def test_an_older_generation_says_nothing() -> None:
    """What was refused of it may be mended."""
    made = subjects(gateway(1))
    made.world = World(Table({gateway_id(1): Defined(gateway(1), 2)}))
    found = looked(made, {(G, gateway_id(1)): seen(Status.ERROR, REFUSED)})["gateways"]
    assert told(found) == [("gateway-1", "UPDATING", [])]


def test_what_goes_is_counted_only() -> None:
    """It is on its way out as somebody wants it."""
    made = subjects(gateway(1))
    made.world = World(Table({gateway_id(1): Defined(gateway(1), 1, deleting=True)}))
    found = looked(made, {(G, gateway_id(1)): seen(Status.ERROR, REFUSED)})["gateways"]
    assert (found["byStatus"], found["unwell"]) == ({"DELETING": 1}, 0)


def test_another_zones_objects_are_for_its_own_control_plane() -> None:
    """This one knows only how its own zone's are."""
    made = replace(subjects(gateway(1), gateway(2, zones=["EU-1"])), zoning=Zoning("EU-1"))
    assert looked(made, {})["gateways"]["items"][0]["name"] == "gateway-2"
    assert looked(made, {})["gateways"]["total"] == 1


def test_what_breaks_our_rules_is_named_by_its_id() -> None:
    """A newer version may have written it: its name is not known."""
    key = (Kind.GATEWAY, gateway_id(1))
    lost = Unreadable(1, False, None, ("US-EAST-04A",), (FieldError("x", "unknown"),))
    made = Subjects(DOMAIN, Zoning(), World(unreadable={key: lost}))
    invalid = condition("Programmed", Truth.FALSE, "Invalid", "x: unknown")
    found = looked(made, {key: seen(Status.ERROR, invalid)})["gateways"]
    assert told(found) == [(gateway_id(1), "ERROR", ["Invalid: x: unknown"])]


def test_only_the_first_are_named() -> None:
    """Thousands may be unwell: an answer stays small."""
    made = subjects(*(gateway(n) for n in range(1, SHOWN + 10)))
    found = looked(made, {})["gateways"]
    assert (found["unwell"], len(found["items"])) == (SHOWN + 9, SHOWN)
