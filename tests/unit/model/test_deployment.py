"""A deployment's rules: docs/inference-api.md, section 2, "Deployment", and our backends."""

from typing import Any

import pytest
from igw_model.deployment import Deployment, DnsBackend, DockerBackend, StaticBackend, parse_deployment

from tests.builders import deployment, deployment_id, deployment_spec, gateway_id, static, without

LABEL = "must be one host-name label: lower-case letters, digits and '-', at most 63 characters"
CLASSES = "must be one of 'CAPACITY_CLASS_RESERVED' or 'CAPACITY_CLASS_ON_DEMAND'"
NEEDED = "is required without staticBackend, dnsBackend or dockerBackend"
NOT_WHOLE: tuple[Any, ...] = (True, 0.5, "1", [])
UNPLACED = {
    "model": {"name": "demo/small", "bucket": "weights", "path": "small/v1"},
    "runtime": {"engine": "vllm"},
    "resources": {"instanceType": "gd-8xh100ib-i128", "gpuCount": 8},
    "autoscaling": {"min": 1, "max": 1},
}


def messages(document: Any) -> list[str]:
    """Give the rules that a document breaks, as people read them."""
    parsed = parse_deployment(document)
    return [str(error) for error in parsed] if isinstance(parsed, list) else []


def named(name: Any) -> dict[str, Any]:
    """Give a deployment of a model."""
    return deployment_spec(model={"name": name})


def options(**fields: Any) -> dict[str, Any]:
    """Give a deployment with an engine."""
    return deployment_spec(runtime={"engine": "vllm", **fields})


def scaled(**fields: Any) -> dict[str, Any]:
    """Give a deployment with autoscaling between 1 and 2 unless `fields` say otherwise."""
    return deployment_spec(autoscaling={"min": 1, "max": 2, **fields})


def at(**address: Any) -> dict[str, Any]:
    """Give a deployment of one replica."""
    return deployment_spec(staticBackend={"endpoints": [{"address": "10.0.0.1", "port": 1, **address}]})


def dns(**fields: Any) -> dict[str, Any]:
    """Give a deployment behind a name."""
    return deployment_spec(dnsBackend={"hostname": "models.example.com", "port": 8000, **fields})


def docker(**fields: Any) -> dict[str, Any]:
    """Give a deployment in containers."""
    return deployment_spec(dockerBackend={"port": 8000, **fields})


def test_a_whole_deployment() -> None:
    """Every field of the table has its place in the value."""
    spec = deployment_spec(
        disabled=True,
        traffic={"weight": 1000},
        model={"name": "demo/small", "bucket": "weights", "path": "v1"},
        runtime={"engine": "vllm", "version": "1", "engineConfig": {"a": "b"}, "engineEnv": {"c": "d"}},
        resources={"instanceType": "gd", "gpuCount": 16},
        autoscaling={
            "min": 1,
            "max": 4,
            "priority": 1000,
            "concurrency": 1,
            "capacityClasses": ["CAPACITY_CLASS_RESERVED"],
        },
    )
    parsed = parse_deployment(spec)
    assert isinstance(parsed, Deployment)
    assert parsed.model_dump() == {
        "id": deployment_id(1),
        "name": "deployment-1",
        "organization_id": "acme",
        "gateway_ids": (gateway_id(1),),
        "model": {"name": "demo/small", "bucket": "weights", "path": "v1"},
        "traffic": {"weight": 1000},
        "disabled": True,
        "backend": {
            "kind": "staticBackend",
            "endpoints": ({"address": "127.0.0.1", "port": 9001},),
            "health_check": {"path": "/health"},
        },
        "runtime": {
            "engine": "vllm",
            "version": "1",
            "engine_config": {"a": "b"},
            "engine_env": {"c": "d"},
        },
        "resources": {"instance_type": "gd", "gpu_count": 16},
        "autoscaling": {
            "min": 1,
            "max": 4,
            "priority": 1000,
            "concurrency": 1,
            "capacity_classes": ("CAPACITY_CLASS_RESERVED",),
        },
    }


BROKEN: list[tuple[dict[str, Any], str]] = [
    (without(deployment_spec(), "id"), "id: is required"),
    (deployment_spec(id="small"), "id: must be a UUID"),
    (without(deployment_spec(), "name"), "name: is required"),
    *((deployment_spec(name=n), f"name: {LABEL}") for n in ("", "Small", "a.b", "-a", "a-", "a" * 64, "a\n")),
    (without(deployment_spec(), "organizationId"), "organizationId: is required"),
    (without(deployment_spec(), "gatewayIds"), "gatewayIds: is required"),
    (deployment_spec(gatewayIds=[]), "gatewayIds: must not be empty"),
    (deployment_spec(gatewayIds=[""]), "gatewayIds[0]: must not be empty"),
    (deployment_spec(gatewayIds="chat"), "gatewayIds: must be a list"),
    (deployment_spec(gatewayIds=["chat"] * 101), "gatewayIds: must have at most 100 items"),
    (without(deployment_spec(), "model"), "model: is required"),
    (deployment_spec(model={}), "model.name: is required"),
    (deployment_spec(model="demo/small"), "model: must be an object"),
    (named("abc"), "model.name: must have 4 to 63 characters"),
    (named("a" * 64), "model.name: must have 4 to 63 characters"),
    *(
        (named(n), "model.name: must not contain spaces or control characters")
        for n in ("a bcd", "ab\ncd", "abc\0")
    ),
    (named("ab\u3000cd"), "model.name: must not contain spaces or control characters"),
    (deployment_spec(traffic={"weight": -1}), "traffic.weight: must be at least 0"),
    (deployment_spec(traffic={"weight": 1001}), "traffic.weight: must be at most 1000"),
    *((deployment_spec(traffic={"weight": w}), "traffic.weight: must be a whole number") for w in NOT_WHOLE),
    (deployment_spec(disabled="no"), "disabled: must be true or false"),
    (deployment_spec(runtime={}), "runtime.engine: is required"),
    (
        deployment_spec(runtime={"engine": "vllm", "engineConfig": {"a": 1}}),
        "runtime.engineConfig.a: must be a string",
    ),
    (options(version="1" * 1025), "runtime.version: must have at most 1024 characters"),
    (
        options(engineConfig={str(number): "" for number in range(101)}),
        "runtime.engineConfig: must have at most 100 items",
    ),
    (options(engineEnv={"a": "b" * 4097}), "runtime.engineEnv.a: must have at most 4096 characters"),
    (options(engineEnv={"a" * 4097: ""}), "runtime.engineEnv: must have names of at most 4096 characters"),
    *(
        (
            deployment_spec(model={"name": "demo/small", field: "x" * 1025}),
            f"model.{field}: must have at most 1024 characters",
        )
        for field in ("bucket", "path")
    ),
    (
        scaled(capacityClasses=["CAPACITY_CLASS_RESERVED"] * 101),
        "autoscaling.capacityClasses: must have at most 100 items",
    ),
    *(
        (
            deployment_spec(resources={"instanceType": "gd", "gpuCount": count}),
            "resources.gpuCount: must be one of 1, 2, 4, 8, 16",
        )
        for count in (0, 3, 32)
    ),
    (deployment_spec(resources={"gpuCount": 1}), "resources.instanceType: is required"),
    (scaled(min=0), "autoscaling.min: must be at least 1"),
    (scaled(min=3), "autoscaling.max: must be at least min"),
    (without(scaled(), "autoscaling") | {"autoscaling": {"min": 1}}, "autoscaling.max: is required"),
    (scaled(priority=-1), "autoscaling.priority: must be at least 0"),
    (scaled(priority=1001), "autoscaling.priority: must be at most 1000"),
    (scaled(concurrency=0), "autoscaling.concurrency: must be at least 1"),
    (scaled(capacityClasses=["CAPACITY_CLASS_SPOT"]), f"autoscaling.capacityClasses[0]: {CLASSES}"),
    (deployment_spec(backend={}), "backend: unknown field"),
    (
        deployment_spec(staticBackend=static(1), dnsBackend={}),
        "staticBackend, dnsBackend: choose exactly one",
    ),
    (
        deployment_spec(dnsBackend={}, dockerBackend={"port": 1}),
        "dnsBackend, dockerBackend: choose exactly one",
    ),
    (deployment_spec(staticBackend={}), "staticBackend.endpoints: is required"),
    (deployment_spec(staticBackend=static()), "staticBackend.endpoints: must not be empty"),
    (
        deployment_spec(staticBackend=static(*[1] * 1001)),
        "staticBackend.endpoints: must have at most 1000 items",
    ),
    (
        at(address="localhost"),
        "staticBackend.endpoints[0].address: must be an IP address; for a host name use dnsBackend",
    ),
    (at(address="fe80::1%eth0"), "staticBackend.endpoints[0].address: must not have a zone id"),
    (at(port=0), "staticBackend.endpoints[0].port: must be at least 1"),
    (at(port=65536), "staticBackend.endpoints[0].port: must be at most 65535"),
    (at(weight=1), "staticBackend.endpoints[0].weight: unknown field"),
    (dns(hostname="a b"), "dnsBackend.hostname: must be a DNS name, without scheme, port or wildcard"),
    (dns(hostname="10.0.0.1"), "dnsBackend.hostname: must be a DNS name, not an IP address"),
    (dns(healthCheck={"path": "/" * 1025}), "dnsBackend.healthCheck.path: must have at most 1024 characters"),
    (dns(port=0), "dnsBackend.port: must be at least 1"),
    *(
        (
            dns(healthCheck={"path": path}),
            "dnsBackend.healthCheck.path: must be a URL path that begins with '/'",
        )
        for path in ("health", "", "/a b", "/ü", "/a\n")
    ),
    (deployment_spec(dockerBackend={}), "dockerBackend.port: is required"),
    (docker(port=0), "dockerBackend.port: must be at least 1"),
    (docker(port=65536), "dockerBackend.port: must be at most 65535"),
    (docker(network=""), "dockerBackend.network: must not be empty"),
    (docker(network="n" * 256), "dockerBackend.network: must have at most 255 characters"),
    (docker(network=["models"]), "dockerBackend.network: must be a string"),
    (docker(label="x"), "dockerBackend.label: unknown field"),
    (
        docker(healthCheck={"path": "health"}),
        "dockerBackend.healthCheck.path: must be a URL path that begins with '/'",
    ),
]


@pytest.mark.parametrize(("spec", "message"), BROKEN, ids=[message for _, message in BROKEN])
def test_a_broken_rule_is_named(spec: dict[str, Any], message: str) -> None:
    """A validation message names the field and says the rule (section 3), and nothing else is wrong."""
    assert messages(spec) == [message]


@pytest.mark.parametrize("left_out", ["runtime", "resources", "autoscaling"])
def test_what_a_deployment_without_backend_needs(left_out: str) -> None:
    """Where nothing says where the replicas are, the fields that place them are required."""
    spec = {**without(deployment_spec(), "staticBackend"), **UNPLACED}
    assert messages(spec) == []
    assert messages(without(spec, left_out)) == [f"{left_out}: {NEEDED}"]
    assert messages({**spec, "model": {"name": "demo/small"}}) == [
        f"model.bucket: {NEEDED}",
        f"model.path: {NEEDED}",
    ]


def test_all_errors_are_told_at_once() -> None:
    """One look at the messages is enough to mend a deployment."""
    assert messages({"name": "Small", "traffic": {"weight": 1001}, "staticBackend": {}, "colour": "red"}) == [
        "id: is required",
        f"name: {LABEL}",
        "organizationId: is required",
        "gatewayIds: is required",
        "model: is required",
        "traffic.weight: must be at most 1000",
        "staticBackend.endpoints: is required",
        "colour: unknown field",
    ]


@pytest.mark.parametrize("document", [None, [], "deployment", 1])
def test_a_deployment_is_an_object(document: Any) -> None:
    """What is no object has no fields to name."""
    assert messages(document) == ["must be an object"]


@pytest.mark.parametrize(
    ("given", "same"),
    [
        (
            deployment_spec(traffic=None, disabled=None, dnsBackend=None, staticBackend=static(9001)),
            deployment_spec(),
        ),
        (deployment_spec(traffic={"weight": None}), deployment_spec()),
        (scaled(priority=None, concurrency=None, capacityClasses=None), scaled()),
        (dns(healthCheck=None), dns()),
        (dns(healthCheck={"path": None}), dns()),
        (docker(network=None, healthCheck=None), docker()),
    ],
)
def test_null_means_left_out(given: dict[str, Any], same: dict[str, Any]) -> None:
    """A null field is one that was left out, at every depth, as protobuf JSON has it (section 1)."""
    assert parse_deployment(given) == parse_deployment(same)


def test_limits_are_inclusive() -> None:
    """The ends of every range are allowed."""
    for spec in (
        named("a" * 4),
        named("é" * 63),
        named("my/model:8b@x"),
        deployment_spec(name="a" * 63, traffic={"weight": 1000}),
        deployment_spec(traffic={"weight": 0}),
        scaled(min=2, max=2, priority=0, concurrency=1),
        at(port=65535),
        docker(port=65535, network="n" * 255),
    ):
        assert messages(spec) == []


def test_a_backend_is_one_of_three_types() -> None:
    """Addresses have one spelling; the health check's path is /health unless it says otherwise."""
    [replica] = _static(
        deployment(staticBackend={"endpoints": [{"address": "2001:DB8::0:1", "port": 1}]})
    ).endpoints
    assert replica.address == "2001:db8::1"
    named_backend = deployment(dnsBackend={"hostname": "Models.Example.com", "port": 80}).backend
    assert isinstance(named_backend, DnsBackend)
    assert (named_backend.hostname, named_backend.health_check.path) == ("Models.Example.com", "/health")
    contained = deployment(dockerBackend={"port": 80, "network": "models", "healthCheck": {"path": "/up"}})
    assert isinstance(contained.backend, DockerBackend)
    assert contained.backend.model_dump() == {
        "kind": "dockerBackend",
        "port": 80,
        "network": "models",
        "health_check": {"path": "/up"},
    }
    assert deployment(dockerBackend={"port": 80}).backend == DockerBackend(kind="dockerBackend", port=80)


def _static(parsed: Deployment) -> StaticBackend:
    assert isinstance(parsed.backend, StaticBackend)
    return parsed.backend
