"""Gateways over REST, sentence by sentence of docs/inference-api.md, from the JSON on the wire."""

import asyncio
import threading
from typing import Any

import pytest
from igw_model.record import Kind
from igw_model.status import Status

from tests.builders import deployment_id, gateway_id
from tests.unit.api.documents import awaited, deployment_body, gateway_body, programmed, status
from tests.unit.api.installation import ADMIN, OTHER, VIEWER, Installation, Reply, made_id

ZONE = "US-EAST-04A"
LATER = "2026-01-31T08:00:01Z"


def spec(number: int = 1, **fields: Any) -> dict[str, Any]:
    """Give the spec that answers a create with a chosen id."""
    return {**gateway_body(**fields), "id": gateway_id(number), "organizationId": "acme"}


async def create(api: Installation, number: int = 1, **fields: Any) -> Reply:
    """Create a gateway with a chosen id."""
    return await api.call("POST", "/gateways", {"id": gateway_id(number), **gateway_body(**fields)})


async def test_create_answers_creating_with_an_id_of_the_servers(api: Installation) -> None:
    """Create answers at once with STATUS_CREATING; the server makes an id where none was sent; no endpoints yet."""
    answer = await api.call("POST", "/gateways", gateway_body())
    expected = {
        "spec": {**gateway_body(), "id": made_id(1), "organizationId": "acme"},
        "status": status("CREATING", awaited(ZONE)),
    }
    assert answer == Reply(200, {"gateway": expected})
    assert await api.call("GET", f"/gateways/{made_id(1)}") == answer
    assert await api.call("GET", "/gateways") == Reply(200, {"items": [expected]})


async def test_what_was_sent_is_echoed_exactly(api: Installation) -> None:
    """Case and order stay, nothing is filled in, nulls are left out, and numbers of enums become names."""
    endpoints = {
        "additionalDns": ["B.example.com", "a.example.com."],
        "allowedSourceIpRanges": ["10.0.0.0/8"],
    }
    sent = {
        "endpointConfiguration": endpoints,
        "zones": ["us-east-04a"],
        "bodyBasedRouting": {"apiType": 1},
        "headerBasedRouting": None,
        "name": "Ünïcode",
        "coreWeaveAuth": {},
    }
    answer = await api.call("POST", "/gateways", sent)
    expected = {
        "id": made_id(1),
        "endpointConfiguration": endpoints,
        "zones": ["us-east-04a"],
        "bodyBasedRouting": {"apiType": "API_TYPE_OPENAI"},
        "name": "Ünïcode",
        "coreWeaveAuth": {},
        "organizationId": "acme",
    }
    assert answer.body["gateway"]["spec"] == expected


async def test_ready_gateways_have_endpoints(api: Installation) -> None:
    """`status.endpoints` appears when ready: the generated name first, then the additional ones."""
    await create(api, endpointConfiguration={"additionalDns": ["Models.example.com"]})
    api.later(seconds=1)
    await api.observe(Kind.GATEWAY, gateway_id(1), Status.READY, zone=ZONE)
    answer = await api.call("GET", f"/gateways/{gateway_id(1)}")
    assert answer.body["gateway"]["status"] == status(
        "READY",
        programmed(ZONE, LATER),
        updated=LATER,
        endpoints=[
            f"http://api.{gateway_id(1)}.gw.localhost:8080",
            "http://models.example.com:8080",
        ],
    )


async def test_update_replaces_the_whole_spec(api: Installation) -> None:
    """An omitted field means its zero value; the answer is UPDATING, and a gateway that was ready keeps endpoints."""
    await create(api, endpointConfiguration={"additionalDns": ["models.example.com"]})
    await api.observe(Kind.GATEWAY, gateway_id(1), Status.READY, zone=ZONE)
    api.later(seconds=1)
    answer = await api.call("PATCH", f"/gateways/{gateway_id(1)}", gateway_body(name="talk"))
    expected = status(
        "UPDATING",
        awaited(ZONE, LATER),
        updated=LATER,
        endpoints=[f"http://api.{gateway_id(1)}.gw.localhost:8080"],
    )
    assert answer == Reply(200, {"gateway": {"spec": spec(name="talk"), "status": expected}})
    assert await api.call("GET", f"/gateways/{gateway_id(1)}") == answer


async def test_an_update_that_changes_nothing_leaves_a_ready_gateway_ready(api: Installation) -> None:
    """Update answers STATUS_READY when nothing changed; it is no event."""
    await create(api)
    await api.observe(Kind.GATEWAY, gateway_id(1), Status.READY, zone=ZONE)
    ready = await api.call("GET", f"/gateways/{gateway_id(1)}")
    read_back = ready.body["gateway"]["spec"]
    assert await api.call("PATCH", f"/gateways/{gateway_id(1)}", read_back) == ready
    assert [event["action"] for event in await api.events()] == ["CREATE"]


async def test_update_never_answers_creating_or_error(api: Installation) -> None:
    """Update answers UPDATING or READY: an equal spec for what is not ready is tried anew."""
    await create(api)
    answer = await api.call("PATCH", f"/gateways/{gateway_id(1)}", gateway_body())
    assert answer.body["gateway"]["status"]["status"] == "STATUS_UPDATING"
    await api.observe(Kind.GATEWAY, gateway_id(1), Status.ERROR, generation=2)
    assert (await api.call("GET", f"/gateways/{gateway_id(1)}")).body["gateway"]["status"]["status"] == (
        "STATUS_ERROR"
    )
    answer = await api.call("PATCH", f"/gateways/{gateway_id(1)}", gateway_body())
    assert answer.body["gateway"]["status"]["status"] == "STATUS_UPDATING"


async def test_what_was_seen_of_an_older_spec_is_not_shown(api: Installation) -> None:
    """A status is of the newest spec alone: what an Envoy said of an older one is not news of this one."""
    await create(api)
    await api.call("PATCH", f"/gateways/{gateway_id(1)}", gateway_body(name="talk"))
    await api.observe(Kind.GATEWAY, gateway_id(1), Status.ERROR, generation=1)
    answer = await api.call("GET", f"/gateways/{gateway_id(1)}")
    assert answer.body["gateway"]["status"] == status("UPDATING", awaited(ZONE))


async def test_ids_in_an_updates_body_must_match(api: Installation) -> None:
    """The path's id and the caller's organisation may be said again, in any letter case of a UUID, and nothing else."""
    await create(api)
    path = f"/gateways/{gateway_id(1)}"
    again = gateway_body(id=gateway_id(1).upper(), organizationId="acme")
    assert (await api.call("PATCH", path, again)).status == 200
    other = await api.call("PATCH", path, gateway_body(id=gateway_id(2)))
    assert (other.status, other.body["message"]) == (400, "id: must be left out, or be the one in the path")
    other = await api.call("PATCH", path, gateway_body(organizationId="other"))
    assert (other.status, other.body["message"]) == (400, "organizationId: must be left out, or be acme")


async def test_the_same_create_again_answers_the_same(api: Installation) -> None:
    """A chosen id is the idempotency key: the same spec gives the same answer, and no second event."""
    first = await create(api)
    api.later(seconds=1)
    assert await create(api) == first
    assert [event["action"] for event in await api.events()] == ["CREATE"]


async def test_another_spec_for_an_id_already_exists(api: Installation) -> None:
    """The same id with another spec is `already_exists`; another W&B key is another spec."""
    keyed = {"serverUrl": "https://api.wandb.ai", "apiKey": "key-1"}
    await create(api, weightsAndBiasesAuth=keyed)
    answer = await create(api, weightsAndBiasesAuth={**keyed, "apiKey": "key-2"})
    message = f"id: {gateway_id(1)} already belongs to a gateway with another spec"
    assert (answer.status, answer.body["code"], answer.body["message"]) == (409, "already_exists", message)
    assert answer.body["details"][0]["debug"] == {
        "resourceType": "gateway",
        "resourceName": gateway_id(1),
        "description": message,
    }


async def test_true_is_not_one(api: Installation) -> None:
    """A spec is the same only if its JSON is; one that breaks rules is told those, on create and on update."""
    auth = {"serverUrl": "https://api.wandb.ai", "enableUsageReports": True}
    await create(api, weightsAndBiasesAuth=auth)
    await api.observe(Kind.GATEWAY, gateway_id(1), Status.READY, zone=ZONE)
    answers = [
        await create(api, weightsAndBiasesAuth={**auth, "enableUsageReports": 1}),
        await api.call(
            "PATCH",
            f"/gateways/{gateway_id(1)}",
            gateway_body(weightsAndBiasesAuth={**auth, "enableUsageReports": 1}),
        ),
    ]
    message = "weightsAndBiasesAuth.enableUsageReports: must be true or false"
    assert [(answer.status, answer.body["message"]) for answer in answers] == [(400, message)] * 2


async def test_names_are_unique_within_an_organisation(api: Installation) -> None:
    """A second gateway of a name is `already_exists`; another organisation may use it."""
    await create(api)
    answer = await create(api, 2)
    message = f"name: chat already belongs to gateway {gateway_id(1)}"
    assert (answer.status, answer.body["message"]) == (409, message)
    assert (await api.call("POST", "/gateways", gateway_body(), token=OTHER)).status == 200
    await create(api, 3, name="talk")
    answer = await api.call("PATCH", f"/gateways/{gateway_id(3)}", gateway_body())
    assert (answer.status, answer.body["message"]) == (409, message)


async def test_additional_names_belong_to_one_gateway(api: Installation) -> None:
    """A host name, in any spelling, and a generated one belong to one gateway, whoever's; who has it stays untold."""
    await create(api, endpointConfiguration={"additionalDns": ["models.example.com"]})
    names = ["Models.Example.com.", f"api.{gateway_id(1)}.elsewhere.example"]
    answer = await api.call(
        "POST", "/gateways", gateway_body(endpointConfiguration={"additionalDns": names}), token=OTHER
    )
    assert answer.status == 409
    assert answer.body["message"].split("; ") == [
        "endpointConfiguration.additionalDns[0]: Models.Example.com. already belongs to another gateway",
        f"endpointConfiguration.additionalDns[1]: {names[1]} already belongs to another gateway",
    ]
    assert len(answer.body["details"]) == 2


async def test_delete_answers_deleting_until_it_is_gone(api: Installation) -> None:
    """Delete answers the object in its last state; get then shows DELETING or not-found; repeating it is safe."""
    await create(api)
    await api.observe(Kind.GATEWAY, gateway_id(1), Status.READY, zone=ZONE)
    api.later(seconds=1)
    path = f"/gateways/{gateway_id(1)}"
    deleted = await api.call("DELETE", path)
    expected = status("DELETING", awaited(ZONE, LATER, deleting=True), updated=LATER)
    assert deleted == Reply(200, {"gateway": {"spec": spec(), "status": expected}})
    api.later(seconds=1)
    assert await api.call("DELETE", path) == deleted
    await api.observe(Kind.GATEWAY, gateway_id(1), Status.READY, zone=ZONE)
    assert (await api.call("GET", path)).body["gateway"]["status"]["status"] == "STATUS_DELETING"
    await api.remove(Kind.GATEWAY, gateway_id(1))
    assert (await api.call("DELETE", path)).status == 404
    assert (await api.call("GET", path)).status == 404
    assert [event["action"] for event in await api.events()] == ["CREATE", "DELETE"]


async def test_what_is_being_deleted_cannot_be_changed_or_made_again(api: Installation) -> None:
    """Update of it is `failed_precondition`, create of its id `already_exists`; its name is free."""
    await create(api)
    await api.call("DELETE", f"/gateways/{gateway_id(1)}")
    answer = await api.call("PATCH", f"/gateways/{gateway_id(1)}", gateway_body())
    message = f"gateway {gateway_id(1)} is being deleted"
    assert (answer.status, answer.body["code"], answer.body["message"]) == (
        412,
        "failed_precondition",
        message,
    )
    assert answer.body["details"][0]["debug"]["violations"] == [
        {"type": "DELETING", "subject": f"gateway/{gateway_id(1)}", "description": message}
    ]
    answer = await create(api)
    assert (answer.status, answer.body["message"]) == (409, f"id: {message}")
    assert (await create(api, 2)).status == 200


async def test_a_gateway_with_deployments_cannot_be_deleted(api: Installation) -> None:
    """It is `failed_precondition` with the product's text until the deployments are deleted."""
    await create(api)
    await api.call("POST", "/deployments", {**deployment_body(), "id": deployment_id(1)})
    answer = await api.call("DELETE", f"/gateways/{gateway_id(1)}")
    text = "gateway has associated deployments, cannot delete"
    assert (answer.status, answer.body["code"], answer.body["message"]) == (412, "failed_precondition", text)
    assert answer.body["details"][0]["type"] == "google.rpc.PreconditionFailure"
    await api.call("DELETE", f"/deployments/{deployment_id(1)}")
    assert (await api.call("DELETE", f"/gateways/{gateway_id(1)}")).status == 200


@pytest.mark.parametrize("verb", ["GET", "PATCH", "DELETE"])
async def test_another_organisations_gateway_is_absent(api: Installation, verb: str) -> None:
    """Another organisation's object answers as one that never was, and is in no list."""
    await create(api)
    body = gateway_body() if verb == "PATCH" else None
    answer = await api.call(verb, f"/gateways/{gateway_id(1)}", body, token=OTHER)
    absent = await api.call(verb, f"/gateways/{gateway_id(2)}", body, token=OTHER)
    message = f"gateway {gateway_id(1)} not found"
    assert (answer.status, answer.body["code"], answer.body["message"]) == (404, "not_found", message)
    assert answer.body["details"][0]["debug"] == {
        "resourceType": "gateway",
        "resourceName": gateway_id(1),
        "description": message,
    }
    assert (absent.status, absent.body["message"]) == (404, message.replace(gateway_id(1), gateway_id(2)))
    assert await api.call("GET", "/gateways", token=OTHER) == Reply(200, {"items": []})


async def test_anothers_id_cannot_be_taken(api: Installation) -> None:
    """An id belongs to one object over all organisations; whose stays untold."""
    await create(api)
    answer = await api.call("POST", "/gateways", gateway_body(id=gateway_id(1)), token=OTHER)
    assert (answer.status, answer.body["message"]) == (
        409,
        f"id: {gateway_id(1)} already belongs to another gateway",
    )


async def test_a_path_that_holds_no_id_is_not_found(api: Installation) -> None:
    """There is no gateway of such an id, so it is 404 and not 400."""
    answer = await api.call("GET", "/gateways/nonsense")
    assert (answer.status, answer.body["message"]) == (404, "gateway nonsense not found")


async def test_lists_are_filtered_by_the_time_of_change(api: Installation) -> None:
    """Every list takes `updatedAfter`, an RFC 3339 time: only what changed later, the status counts too."""
    for number in (1, 2, 3):
        await create(api, number, name=f"gateway-{number}")
        api.later(seconds=1)
    await api.observe(Kind.GATEWAY, gateway_id(1), Status.READY)
    answer = await api.call("GET", "/gateways", updatedAfter="2026-01-31T09:00:01.5+01:00")
    assert [item["spec"]["id"] for item in answer.body["items"]] == [gateway_id(1), gateway_id(3)]


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-01-31", "2026-01-31T08:00:00", "2026-02-30T08:00:00Z"]
)
async def test_a_filter_that_is_no_time_is_named(api: Installation, text: str) -> None:
    """What is no RFC 3339 time is an error that names the filter."""
    answer = await api.call("GET", "/gateways", updatedAfter=text)
    assert (answer.status, answer.body["message"]) == (
        400,
        "updatedAfter: must be an RFC 3339 time such as 2026-01-31T08:00:00Z",
    )


async def test_what_files_define_is_read_only(api: Installation) -> None:
    """A file's gateway is listed and read, cannot be written, and its name and id are taken; errors name the file."""
    await api.from_file(Kind.GATEWAY, spec())
    path = f"/gateways/{gateway_id(1)}"
    assert (await api.call("GET", path)).status == 200
    read_only = "gateway chat is defined in defs.yaml, document 1: change it there"
    for verb, body in (("PATCH", gateway_body()), ("DELETE", None)):
        answer = await api.call(verb, path, body)
        assert (answer.status, answer.body["message"]) == (412, read_only)
    owner = f"already belongs to gateway {gateway_id(1)}, defined in defs.yaml, document 1"
    answer = await create(api, 2)
    assert (answer.status, answer.body["message"]) == (409, f"name: chat {owner}")
    answer = await create(api, 1)
    assert (answer.status, answer.body["message"]) == (409, f"id: {gateway_id(1)} {owner}")


async def test_viewers_read_and_do_not_write(api: Installation) -> None:
    """A viewer's write is `permission_denied`; the object stays as it is."""
    await create(api)
    path = f"/gateways/{gateway_id(1)}"
    assert (await api.call("GET", path, token=VIEWER)).status == 200
    assert (await api.call("GET", "/gateways", token=VIEWER)).status == 200
    before = await api.call("GET", path, token=ADMIN)
    for verb, target, body, method in (
        ("POST", "/gateways", gateway_body(name="b"), "CreateGateway"),
        ("PATCH", path, gateway_body(name="b"), "UpdateGateway"),
        ("DELETE", path, None, "DeleteGateway"),
    ):
        answer = await api.call(verb, target, body, token=VIEWER)
        assert (answer.status, answer.body["code"], answer.body["message"]) == (
            403,
            "permission_denied",
            f"{method} needs the role admin",
        )
    assert await api.call("GET", path) == before


async def test_parameters_tell_the_zones(api: Installation) -> None:
    """`GET gateways/parameters` gives the zones."""
    answer = await api.call("GET", "/gateways/parameters", token=VIEWER)
    assert answer == Reply(200, {"zones": ["US-EAST-04A", "EU-NORTH-04A"]})


async def test_of_concurrent_creates_of_one_name_exactly_one_wins(api: Installation) -> None:
    """However many ask at once, one gets the name and every other is told who has it."""
    answers = await asyncio.gather(*(api.call("POST", "/gateways", gateway_body()) for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [200] + [409] * 19
    assert len((await api.call("GET", "/gateways")).body["items"]) == 1
    assert len(await api.events()) == 1


async def test_times_grow_in_the_order_of_the_writes(api: Installation) -> None:
    """A write's time is read when its turn has come: who has seen an event sees later ones with `updatedAfter`."""
    turn = threading.Event()
    holding = asyncio.create_task(api.store.write(lambda _: turn.wait(10)))
    await asyncio.sleep(0)
    creating = asyncio.create_task(api.call("POST", "/gateways", gateway_body()))
    await asyncio.sleep(0.1)
    api.later(seconds=1)
    turn.set()
    await holding
    assert (await creating).body["gateway"]["status"]["createdAt"] == LATER
    assert [event["time"] for event in await api.events()] == [LATER]
