"""Deployments over REST, sentence by sentence of docs/inference-api.md, from the JSON on the wire."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from igw_api.parameters import Parameters
from igw_api.settings import Backends
from igw_model.record import Kind
from igw_model.status import Status

from tests.builders import deployment_id, gateway_id
from tests.unit.api.documents import awaited, deployment_body, gateway_body, managed_body, status
from tests.unit.api.installation import (
    OTHER,
    VIEWER,
    Installation,
    Reply,
    installation,
    made_id,
    parameters,
    with_settings,
)


@pytest_asyncio.fixture
async def api(api: Installation) -> Installation:
    """Give an API with gateway 1."""
    await with_gateway(api)
    return api


async def with_gateway(api: Installation, number: int = 1, **fields: Any) -> None:
    """Create a gateway."""
    name = f"gateway-{number}"
    answer = await api.call("POST", "/gateways", gateway_body(id=gateway_id(number), name=name, **fields))
    assert answer.status == 200


async def create(api: Installation, number: int = 1, **fields: Any) -> Reply:
    """Create a deployment with a chosen id."""
    return await api.call("POST", "/deployments", deployment_body(id=deployment_id(number), **fields))


async def test_create_read_change_delete(api: Installation) -> None:
    """The life of a deployment: CREATING, UPDATING on a change, READY as seen, DELETING, and not-found."""
    path = f"/deployments/{deployment_id(1)}"
    spec = deployment_body(id=deployment_id(1), organizationId="acme")
    created = await create(api)
    expected = {"spec": spec, "status": status("CREATING", awaited())}
    assert created == Reply(200, {"deployment": expected})
    assert await api.call("GET", path) == created
    changed = await api.call("PATCH", path, deployment_body(traffic={"weight": 20}))
    spec["traffic"] = {"weight": 20}
    assert changed == Reply(200, {"deployment": {"spec": spec, "status": status("UPDATING", awaited())}})
    await api.observe(Kind.DEPLOYMENT, deployment_id(1), Status.READY, generation=2)
    ready = await api.call("GET", path)
    assert ready.body["deployment"]["status"]["status"] == "STATUS_READY"
    deleted = await api.call("DELETE", path)
    expected = {"spec": spec, "status": status("DELETING", awaited(deleting=True))}
    assert deleted == Reply(200, {"deployment": expected})
    assert await api.call("DELETE", path) == deleted
    await api.remove(Kind.DEPLOYMENT, deployment_id(1))
    assert [(await api.call(verb, path)).status for verb in ("GET", "DELETE")] == [404, 404]


async def test_an_omitted_field_is_unset(api: Installation) -> None:
    """PATCH replaces: what it leaves out is gone, and nothing is filled in for it."""
    await create(api, disabled=True)
    body = {key: value for key, value in deployment_body().items() if key != "traffic"}
    answer = await api.call("PATCH", f"/deployments/{deployment_id(1)}", body)
    expected = {**body, "id": deployment_id(1), "organizationId": "acme"}
    assert answer.body["deployment"]["spec"] == expected


async def test_a_managed_deployment_is_echoed(api: Installation) -> None:
    """Every field of a deployment without a backend comes back as sent, enums by name, 1.0 as 1."""
    sent = managed_body(
        runtime={"engine": "vllm", "version": "v1", "engineConfig": {"a": "1"}, "engineEnv": {"B": ""}},
        autoscaling={
            "min": 1.0,
            "max": 4_294_967_295,
            "priority": 1000,
            "concurrency": 1,
            "capacityClasses": [1, "CAPACITY_CLASS_ON_DEMAND"],
        },
        disabled=False,
    )
    answer = await api.call("POST", "/deployments", sent)
    autoscaling = {
        **sent["autoscaling"],
        "capacityClasses": ["CAPACITY_CLASS_RESERVED", "CAPACITY_CLASS_ON_DEMAND"],
    }
    expected = {**sent, "id": made_id(2), "organizationId": "acme", "autoscaling": autoscaling}
    assert answer.body["deployment"]["spec"] == expected
    assert '"min":1,' in str(answer.body).replace("'", '"').replace(" ", "")


@pytest.mark.parametrize("token", [None, OTHER])
async def test_gateways_must_be_the_organisations_own(api: Installation, token: str | None) -> None:
    """`gatewayIds` name existing gateways of the organisation: else the argument is invalid, and the entry is named."""
    if token is not None:
        await api.call("POST", "/gateways", gateway_body(id=gateway_id(2), name="b"), token=token)
    answer = await create(api, gatewayIds=[gateway_id(1), gateway_id(2)])
    assert (answer.status, answer.body["code"], answer.body["message"]) == (
        400,
        "invalid_argument",
        f"gatewayIds[1]: there is no gateway {gateway_id(2)}",
    )


async def test_a_gateway_that_is_being_deleted_takes_no_deployment(api: Installation) -> None:
    """A gateway that is going counts as none."""
    await api.call("DELETE", f"/gateways/{gateway_id(1)}")
    answer = await create(api)
    message = f"gatewayIds[0]: gateway {gateway_id(1)} is being deleted"
    assert (answer.status, answer.body["message"]) == (400, message)


async def test_ids_of_gateways_are_compared_without_case(api: Installation) -> None:
    """A UUID is the same in any letter case, and is echoed as it was sent."""
    sent = [gateway_id(1).upper()]
    answer = await create(api, gatewayIds=sent)
    assert (answer.status, answer.body["deployment"]["spec"]["gatewayIds"]) == (200, sent)
    assert (await api.call("DELETE", f"/gateways/{gateway_id(1)}")).status == 412


async def test_a_list_is_filtered_by_gateway(api: Installation) -> None:
    """Deployments also take `parentGatewayId`; one that names no gateway of ours gives an empty list."""
    await with_gateway(api, 2)
    await create(api, 1)
    await create(api, 2, name="both", gatewayIds=[gateway_id(2), gateway_id(1)])
    for gateway, found in ((1, [1, 2]), (2, [2]), (3, [])):
        answer = await api.call("GET", "/deployments", parentGatewayId=gateway_id(gateway))
        assert [item["spec"]["id"] for item in answer.body["items"]] == [deployment_id(n) for n in found]
    answer = await api.call("GET", "/deployments", parentGatewayId="nonsense")
    assert (answer.status, answer.body["message"]) == (400, "parentGatewayId: must be a UUID")


async def test_names_are_unique_within_an_organisation(api: Installation) -> None:
    """A second deployment of a name is `already_exists`; a gateway may have the same name."""
    await create(api)
    answer = await create(api, 2)
    assert (answer.status, answer.body["message"]) == (
        409,
        f"name: small already belongs to deployment {deployment_id(1)}",
    )
    await with_gateway(api, 2)
    assert (await create(api, 3, name="gateway-2")).status == 200


async def test_another_organisations_deployment_is_absent(api: Installation) -> None:
    """Another organisation's deployment is 404."""
    await create(api)
    for verb, body in (("GET", None), ("PATCH", deployment_body()), ("DELETE", None)):
        answer = await api.call(verb, f"/deployments/{deployment_id(1)}", body, token=OTHER)
        assert (answer.status, answer.body["message"]) == (404, f"deployment {deployment_id(1)} not found")


NOT_OURS = "is not in a network where backends may be"


def backend(*addresses: str) -> dict[str, Any]:
    """Give a backend at addresses."""
    return {"endpoints": [{"address": address, "port": 8000} for address in addresses]}


RULES: list[tuple[dict[str, Any], str]] = [
    ({"name": None}, "name: is required"),
    (
        {"name": "Small"},
        "name: must be one host-name label: lower-case letters, digits and '-', at most 63 characters",
    ),
    ({"gatewayIds": None}, "gatewayIds: is required"),
    ({"gatewayIds": []}, "gatewayIds: must not be empty"),
    ({"gatewayIds": ["gateway-1"]}, "gatewayIds[0]: must be the id of a gateway, a UUID"),
    ({"model": None}, "model: is required"),
    ({"model": {"name": "abc"}}, "model.name: must have 4 to 63 characters"),
    ({"model": {"name": "x" * 64}}, "model.name: must have 4 to 63 characters"),
    ({"model": {"name": "a model"}}, "model.name: must not contain spaces or control characters"),
    ({"traffic": {"weight": 1001}}, "traffic.weight: must be at most 1000"),
    ({"traffic": {"weight": -1}}, "traffic.weight: must be at least 0"),
    ({"traffic": {"weight": "10"}}, "traffic.weight: must be a whole number"),
    ({"traffic": {"weight": 1.5}}, "traffic.weight: must be a whole number"),
    ({"traffic": {"weight": True}}, "traffic.weight: must be a whole number"),
    ({"disabled": 1}, "disabled: must be true or false"),
    ({"runtime": {"engine": "abacus"}}, "runtime.engine: must be one of vllm, sglang, dynamo"),
    ({"runtime": {}}, "runtime.engine: is required"),
    ({"runtime": {"engine": "vllm", "engineConfig": {"a": 1}}}, "runtime.engineConfig.a: must be a string"),
    (
        {"resources": {"instanceType": "gd-8", "gpuCount": 3}},
        "resources.gpuCount: must be one of 1, 2, 4, 8, 16",
    ),
    ({"autoscaling": {"min": 0, "max": 1}}, "autoscaling.min: must be at least 1"),
    ({"autoscaling": {"min": 2, "max": 1}}, "autoscaling.max: must be at least min"),
    ({"autoscaling": {"min": 1, "max": 4_294_967_296}}, "autoscaling.max: must be at most 4294967295"),
    ({"autoscaling": {"min": 1, "max": 1, "priority": 1001}}, "autoscaling.priority: must be at most 1000"),
    ({"autoscaling": {"min": 1, "max": 1, "concurrency": 0}}, "autoscaling.concurrency: must be at least 1"),
    (
        {"autoscaling": {"min": 1, "max": 1, "capacityClasses": [0]}},
        "autoscaling.capacityClasses[0]: must be one of 'CAPACITY_CLASS_RESERVED' or 'CAPACITY_CLASS_ON_DEMAND'",
    ),
    ({"staticBackend": {"endpoints": []}}, "staticBackend.endpoints: must not be empty"),
    ({"staticBackend": backend("192.168.0.1")}, f"staticBackend.endpoints[0].address: {NOT_OURS}"),
    (
        {"staticBackend": backend("127.0.0.1", "169.254.169.254")},
        f"staticBackend.endpoints[1].address: {NOT_OURS}",
    ),
    ({"staticBackend": backend("::ffff:169.254.169.254")}, f"staticBackend.endpoints[0].address: {NOT_OURS}"),
    (
        {"staticBackend": backend("localhost")},
        "staticBackend.endpoints[0].address: must be an IP address; for a host name use dnsBackend",
    ),
    (
        {"staticBackend": None, "dnsBackend": {"hostname": "models.internal", "port": 80}},
        "dnsBackend: is not allowed here without --allow-dns-backends: use staticBackend",
    ),
    (
        {"staticBackend": None, "dockerBackend": {"port": 80}},
        "dockerBackend: is not allowed here without --allow-docker-backends: use staticBackend",
    ),
    ({"status": {}}, "status: unknown field"),
]


@pytest.mark.parametrize(("fields", "message"), RULES, ids=[message for _, message in RULES])
async def test_a_broken_rule_names_its_field(api: Installation, fields: dict[str, Any], message: str) -> None:
    """Every rule of a deployment's fields is held on create and on update, and the message names the field."""
    await create(api)
    for verb, path in (("POST", "/deployments"), ("PATCH", f"/deployments/{deployment_id(1)}")):
        answer = await api.call(verb, path, deployment_body(**fields))
        assert (answer.status, answer.body["code"], answer.body["message"]) == (
            400,
            "invalid_argument",
            message,
        )


async def test_without_a_backend_the_rest_is_needed(api: Installation) -> None:
    """Without any backend runtime, resources, autoscaling and the model's place are required."""
    answer = await create(api, staticBackend=None)
    fields = ("runtime", "resources", "autoscaling", "model.bucket", "model.path")
    reasons = [f"{field}: is required without staticBackend, dnsBackend or dockerBackend" for field in fields]
    assert (answer.status, answer.body["message"]) == (400, "; ".join(reasons))


async def test_a_dns_backend_is_for_installations_that_allow_it() -> None:
    """What a name resolves to cannot be held to networks, so a setting must allow it."""
    async with installation(with_settings(backends=Backends(dns=True))) as api:
        await with_gateway(api)
        dns = {"hostname": "models.internal", "port": 80}
        assert (await create(api, staticBackend=None, dnsBackend=dns)).status == 200


async def test_a_docker_backend_is_for_installations_that_allow_it() -> None:
    """Which containers a label leads to cannot be held to networks either; it is kept and told as it was sent."""
    docker = {"port": 8000, "network": "models", "healthCheck": {"path": "/ready"}}
    async with installation(with_settings(backends=Backends(docker=True))) as api:
        await with_gateway(api)
        made = await create(api, staticBackend=None, dockerBackend=docker)
        assert (made.status, made.body["deployment"]["spec"]["dockerBackend"]) == (200, docker)
        refused = await create(api, staticBackend=None, dockerBackend={**docker, "port": 0, "label": "x"})
        assert refused.body["message"] == (
            "dockerBackend.port: must be at least 1; dockerBackend.label: unknown field"
        )


@pytest_asyncio.fixture
async def strict() -> AsyncIterator[Installation]:
    """Give an API whose parameters name versions, keys, names and instance types."""
    engine = {"versions": ["v1", "v2"], "allowedKeys": ["dtype"], "allowedNames": ["HF_HOME"]}
    held: Parameters = parameters(
        zones=["US-EAST-04A"], engines={"vllm": engine}, instanceTypes=["gd-1", "gd-8"]
    )
    async with installation(with_settings(parameters=held)) as api:
        await with_gateway(api)
        yield api


async def test_parameters_hold_new_specs(strict: Installation) -> None:
    """What the parameters list is all that may be chosen; each violation is named."""
    runtime = {
        "engine": "vllm",
        "version": "v3",
        "engineConfig": {"dtype": "auto", "port": "1"},
        "engineEnv": {"HF_HOME": "/", "PATH": "/"},
    }
    resources = {"instanceType": "gd-2", "gpuCount": 1}
    answer = await strict.call("POST", "/deployments", managed_body(runtime=runtime, resources=resources))
    assert answer.status == 400
    assert answer.body["message"].split("; ") == [
        "runtime.version: must be one of v1, v2",
        "runtime.engineConfig.port: is not allowed for this engine",
        "runtime.engineEnv.PATH: is not allowed for this engine",
        "resources.instanceType: must be one of gd-1, gd-8",
    ]


async def test_parameters_are_told(strict: Installation) -> None:
    """`GET deployments/parameters` gives the gateways asked about, engines' options, and instance types."""
    answer = await strict.call("GET", "/deployments/parameters", token=VIEWER, gatewayIds=[gateway_id(1)] * 2)
    expected = {
        "gatewayIds": [gateway_id(1)] * 2,
        "runtimeParameters": {
            "runtimeVersions": {"vllm": {"versions": ["v1", "v2"]}},
            "runtimeConfigOptions": {"vllm": {"allowedKeys": ["dtype"]}},
            "engineEnvOptions": {"vllm": {"allowedNames": ["HF_HOME"]}},
        },
        "resourceParameters": {"instanceTypes": ["gd-1", "gd-8"]},
    }
    assert answer == Reply(200, expected)
    answer = await strict.call("GET", "/deployments/parameters?gatewayIds=")
    assert (answer.status, answer.body["message"]) == (400, "gatewayIds: must be a list of gateway ids")
    none = await strict.call("GET", "/deployments/parameters")
    assert none.body["gatewayIds"] == []
    answer = await strict.call("GET", "/deployments/parameters", gatewayIds=gateway_id(2))
    assert (answer.status, answer.body["message"]) == (
        400,
        f"gatewayIds[0]: there is no gateway {gateway_id(2)}",
    )
