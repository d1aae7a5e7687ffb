"""Capacity claims over REST, and an inventory of four `gd-8` in US-EAST-04A that is shared honestly."""

from typing import Any

import pytest
from igw_api import capacity_claims
from igw_model.capacity_claim import allocation

from tests.unit.api.documents import claim_body
from tests.unit.api.installation import BEGIN_TEXT, OTHER, VIEWER, Installation, Reply, made_id


def claim_status(
    phase: str, given: int, count: int, *, at: str = BEGIN_TEXT, said: str = ""
) -> dict[str, Any]:
    """Give a claim's status with its one condition."""
    text = f"Allocated instances: {given}/{count}."
    told = ("STATUS_TRUE", "Allocated", text)
    if said:
        told = ("STATUS_FALSE", "Pending", said)
    elif given < count:
        more = f"{text} The inventory of its zones has no more gd-8 to give."
        told = ("STATUS_FALSE", "InsufficientCapacity", more)
    keys = ("status", "reason", "message")
    return {
        "status": f"STATUS_{phase}",
        "createdAt": BEGIN_TEXT,
        "updatedAt": at,
        "conditions": [{"type": "Allocated", "lastUpdateTime": at, **dict(zip(keys, told, strict=True))}],
        "allocatedInstances": given,
        "pendingInstances": count - given,
    }


async def phase(api: Installation, number: int) -> tuple[str, int, int]:
    """Give a claim's status, allocated and pending."""
    answer = await api.call("GET", f"/capacityclaims/{made_id(number)}")
    status = answer.body["capacityClaim"]["status"]
    return status["status"], status["allocatedInstances"], status["pendingInstances"]


async def test_create_answers_creating_and_get_what_became_of_it(api: Installation) -> None:
    """Create answers CREATING with nothing allocated; a get then shows READY with all of it."""
    spec = {**claim_body(capacityType=3), "id": made_id(1), "organizationId": "acme"}
    spec["resources"]["capacityType"] = "CAPACITY_TYPE_MANAGED"
    answer = await api.call("POST", "/capacityclaims", claim_body(capacityType=3))
    waiting = claim_status("CREATING", 0, 2, said="Waiting for instances to be allocated.")
    assert answer == Reply(200, {"capacityClaim": {"spec": spec, "status": waiting}})
    ready = {"spec": spec, "status": claim_status("READY", 2, 2)}
    assert await api.call("GET", f"/capacityclaims/{made_id(1)}") == Reply(200, {"capacityClaim": ready})
    assert await api.call("GET", "/capacityclaims") == Reply(200, {"capacityClaims": [ready]})


async def test_earlier_claims_come_first_over_all_organisations(api: Installation) -> None:
    """The inventory is given out in order of creation, whoever claims; what is missing is pending and says why."""
    await api.call("POST", "/capacityclaims", claim_body("first", instanceCount=3), token=OTHER)
    api.later(seconds=1)
    await api.call("POST", "/capacityclaims", claim_body("second"))
    answer = await api.call("GET", f"/capacityclaims/{made_id(2)}")
    at = "2026-01-31T08:00:01Z"
    assert answer.body["capacityClaim"]["status"] == {
        **claim_status("CREATING", 1, 2, at=at),
        "createdAt": at,
    }


async def test_what_is_freed_goes_to_those_that_wait(api: Installation) -> None:
    """A claim that gains instances becomes READY and counts as updated, for who polls with `updatedAfter`."""
    await api.call("POST", "/capacityclaims", claim_body("first", instanceCount=3))
    await api.call("POST", "/capacityclaims", claim_body("second"))
    assert await phase(api, 2) == ("STATUS_CREATING", 1, 1)
    api.later(seconds=5)
    deleted = await api.call("DELETE", f"/capacityclaims/{made_id(1)}")
    assert deleted.body["capacityClaim"]["status"]["status"] == "STATUS_DELETING"
    answer = await api.call("GET", "/capacityclaims", updatedAfter="2026-01-31T08:00:04Z")
    (second,) = answer.body["capacityClaims"]
    at = "2026-01-31T08:00:05Z"
    assert second["status"] == claim_status("READY", 2, 2, at=at)


async def test_update_answers_updating_or_ready(api: Installation) -> None:
    """An update is READY if the inventory gives all of it, else UPDATING."""
    await api.call("POST", "/capacityclaims", claim_body())
    path = f"/capacityclaims/{made_id(1)}"
    for count, expected in ((4, "STATUS_READY"), (5, "STATUS_UPDATING"), (1, "STATUS_READY")):
        answer = await api.call("PATCH", path, claim_body(instanceCount=count))
        assert answer.body["capacityClaim"]["status"]["status"] == expected
        assert answer == await api.call("GET", path)


async def test_a_deleted_claim_is_gone(api: Installation) -> None:
    """Delete answers DELETING; from then on get and delete answer not-found."""
    await api.call("POST", "/capacityclaims", claim_body())
    path = f"/capacityclaims/{made_id(1)}"
    assert (await api.call("DELETE", path)).status == 200
    for verb in ("GET", "DELETE"):
        answer = await api.call(verb, path)
        assert (answer.status, answer.body["message"]) == (404, f"capacity claim {made_id(1)} not found")
    assert [event["action"] for event in await api.events()] == ["CREATE", "DELETE"]


async def test_zones_are_tried_in_order(api: Installation) -> None:
    """A claim over zones takes from each what there is; letter case of zones does not matter."""
    zones = ["EU-NORTH-04A", "us-east-04a"]
    await api.call("POST", "/capacityclaims", claim_body(zones=zones))
    assert await phase(api, 1) == ("STATUS_READY", 2, 0)


async def test_the_same_create_again_answers_the_same_claim(api: Installation) -> None:
    """A chosen id is the idempotency key; a name belongs to one claim."""
    body = {"id": made_id(9), **claim_body()}
    assert (await api.call("POST", "/capacityclaims", body)).status == 200
    again = await api.call("POST", "/capacityclaims", body)
    assert again == await api.call("GET", f"/capacityclaims/{made_id(9)}")
    answer = await api.call("POST", "/capacityclaims", claim_body())
    message = f"name: reserved already belongs to capacity claim {made_id(9)}"
    assert (answer.status, answer.body["message"]) == (409, message)
    assert (await api.call("GET", f"/capacityclaims/{made_id(9)}", token=OTHER)).status == 404


RULES: list[tuple[dict[str, Any], str]] = [
    ({"capacityType": None}, "resources.capacity_type: must not be in list [0, 1, 2]"),
    ({"capacityType": 0}, "resources.capacity_type: must not be in list [0, 1, 2]"),
    ({"capacityType": 1}, "resources.capacity_type: must not be in list [0, 1, 2]"),
    ({"capacityType": 2}, "resources.capacity_type: must not be in list [0, 1, 2]"),
    ({"capacityType": "CAPACITY_TYPE_CUSTOMER"}, "resources.capacity_type: must not be in list [0, 1, 2]"),
    ({"capacityType": 4}, "resources.capacityType: must be CAPACITY_TYPE_MANAGED"),
    ({"instanceId": None}, "resources.instanceId: is required"),
    ({"instanceId": "abacus"}, "resources.instanceId: must be one of gd-8"),
    ({"instanceCount": 0}, "resources.instanceCount: must be at least 1"),
    ({"instanceCount": 4_294_967_296}, "resources.instanceCount: must be at most 4294967295"),
    ({"zones": []}, "resources.zones: must not be empty"),
    ({"zones": ["US-EAST-04A"] * 101}, "resources.zones: must have at most 100 items"),
    ({"zones": ["US-EAST-04A", "MARS-1"]}, "resources.zones[1]: must be one of US-EAST-04A, EU-NORTH-04A"),
    ({"colour": 1}, "resources.colour: unknown field"),
]


@pytest.mark.parametrize(("resources", "message"), RULES)
async def test_a_broken_rule_names_its_field(
    api: Installation, resources: dict[str, Any], message: str
) -> None:
    """Every rule of a claim's fields is held; the refused types have the product's own text."""
    answer = await api.call("POST", "/capacityclaims", claim_body(**resources))
    assert (answer.status, answer.body["code"], answer.body["message"]) == (400, "invalid_argument", message)


async def test_a_claims_name_is_any_text(api: Installation) -> None:
    """A name is no host label, and not empty."""
    assert (await api.call("POST", "/capacityclaims", claim_body("My claim"))).status == 200
    answer = await api.call("POST", "/capacityclaims", claim_body(""))
    assert (answer.status, answer.body["message"]) == (400, "name: must not be empty")


async def test_a_list_gives_the_inventory_out_once(
    api: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of many claims takes one look at the inventory, not one for each."""
    for name in ("a", "b", "c"):
        await api.call("POST", "/capacityclaims", claim_body(name))
    counted: list[object] = []

    def counting(*asked: Any) -> dict[str, int]:
        counted.append(asked)
        return allocation(*asked)

    monkeypatch.setattr(capacity_claims, "allocation", counting)
    answer = await api.call("GET", "/capacityclaims")
    given = [claim["status"]["allocatedInstances"] for claim in answer.body["capacityClaims"]]
    assert (given, len(counted)) == ([2, 2, 0], 1)


async def test_parameters_tell_what_can_be_claimed_where(api: Installation) -> None:
    """`GET capacityclaims/parameters` gives the instance types of every zone."""
    answer = await api.call("GET", "/capacityclaims/parameters", token=VIEWER)
    zones = {"US-EAST-04A": {"instanceIds": ["gd-8"]}, "EU-NORTH-04A": {"instanceIds": []}}
    assert answer == Reply(200, {"zoneInstanceTypes": zones})
