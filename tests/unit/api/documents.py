"""Bodies as callers send them, and the objects that come back."""

from collections.abc import Mapping
from typing import Any

from tests.builders import gateway_id, static
from tests.unit.api.installation import BEGIN_TEXT


def gateway_body(**fields: Any) -> dict[str, Any]:
    """Give a gateway to create; CoreWeave and body routing unless `fields` choose others."""
    body: dict[str, Any] = {"name": "chat", "zones": ["US-EAST-04A"]}
    if "weightsAndBiasesAuth" not in fields:
        body["coreWeaveAuth"] = {}
    if not {"headerBasedRouting", "pathBasedRouting"} & fields.keys():
        body["bodyBasedRouting"] = {"apiType": "API_TYPE_OPENAI"}
    return {**body, **fields}


def deployment_body(**fields: Any) -> dict[str, Any]:
    """Give a deployment to create, with a static backend, on gateway 1."""
    return {
        "name": "small",
        "gatewayIds": [gateway_id(1)],
        "model": {"name": "demo/small"},
        "traffic": {"weight": 10},
        "staticBackend": static(9001),
        **fields,
    }


def managed_body(**fields: Any) -> dict[str, Any]:
    """Give a deployment to create that has no backend of its own."""
    return {
        "name": "managed",
        "gatewayIds": [gateway_id(1)],
        "runtime": {"engine": "vllm"},
        "resources": {"instanceType": "gd-8", "gpuCount": 8},
        "model": {"name": "demo/managed", "bucket": "models", "path": "managed"},
        "autoscaling": {"min": 1, "max": 2},
        **fields,
    }


def claim_body(name: str = "reserved", **resources: Any) -> dict[str, Any]:
    """Give a capacity claim to create, of two instances."""
    return {
        "name": name,
        "resources": {
            "instanceId": "gd-8",
            "instanceCount": 2,
            "zones": ["US-EAST-04A"],
            "capacityType": "CAPACITY_TYPE_MANAGED",
            **resources,
        },
    }


def awaited(zone: str = "", at: str = BEGIN_TEXT, *, deleting: bool = False) -> dict[str, Any]:
    """Give the condition of an object that no control plane has seen in this state."""
    told = ("Deleting", "Waiting until no proxy serves it.")
    if not deleting:
        told = ("Pending", "Waiting for the control plane to publish it.")
    return {
        "type": "Programmed",
        "status": "STATUS_FALSE",
        "lastUpdateTime": at,
        "reason": told[0],
        "message": told[1],
        **({"zone": zone} if zone else {}),
    }


def programmed(zone: str, at: str) -> dict[str, Any]:
    """Give the condition that `Installation.observe` notes."""
    return {
        "type": "Programmed",
        "status": "STATUS_TRUE",
        "lastUpdateTime": at,
        "reason": "Programmed",
        "message": "Programmed proxies: 1/1",
        "zone": zone,
    }


def status(
    phase: str,
    *conditions: Mapping[str, Any],
    created: str = BEGIN_TEXT,
    updated: str = BEGIN_TEXT,
    **more: Any,
) -> dict[str, Any]:
    """Give the document of a status."""
    return {
        "status": f"STATUS_{phase}",
        "createdAt": created,
        "updatedAt": updated,
        "conditions": list(conditions),
        **more,
    }
