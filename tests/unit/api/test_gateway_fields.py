"""The rules of a gateway's fields, each from the JSON on the wire; and its W&B key, which nobody reads back."""

from typing import Any

import pytest
from igw_model.record import Kind

from tests.builders import gateway_id
from tests.unit.api.documents import gateway_body
from tests.unit.api.installation import Installation, Reply


async def create(api: Installation, **fields: Any) -> Reply:
    """Create gateway 1."""
    return await api.call("POST", "/gateways", {"id": gateway_id(1), **gateway_body(**fields)})


ONE_AUTH = "coreWeaveAuth, weightsAndBiasesAuth: choose exactly one"
ONE_ROUTING = "bodyBasedRouting, headerBasedRouting, pathBasedRouting: choose exactly one"
NO_HOST = "must be a DNS name, without scheme, port or wildcard"
NO_RANGE = "must be a CIDR range such as 10.0.0.0/8: "
RULES: list[tuple[dict[str, Any], str]] = [
    ({"name": None}, "name: is required"),
    ({"name": ""}, "name: must not be empty"),
    ({"name": 5}, "name: must be a string"),
    ({"id": "nonsense"}, "id: must be a UUID"),
    ({"id": 5}, "id: must be a string"),
    ({"zones": None}, "zones: is required"),
    ({"zones": []}, "zones: must have exactly one zone"),
    ({"zones": ["US-EAST-04A", "EU-NORTH-04A"]}, "zones: must have exactly one zone"),
    ({"zones": ["MARS-1"]}, "zones[0]: must be one of US-EAST-04A, EU-NORTH-04A"),
    ({"zones": "US-EAST-04A"}, "zones: must be a list"),
    ({"organizationId": "other"}, "organizationId: must be left out, or be acme"),
    ({"coreWeaveAuth": None}, ONE_AUTH),
    ({"coreWeaveAuth": {}, "weightsAndBiasesAuth": {}}, ONE_AUTH),
    ({"coreWeaveAuth": {"apiKey": "x"}}, "coreWeaveAuth.apiKey: unknown field"),
    ({"coreWeaveAuth": []}, "coreWeaveAuth: must be an object"),
    ({"bodyBasedRouting": None}, ONE_ROUTING),
    (
        {"pathBasedRouting": {}, "bodyBasedRouting": {"apiType": "API_TYPE_OPENAI"}},
        "bodyBasedRouting, pathBasedRouting: choose exactly one",
    ),
    ({"bodyBasedRouting": {}}, "bodyBasedRouting.apiType: is required"),
    ({"bodyBasedRouting": {"apiType": 0}}, "bodyBasedRouting.apiType: must be API_TYPE_OPENAI"),
    ({"bodyBasedRouting": {"apiType": 7}}, "bodyBasedRouting.apiType: must be API_TYPE_OPENAI"),
    (
        {"headerBasedRouting": {"headerName": ""}},
        "headerBasedRouting.headerName: must have 1 to 100 characters",
    ),
    (
        {"headerBasedRouting": {"headerName": "x" * 101}},
        "headerBasedRouting.headerName: must have 1 to 100 characters",
    ),
    (
        {"headerBasedRouting": {"headerName": "X Model"}},
        "headerBasedRouting.headerName: must be a legal HTTP field name",
    ),
    ({"weightsAndBiasesAuth": {"apiKey": "k"}}, "weightsAndBiasesAuth: an apiKey needs a serverUrl"),
    ({"weightsAndBiasesAuth": {"apiKey": 5}}, "weightsAndBiasesAuth.apiKey: must be a string"),
    (
        {"weightsAndBiasesAuth": {"enableUsageReports": "yes"}},
        "weightsAndBiasesAuth.enableUsageReports: must be true or false",
    ),
    (
        {"endpointConfiguration": {"additionalDns": ["ok.example", "https://x"]}},
        f"endpointConfiguration.additionalDns[1]: {NO_HOST}",
    ),
    (
        {"endpointConfiguration": {"allowedSourceIpRanges": ["10.0.0.1/8"]}},
        f"endpointConfiguration.allowedSourceIpRanges[0]: {NO_RANGE}10.0.0.1/8 has host bits set",
    ),
    ({"colour": "red"}, "colour: unknown field"),
    ({"endpointConfiguration": {"additionaldns": []}}, "endpointConfiguration.additionaldns: unknown field"),
    ({"name": "\ud800"}, "name: must be valid Unicode text"),
    ({"\ud800": 1}, "has a field whose name is no valid Unicode text"),
]


@pytest.mark.parametrize(("fields", "message"), RULES, ids=[message for _, message in RULES])
async def test_a_broken_rule_names_its_field(api: Installation, fields: dict[str, Any], message: str) -> None:
    """Every rule of a gateway's fields is held on create and on update, and the message names the field."""
    await create(api)
    for verb, path in (("POST", "/gateways"), ("PATCH", f"/gateways/{gateway_id(1)}")):
        expected = message
        if verb == "PATCH" and "id" in fields:
            expected = "id: must be left out, or be the one in the path"
        answer = await api.call(verb, path, gateway_body(**fields))
        assert (answer.status, answer.body["code"], answer.body["message"]) == (
            400,
            "invalid_argument",
            expected,
        )
        field, colon, reason = expected.partition(": ")
        (detail,) = answer.body["details"]
        assert detail["type"] == "google.rpc.BadRequest"
        violation = {"field": field, "description": reason} if colon else {"description": expected}
        assert detail["debug"] == {"fieldViolations": [violation]}


async def test_every_violation_is_told_at_once(api: Installation) -> None:
    """The message joins all violations, and the details hold each."""
    body = {"zones": ["MARS-1"], "coreWeaveAuth": {}, "pathBasedRouting": {}, "colour": "red"}
    answer = await api.call("POST", "/gateways", body)
    assert answer.body["message"] == (
        "name: is required; colour: unknown field; zones[0]: must be one of US-EAST-04A, EU-NORTH-04A"
    )
    assert len(answer.body["details"][0]["debug"]["fieldViolations"]) == 3


async def test_a_hundred_violations_are_told(api: Installation) -> None:
    """The message counts those beyond a hundred, and the details end there."""
    answer = await api.call("POST", "/gateways", gateway_body(zones=[1] * 170))
    told = [f"zones[{index}]: must be a string" for index in range(100)]
    assert answer.body["message"].split("; ") == [*told, "and 70 more"]
    assert len(answer.body["details"][0]["debug"]["fieldViolations"]) == 100


SECRET = "wandb-secret-key-0123456789"
KEYED = {"serverUrl": "https://api.wandb.ai", "apiKey": SECRET}


async def kept_key(api: Installation) -> str | None:
    """Give the key that the store has."""
    record = await api.record(Kind.GATEWAY, gateway_id(1))
    assert record is not None
    return None if record.api_key is None else record.api_key.get_secret_value()


async def test_a_wandb_key_is_kept_and_never_told(
    api: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    """`apiKey` is in no answer, event or log line; left out of an update it stays, empty it is removed."""
    server = {"serverUrl": "https://api.wandb.ai"}
    path = f"/gateways/{gateway_id(1)}"
    answers = [await create(api, weightsAndBiasesAuth=KEYED)]
    assert answers[0].body["gateway"]["spec"]["weightsAndBiasesAuth"] == server
    assert await kept_key(api) == SECRET
    answers.append(await api.call("PATCH", path, gateway_body(name="b", weightsAndBiasesAuth=server)))
    assert await kept_key(api) == SECRET
    refused = await api.call("PATCH", path, gateway_body(weightsAndBiasesAuth={**KEYED, "colour": SECRET}))
    answers += [refused, await api.call("GET", path), await api.call("GET", "/events")]
    assert refused.status == 400
    answers.append(await api.call("PATCH", path, gateway_body(weightsAndBiasesAuth={**server, "apiKey": ""})))
    assert await kept_key(api) is None
    assert SECRET not in str([answer.body for answer in answers])
    assert SECRET not in caplog.text


async def test_a_kept_key_needs_a_server_too(api: Installation) -> None:
    """An apiKey needs a serverUrl, also the one that an update leaves out."""
    await create(api, weightsAndBiasesAuth=KEYED)
    answer = await api.call("PATCH", f"/gateways/{gateway_id(1)}", gateway_body(weightsAndBiasesAuth={}))
    assert (answer.status, answer.body["message"]) == (
        400,
        "weightsAndBiasesAuth: an apiKey needs a serverUrl",
    )


async def test_a_key_is_not_kept_for_another_server(api: Installation) -> None:
    """Who changes the server must give the key again, or say that there is none: it is not sent elsewhere unasked."""
    await create(api, weightsAndBiasesAuth=KEYED)
    path, elsewhere = f"/gateways/{gateway_id(1)}", {"serverUrl": "https://elsewhere.example"}
    answer = await api.call("PATCH", path, gateway_body(weightsAndBiasesAuth=elsewhere))
    message = "weightsAndBiasesAuth.apiKey: is required with another serverUrl"
    assert (answer.status, answer.body["message"]) == (400, message)
    for key, kept in (("new-key", "new-key"), ("", None)):
        body = gateway_body(weightsAndBiasesAuth={**elsewhere, "apiKey": key})
        assert (await api.call("PATCH", path, body)).status == 200
        assert await kept_key(api) == kept


async def test_another_way_to_authenticate_drops_the_key(api: Installation) -> None:
    """A gateway that turns to CoreWeave and back has no key any more."""
    await create(api, weightsAndBiasesAuth=KEYED)
    path = f"/gateways/{gateway_id(1)}"
    await api.call("PATCH", path, gateway_body())
    await api.call("PATCH", path, gateway_body(weightsAndBiasesAuth={}))
    assert await kept_key(api) is None
