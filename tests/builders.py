"""Gateways and deployments for tests: valid as they are, changed by keyword in the API's own names.

`gateway(2, pathBasedRouting={})` is gateway number 2 with another strategy. Numbers become ids and names.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from igw_model.deployment import BACKENDS, Deployment, DockerBackend, parse_deployment
from igw_model.gateway import Gateway, parse_gateway
from igw_model.record import NEVER, Kind, Record, Replica
from igw_store.store import Change
from igw_xds.plan import Plan, plan
from igw_xds.resources.everything import snapshot_of
from igw_xds.settings import DataPlane
from igw_xds.snapshot import Snapshot

DOMAIN = "gw.example.com"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
AUTHS = ("coreWeaveAuth", "weightsAndBiasesAuth")
ROUTINGS = ("bodyBasedRouting", "headerBasedRouting", "pathBasedRouting")


def gateway_id(number: int) -> str:
    """Give the id of gateway `number`."""
    return f"0a000000-0000-4000-8000-{number:012d}"


def deployment_id(number: int) -> str:
    """Give the id of deployment `number`."""
    return f"de000000-0000-4000-8000-{number:012d}"


def gateway_spec(number: int = 1, **fields: Any) -> dict[str, Any]:
    """Give a valid gateway as it is written; CoreWeave and body routing unless `fields` choose others."""
    spec: dict[str, Any] = {
        "id": gateway_id(number),
        "name": f"gateway-{number}",
        "zones": ["US-EAST-04A"],
        "organizationId": "acme",
    }
    if not any(key in fields for key in AUTHS):
        spec["coreWeaveAuth"] = {}
    if not any(key in fields for key in ROUTINGS):
        spec["bodyBasedRouting"] = {"apiType": "API_TYPE_OPENAI"}
    return {**spec, **fields}


def deployment_spec(number: int = 1, **fields: Any) -> dict[str, Any]:
    """Give a valid deployment as it is written: one replica, on gateway 1, weight 0."""
    spec: dict[str, Any] = {
        "id": deployment_id(number),
        "name": f"deployment-{number}",
        "organizationId": "acme",
        "gatewayIds": [gateway_id(1)],
        "model": {"name": "demo/small"},
    }
    if not any(key in fields for key in BACKENDS):
        spec["staticBackend"] = static(9000 + number)
    return {**spec, **fields}


def static(*ports: int) -> dict[str, Any]:
    """Give a backend of replicas on 127.0.0.1."""
    return {"endpoints": [{"address": "127.0.0.1", "port": port} for port in ports]}


def without(spec: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Give a definition less some of its fields."""
    return {key: value for key, value in spec.items() if key not in keys}


def gateway(number: int = 1, **fields: Any) -> Gateway:
    """Give a gateway."""
    parsed = parse_gateway(gateway_spec(number, **fields))
    assert isinstance(parsed, Gateway), parsed
    return parsed


def deployment(number: int = 1, *, weight: int = 0, on: Iterable[int] = (1,), **fields: Any) -> Deployment:
    """Give a deployment of the gateways with the numbers `on`."""
    spec = {"traffic": {"weight": weight}, "gatewayIds": [gateway_id(n) for n in on], **fields}
    parsed = parse_deployment(deployment_spec(number, **spec))
    assert isinstance(parsed, Deployment), parsed
    return parsed


def containers(deployment: Deployment, *addresses: str) -> tuple[Replica, ...]:
    """Give the containers that were found of a deployment, at its backend's port."""
    port = deployment.backend.port if isinstance(deployment.backend, DockerBackend) else 8000
    return tuple(Replica(deployment.id, f"models-{at}", at, port, NEVER) for at in addresses)


def record(kind: Kind, spec: dict[str, Any], **fields: Any) -> Record:
    """Give a record of a spec, of generation 1."""
    return Record(
        kind=kind,
        id=spec["id"].lower(),
        organization_id="acme",
        name=spec["name"],
        spec=spec,
        created_at=NOW,
        updated_at=NOW,
        **{"generation": 1, **fields},
    )


def change(*records: Record, whole: bool = False, **more: Any) -> Change:
    """Give a change of these records."""
    return Change(whole, {(r.kind, r.id): r for r in records}, **more)


def planned(*definitions: Gateway | Deployment, zone: str | None = None) -> Plan:
    """Give the plan of definitions."""
    gateways = [d for d in definitions if isinstance(d, Gateway)]
    deployments = [d for d in definitions if isinstance(d, Deployment)]
    return plan(gateways, deployments, domain=DOMAIN, zone=zone)


def served(*definitions: Gateway | Deployment, data_plane: DataPlane | None = None) -> Snapshot:
    """Give the snapshot of definitions."""
    return snapshot_of(planned(*definitions), data_plane or DataPlane())


def write(path: Path, *documents: Mapping[str, Any]) -> Path:
    """Write definitions to a YAML file; a document with `model` is a deployment."""
    kinds = ("Deployment" if "model" in spec else "Gateway" for spec in documents)
    content = [{"kind": kind, "spec": dict(spec)} for kind, spec in zip(kinds, documents, strict=True)]
    path.write_text(yaml.safe_dump_all(content, allow_unicode=True), encoding="utf-8")
    return path
