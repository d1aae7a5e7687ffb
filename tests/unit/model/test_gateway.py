"""A gateway's rules: docs/inference-api.md, section 2, "Gateway"; each with the message that people read."""

from typing import Any

import pytest
from igw_model.gateway import (
    BodyBasedRouting,
    CoreWeaveAuth,
    EndpointConfiguration,
    Gateway,
    HeaderBasedRouting,
    PathBasedRouting,
    WeightsAndBiasesAuth,
    parse_gateway,
)
from igw_model.policy import MOST_ENTITIES

from tests.builders import gateway, gateway_id, gateway_spec, without

CIDR = "endpointConfiguration.allowedSourceIpRanges[0]: must be a CIDR range such as 10.0.0.0/8"
NAME = "must be a DNS name, without scheme, port or wildcard"
ROUTINGS = "bodyBasedRouting, headerBasedRouting, pathBasedRouting"


def messages(document: Any) -> list[str]:
    """Give the rules that a document breaks, as people read them."""
    parsed = parse_gateway(document)
    return [str(error) for error in parsed] if isinstance(parsed, list) else []


def wandb(**fields: Any) -> dict[str, Any]:
    """Give a W&B gateway."""
    return gateway_spec(weightsAndBiasesAuth=fields)


def header(name: Any) -> dict[str, Any]:
    """Give a gateway that routes on a header."""
    return gateway_spec(headerBasedRouting={"headerName": name})


def endpoint(**fields: Any) -> dict[str, Any]:
    """Give a gateway with an endpoint configuration."""
    return gateway_spec(endpointConfiguration=fields)


def test_a_whole_gateway() -> None:
    """Every field of the table has its place in the value."""
    spec = gateway_spec(
        weightsAndBiasesAuth={
            "apiKey": "key",
            "serverUrl": "https://wandb.example.com",
            "enableUsageReports": True,
            "enableRateLimiting": True,
            "allowedEntities": ["research", "ops-2"],
        },
        headerBasedRouting={"headerName": "X-Model"},
        endpointConfiguration={
            "additionalDns": ["Chat.Example.com."],
            "allowedSourceIpRanges": ["10.0.0.0/8", "2001:DB8::/32"],
        },
    )
    auth = WeightsAndBiasesAuth.model_validate(
        {"kind": "weightsAndBiasesAuth", **spec["weightsAndBiasesAuth"]}
    )
    assert parse_gateway(spec) == Gateway.model_construct(
        id=gateway_id(1),
        name="gateway-1",
        zones=("US-EAST-04A",),
        organization_id="acme",
        auth=auth,
        routing=HeaderBasedRouting.model_construct(kind="headerBasedRouting", header_name="X-Model"),
        endpoint_configuration=EndpointConfiguration.model_construct(
            additional_dns=("Chat.Example.com.",),
            allowed_source_ip_ranges=("10.0.0.0/8", "2001:db8::/32"),
        ),
    )
    assert auth.api_key is not None
    assert auth.api_key.get_secret_value() == "key"
    assert auth.allowed_entities == ("research", "ops-2")


ENTITY = "must be the name of a W&B user or team: letters, digits, '.', '_' and '-', at most 128 characters"
BROKEN: list[tuple[dict[str, Any], str]] = [
    (without(gateway_spec(), "id"), "id: is required"),
    (gateway_spec(id="chat"), "id: must be a UUID"),
    (without(gateway_spec(), "name"), "name: is required"),
    (gateway_spec(name=""), "name: must not be empty"),
    (gateway_spec(name="a" * 256), "name: must have at most 255 characters"),
    (gateway_spec(name=1), "name: must be a string"),
    (without(gateway_spec(), "zones"), "zones: is required"),
    (gateway_spec(zones=[]), "zones: must have exactly one zone"),
    (gateway_spec(zones=["A", "B"]), "zones: must have exactly one zone"),
    (gateway_spec(zones="A"), "zones: must be a list"),
    (gateway_spec(zones=[None]), "zones[0]: must be a string"),
    (gateway_spec(zones=[""]), "zones[0]: must not be empty"),
    (without(gateway_spec(), "organizationId"), "organizationId: is required"),
    (gateway_spec(createdAt="now"), "createdAt: unknown field"),
    (gateway_spec(organization_id="acme"), "organization_id: unknown field"),
    (without(gateway_spec(), "coreWeaveAuth"), "coreWeaveAuth, weightsAndBiasesAuth: choose exactly one"),
    (
        gateway_spec(coreWeaveAuth={}, weightsAndBiasesAuth={}),
        "coreWeaveAuth, weightsAndBiasesAuth: choose exactly one",
    ),
    (gateway_spec(auth={}), "auth: unknown field"),
    (gateway_spec(coreWeaveAuth={"apiKey": "key"}), "coreWeaveAuth.apiKey: unknown field"),
    (gateway_spec(coreWeaveAuth=[]), "coreWeaveAuth: must be an object"),
    (gateway_spec(coreWeaveAuth={"kind": "x"}), "coreWeaveAuth.kind: unknown field"),
    (wandb(apiKey="key"), "weightsAndBiasesAuth: an apiKey needs a serverUrl"),
    (wandb(serverUrl=""), "weightsAndBiasesAuth.serverUrl: must not be empty"),
    (wandb(enableUsageReports="yes"), "weightsAndBiasesAuth.enableUsageReports: must be true or false"),
    (wandb(enableRateLimiting=1), "weightsAndBiasesAuth.enableRateLimiting: must be true or false"),
    (wandb(allowedEntities="ops"), "weightsAndBiasesAuth.allowedEntities: must be a list"),
    (
        wandb(allowedEntities=["e"] * (MOST_ENTITIES + 1)),
        "weightsAndBiasesAuth.allowedEntities: must have at most 200 items",
    ),
    *(
        (
            wandb(allowedEntities=["ops", entity]),
            f"weightsAndBiasesAuth.allowedEntities[1]: {ENTITY}",
        )
        for entity in ("", "a/b", "a,b", "a b", "e" * 129, "é")
    ),
    (gateway_spec(coreWeaveAuth={"allowedEntities": []}), "coreWeaveAuth.allowedEntities: unknown field"),
    (without(gateway_spec(), "bodyBasedRouting"), f"{ROUTINGS}: choose exactly one"),
    (
        gateway_spec(bodyBasedRouting={"apiType": 1}, pathBasedRouting={}),
        "bodyBasedRouting, pathBasedRouting: choose exactly one",
    ),
    (gateway_spec(bodyBasedRouting={}), "bodyBasedRouting.apiType: is required"),
    *(
        (
            gateway_spec(bodyBasedRouting={"apiType": value}),
            "bodyBasedRouting.apiType: must be API_TYPE_OPENAI",
        )
        for value in ("API_TYPE_UNSPECIFIED", 0, 2, "openai")
    ),
    (gateway_spec(bodyBasedRouting={"apiType": True}), "bodyBasedRouting.apiType: must be a string"),
    (gateway_spec(pathBasedRouting={"prefix": "/"}), "pathBasedRouting.prefix: unknown field"),
    (header(""), "headerBasedRouting.headerName: must have 1 to 100 characters"),
    (header("x" * 101), "headerBasedRouting.headerName: must have 1 to 100 characters"),
    *(
        (header(name), "headerBasedRouting.headerName: must be a legal HTTP field name")
        for name in ("x model", "x:model", ":path", "modèle", "x\r\ny", "x\n")
    ),
    *(
        (header(name), "headerBasedRouting.headerName: is reserved: choose a header that clients may set")
        for name in ("X-IGW-Model", "x_igw_model", "x-envoy-retry-on", "Authorization", "cookie")
    ),
    *(
        (endpoint(additionalDns=["ok", name]), f"endpointConfiguration.additionalDns[1]: {NAME}")
        for name in (
            "",
            "a b",
            "*.a.com",
            "http://a.com",
            "a.com:80",
            "-a.com",
            "a..com",
            "ü.de",
            "\N{KELVIN SIGN}.com",
            "a" * 64,
            "a.com\n",
            "a." * 127,
        )
    ),
    *(
        (
            endpoint(additionalDns=[name]),
            "endpointConfiguration.additionalDns[0]: must be a DNS name, not an IP address",
        )
        for name in ("127.0.0.1", "1", "a.1.")
    ),
    (
        endpoint(additionalDns=["a"] * 101),
        "endpointConfiguration.additionalDns: must have at most 100 items",
    ),
    (
        endpoint(allowedSourceIpRanges=["10.0.0.0/8"] * 101),
        "endpointConfiguration.allowedSourceIpRanges: must have at most 100 items",
    ),
    (
        endpoint(allowedSourceIpRanges=["fe80::%eth0/64"]),
        "endpointConfiguration.allowedSourceIpRanges[0]: must not have a zone id",
    ),
    (
        endpoint(allowedSourceIpRanges=["10.0.0.0/" + "8".zfill(56)]),
        "endpointConfiguration.allowedSourceIpRanges[0]: must have at most 64 characters",
    ),
    (gateway_spec(id=gateway_id(1) + "-" * 64), "id: must have at most 64 characters"),
    (
        wandb(apiKey="k" * 1025, serverUrl="https://w"),
        "weightsAndBiasesAuth.apiKey: must have at most 1024 characters",
    ),
    (endpoint(additionalDns="a.com"), "endpointConfiguration.additionalDns: must be a list"),
    (
        endpoint(allowedSourceIpRanges=["10.0.0.1/8"]),
        f"{CIDR}: 10.0.0.1/8 has host bits set",
    ),
    (
        endpoint(allowedSourceIpRanges=["everyone"]),
        f"{CIDR}: 'everyone' does not appear to be an IPv4 or IPv6 network",
    ),
]


@pytest.mark.parametrize(("spec", "message"), BROKEN, ids=[message for _, message in BROKEN])
def test_a_broken_rule_is_named(spec: dict[str, Any], message: str) -> None:
    """A validation message names the field and says the rule (section 3), and nothing else is wrong."""
    assert messages(spec) == [message]


def test_all_errors_are_told_at_once() -> None:
    """One look at the messages is enough to mend a gateway."""
    assert messages({"zones": [], "headerBasedRouting": {"headerName": ""}, "colour": "red"}) == [
        "coreWeaveAuth, weightsAndBiasesAuth: choose exactly one",
        "id: is required",
        "name: is required",
        "zones: must have exactly one zone",
        "organizationId: is required",
        "headerBasedRouting.headerName: must have 1 to 100 characters",
        "colour: unknown field",
    ]


@pytest.mark.parametrize("document", [None, [], "gateway", 1])
def test_a_gateway_is_an_object(document: Any) -> None:
    """What is no object has no fields to name."""
    assert messages(document) == ["must be an object"]


def test_an_enum_is_accepted_as_its_number() -> None:
    """Enums are names, and integers are accepted on input (section 1)."""
    assert gateway(bodyBasedRouting={"apiType": 1}) == gateway(
        bodyBasedRouting={"apiType": "API_TYPE_OPENAI"}
    )


@pytest.mark.parametrize(
    ("given", "same"),
    [
        (gateway_spec(endpointConfiguration=None), gateway_spec()),
        (gateway_spec(weightsAndBiasesAuth=None, coreWeaveAuth={}, pathBasedRouting=None), None),
        (endpoint(additionalDns=None, allowedSourceIpRanges=None), gateway_spec()),
        (wandb(apiKey=None, serverUrl=None, enableUsageReports=None), wandb()),
        (gateway_spec(auth=None), gateway_spec()),
    ],
)
def test_null_means_left_out(given: dict[str, Any], same: dict[str, Any] | None) -> None:
    """A null field is one that was left out, at every depth, as protobuf JSON has it (section 1)."""
    if same is None:
        given, same = {**given, "bodyBasedRouting": {"apiType": 1}}, gateway_spec()
    assert parse_gateway(given) == parse_gateway(same)


def test_a_required_field_may_not_be_null() -> None:
    """Left out is left out: the message is the same."""
    assert messages(gateway_spec(name=None, bodyBasedRouting={"apiType": None})) == [
        "name: is required",
        "bodyBasedRouting.apiType: is required",
    ]


@pytest.mark.parametrize(
    ("spec", "routing"),
    [
        (gateway_spec(), BodyBasedRouting),
        (header("!#$%&'*+-.^_`|~aZ09"), HeaderBasedRouting),
        (header("x" * 100), HeaderBasedRouting),
        (gateway_spec(pathBasedRouting={}), PathBasedRouting),
    ],
)
def test_each_strategy_is_a_type_of_its_own(spec: dict[str, Any], routing: type) -> None:
    """Routing is a closed choice; every legal field name names a header."""
    parsed = parse_gateway(spec)
    assert isinstance(parsed, Gateway)
    assert isinstance(parsed.routing, routing)


def test_a_server_url_needs_no_key() -> None:
    """`serverUrl` alone is fine, and W&B without either is too (it defaults to the public service)."""
    assert isinstance(gateway(weightsAndBiasesAuth={"serverUrl": "https://w"}).auth, WeightsAndBiasesAuth)
    assert gateway().auth == CoreWeaveAuth(kind="coreWeaveAuth")
    assert messages(wandb()) == []


def test_what_was_sent_is_kept() -> None:
    """Letter case of zones and the order of lists are kept (section 1); an id has one spelling."""
    kept = gateway(
        id=gateway_id(1).upper(),
        zones=["eu-North-04a"],
        endpointConfiguration={"additionalDns": ["b.com", "A.com"]},
    )
    assert (kept.id, kept.zones, kept.zone) == (gateway_id(1), ("eu-North-04a",), "eu-North-04a")
    assert kept.endpoint_configuration.additional_dns == ("b.com", "A.com")


def test_secrets_are_hidden() -> None:
    """`apiKey` is in no repr, no text, no dump and no message."""
    whole = gateway(weightsAndBiasesAuth={"apiKey": "s3cret", "serverUrl": "https://w"})
    for text in (repr(whole), str(whole), whole.model_dump_json(), repr(whole.auth)):
        assert "s3cret" not in text
    assert "s3cret" not in str(messages(wandb(apiKey="s3cret")))
    assert "s3cret" not in str(messages(wandb(apiKey=["s3cret"])))


def test_a_gateway_is_a_value() -> None:
    """Gateways are frozen: the plan's input cannot change under it."""
    with pytest.raises(ValueError, match="frozen"):
        gateway().name = "other"  # type: ignore[misc]  # the point of the test
