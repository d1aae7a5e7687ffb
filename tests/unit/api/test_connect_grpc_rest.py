"""One table of calls over REST, Connect with JSON and in binary, and gRPC: real servers, operations and store.

Each row is what is asked and what every transport must tell. Only HTTP's status differs: REST has 412 where Connect
has 400.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from google.rpc.error_details_pb2 import BadRequest, PreconditionFailure, ResourceInfo
from igw_api.caller import Caller, Role
from igw_api.failure import Code, RefusedError
from igw_api.methods import Method
from igw_api.operations import Operations
from igw_api.parameters import Parameters
from igw_api.settings import Backends, Settings
from igw_model.record import Kind
from igw_model.status import Condition, Observed, Status, Truth
from igw_store.cipher import Cipher
from igw_store.sqlite import open_store

from tests.unit.api.transports import TRANSPORTS, Failed, Told, reached, without_empties

START = datetime(2026, 1, 31, 8, tzinfo=UTC)
G1, G2, D1, C1 = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "1234")
MADE = "00000000-0000-4000-8000-000000000001"
CALLERS = {
    "admin": Caller("uid-1", "org-1", Role.ADMIN),
    "viewer": Caller("uid-2", "org-1", Role.VIEWER),
    "stranger": Caller("uid-3", "org-2", Role.ADMIN),
}
SETTINGS = Settings(
    parameters=Parameters.model_validate(
        {
            "zones": ["EU-NORTH-04A", "US-EAST-04A"],
            "engines": {
                "vllm": {"versions": ["v0.11.0"], "allowedKeys": ["max-model-len"], "allowedNames": ["A"]}
            },
            "instanceTypes": ["gd-8xh100ib-i128"],
            "capacity": {"EU-NORTH-04A": {"gd-8xh100ib-i128": 4}},
        }
    ),
    backends=Backends(networks=(ip_network("10.0.0.0/8"),), dns=True, docker=True),
)


async def authenticate(values: Sequence[str]) -> Caller:
    """Know three tokens."""
    caller = CALLERS.get(values[0].removeprefix("Bearer ")) if len(values) == 1 else None
    if caller is None:
        raise RefusedError(Code.UNAUTHENTICATED, "no valid token")
    return caller


@dataclass(frozen=True, slots=True)
class Row:
    """One call, at second `at`."""

    at: int
    method: Method
    document: Mapping[str, Any]
    expected: dict[str, Any] | Failed
    token: str = "admin"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the control plane says of a gateway between two calls."""

    at: int
    gateway_id: str
    conditions: tuple[Condition, ...] = field(default=())


def moment(second: int) -> str:
    """Give a time as the API writes it."""
    return f"2026-01-31T08:00:{second:02}Z"


def invalid(message: str, *fields: tuple[str, str]) -> Failed:
    """Refuse for fields."""
    violations = [{"field": name, "description": why} for name, why in fields]
    return Failed("invalid_argument", message, (BadRequest(field_violations=violations),))


def missing(kind: str, name: str) -> Failed:
    """Refuse for what is not there."""
    text = f"{kind} {name} not found"
    return Failed(
        "not_found", text, (ResourceInfo(resource_type=kind, resource_name=name, description=text),)
    )


def taken(kind: str, name: str, text: str) -> Failed:
    """Refuse for what is there."""
    return Failed(
        "already_exists", text, (ResourceInfo(resource_type=kind, resource_name=name, description=text),)
    )


def unready(kind: str, subject: str, text: str) -> Failed:
    """Refuse until something changed."""
    violation = {"type": kind, "subject": subject, "description": text}
    return Failed("failed_precondition", text, (PreconditionFailure(violations=[violation]),))


def pending(at: int, zone: str = "", *, deleting: bool = False) -> dict[str, Any]:
    """Give the condition of what no control plane has seen."""
    return {
        "type": "Programmed",
        "status": "STATUS_FALSE",
        "lastUpdateTime": moment(at),
        "reason": "Deleting" if deleting else "Pending",
        "message": "Waiting until no proxy serves it."
        if deleting
        else "Waiting for the control plane to publish it.",
        **({"zone": zone} if zone else {}),
    }


def status(
    phase: str, created: int, updated: int, *conditions: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """Give a status."""
    return {
        "status": phase,
        "createdAt": moment(created),
        "updatedAt": moment(updated),
        "conditions": list(conditions),
        **more,
    }


GATEWAY = {
    "id": G1,
    "name": "first",
    "zones": ["eu-north-04A"],
    "weightsAndBiasesAuth": {
        "serverUrl": "https://wandb.example",
        "enableUsageReports": False,
        "enableRateLimiting": True,
        "allowedEntities": ["ops", "Research_2"],
    },
    "bodyBasedRouting": {"apiType": "API_TYPE_OPENAI"},
    "endpointConfiguration": {
        "additionalDns": ["B.example", "a.example"],
        "allowedSourceIpRanges": ["10.0.0.0/8"],
    },
}
GATEWAY_WITH_KEY = GATEWAY | {"weightsAndBiasesAuth": {**GATEWAY["weightsAndBiasesAuth"], "apiKey": "k" * 40}}  # type: ignore[dict-item]
SECOND = {"name": "second", "zones": ["US-EAST-04A"], "coreWeaveAuth": {}, "pathBasedRouting": {}}
DEPLOYMENT = {
    "id": D1,
    "name": "blue",
    "gatewayIds": [G1],
    "runtime": {
        "engine": "vllm",
        "version": "",
        "engineConfig": {"max-model-len": "8192"},
        "engineEnv": {"A": ""},
    },
    "resources": {"instanceType": "gd-8xh100ib-i128", "gpuCount": 8},
    "model": {"name": "org/model", "bucket": "b", "path": "p"},
    "autoscaling": {
        "min": 1,
        "max": 2,
        "priority": 0,
        "concurrency": 4294967295,
        "capacityClasses": ["CAPACITY_CLASS_ON_DEMAND", "CAPACITY_CLASS_RESERVED"],
    },
    "traffic": {"weight": 0},
    "disabled": False,
    "staticBackend": {
        "endpoints": [{"address": "10.0.0.1", "port": 8000}],
        "healthCheck": {"path": "/ready"},
    },
}
CLAIM = {
    "id": C1,
    "name": "claim",
    "resources": {
        "instanceId": "gd-8xh100ib-i128",
        "instanceCount": 6,
        "zones": ["EU-NORTH-04A"],
        "capacityType": "CAPACITY_TYPE_MANAGED",
    },
}


def own(spec: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Give a spec as it is answered."""
    return {**spec, **more, "organizationId": "org-1"}


READY = Condition("Programmed", Truth.TRUE, "Programmed", "Programmed proxies: 3/3", "EU-NORTH-04A", START)
READY_SHOWN = {
    "type": "Programmed",
    "status": "STATUS_TRUE",
    "lastUpdateTime": moment(0),
    "reason": "Programmed",
    "message": "Programmed proxies: 3/3",
    "zone": "EU-NORTH-04A",
}
ENDPOINTS = [f"https://api.{G1}.gw.localhost", "https://b.example", "https://a.example"]
CREATED = {
    "gateway": {"spec": own(GATEWAY), "status": status("STATUS_CREATING", 2, 2, pending(2, "eu-north-04A"))}
}
SERVED = {
    "gateway": {
        "spec": own(GATEWAY),
        "status": status("STATUS_READY", 2, 4, READY_SHOWN, endpoints=ENDPOINTS),
    }
}
OTHER = {
    "gateway": {
        "spec": own(SECOND, id=MADE),
        "status": status("STATUS_CREATING", 5, 5, pending(5, "US-EAST-04A")),
    }
}
BLUE = {"deployment": {"spec": own(DEPLOYMENT), "status": status("STATUS_CREATING", 12, 12, pending(12))}}
GREEN_SPEC = {
    "id": D1,
    "name": "green",
    "gatewayIds": [G1, MADE],
    "model": {"name": "org/model"},
    "dnsBackend": {"hostname": "m.example", "port": 80},
}
GREEN = {"deployment": {"spec": own(GREEN_SPEC), "status": status("STATUS_UPDATING", 12, 15, pending(15))}}
IN_CONTAINERS = {
    **{key: value for key, value in GREEN_SPEC.items() if key != "dnsBackend"},
    "dockerBackend": {"port": 8000, "network": "models", "healthCheck": {"path": "/ready"}},
}
CONTAINED = {
    "deployment": {"spec": own(IN_CONTAINERS), "status": status("STATUS_UPDATING", 12, 15, pending(15))}
}
SHORT = "Allocated instances: 4/6. The inventory of its zones has no more gd-8xh100ib-i128 to give."


def claimed(phase: str, updated: int, found: tuple[str, str], given: int, wanted: int) -> dict[str, Any]:
    """Give what is answered of the claim."""
    condition = {
        "type": "Allocated",
        "status": "STATUS_TRUE" if given == wanted else "STATUS_FALSE",
        "lastUpdateTime": moment(updated),
        "reason": found[0],
        "message": found[1],
    }
    resources = {**CLAIM["resources"], "instanceCount": wanted}  # type: ignore[dict-item]
    counts = {"allocatedInstances": given, "pendingInstances": wanted - given}
    return {
        "capacityClaim": {
            "spec": own({**CLAIM, "resources": resources}),
            "status": status(phase, 20, updated, condition, **counts),
        }
    }


M = Method
NO_TOKEN = Failed("unauthenticated", "no valid token")
TABLE: Sequence[Row | Seen] = (
    Row(0, M.GET_GATEWAY_PARAMETERS, {}, {"zones": ["EU-NORTH-04A", "US-EAST-04A"]}, token="viewer"),
    Row(0, M.CREATE_GATEWAY, GATEWAY, NO_TOKEN, token=""),
    Row(0, M.LIST_GATEWAYS, {}, NO_TOKEN, token="nobody"),
    Row(
        0,
        M.CREATE_GATEWAY,
        GATEWAY,
        Failed("permission_denied", "CreateGateway needs the role admin"),
        token="viewer",
    ),
    Row(
        1,
        M.CREATE_GATEWAY,
        {"zones": ["EU-NORTH-04A"], "headerBasedRouting": {"headerName": "a b"}},
        invalid(
            "coreWeaveAuth, weightsAndBiasesAuth: choose exactly one; name: is required; "
            "headerBasedRouting.headerName: must be a legal HTTP field name",
            ("coreWeaveAuth, weightsAndBiasesAuth", "choose exactly one"),
            ("name", "is required"),
            ("headerBasedRouting.headerName", "must be a legal HTTP field name"),
        ),
    ),
    Row(2, M.CREATE_GATEWAY, GATEWAY_WITH_KEY, CREATED),
    Row(3, M.GET_GATEWAY, {"id": G1}, CREATED, token="viewer"),
    Row(3, M.GET_GATEWAY, {"id": G1}, missing("gateway", G1), token="stranger"),
    Row(3, M.GET_GATEWAY, {"id": G2}, missing("gateway", G2)),
    Seen(4, G1, (READY,)),
    Row(4, M.GET_GATEWAY, {"id": G1}, SERVED),
    Row(4, M.UPDATE_GATEWAY, GATEWAY, SERVED),
    Row(5, M.CREATE_GATEWAY, SECOND, OTHER),
    Row(
        6,
        M.CREATE_GATEWAY,
        {**SECOND, "id": G2},
        taken("gateway", "second", f"name: second already belongs to gateway {MADE}"),
    ),
    Row(6, M.LIST_GATEWAYS, {}, {"items": [SERVED["gateway"], OTHER["gateway"]]}),
    Row(6, M.LIST_GATEWAYS, {"updatedAfter": moment(4)}, {"items": [OTHER["gateway"]]}),
    Row(6, M.LIST_GATEWAYS, {}, {}, token="stranger"),
    Row(
        7,
        M.GET_DEPLOYMENT_PARAMETERS,
        {"gatewayIds": [G1, MADE]},
        {
            "gatewayIds": [G1, MADE],
            "runtimeParameters": {
                "runtimeVersions": {"vllm": {"versions": ["v0.11.0"]}},
                "runtimeConfigOptions": {"vllm": {"allowedKeys": ["max-model-len"]}},
                "engineEnvOptions": {"vllm": {"allowedNames": ["A"]}},
            },
            "resourceParameters": {"instanceTypes": ["gd-8xh100ib-i128"]},
        },
    ),
    Row(
        7,
        M.GET_DEPLOYMENT_PARAMETERS,
        {"gatewayIds": [G2]},
        invalid(f"gatewayIds[0]: there is no gateway {G2}", ("gatewayIds[0]", f"there is no gateway {G2}")),
    ),
    Row(
        11,
        M.CREATE_DEPLOYMENT,
        {**DEPLOYMENT, "traffic": {"weight": 1001}, "gatewayIds": [G2]},
        invalid(
            f"traffic.weight: must be at most 1000; gatewayIds[0]: there is no gateway {G2}",
            ("traffic.weight", "must be at most 1000"),
            ("gatewayIds[0]", f"there is no gateway {G2}"),
        ),
    ),
    Row(12, M.CREATE_DEPLOYMENT, DEPLOYMENT, BLUE),
    Row(12, M.CREATE_DEPLOYMENT, DEPLOYMENT, BLUE),
    Row(13, M.GET_DEPLOYMENT, {"id": D1}, BLUE),
    Row(
        13,
        M.LIST_DEPLOYMENTS,
        {"parentGatewayId": G1, "updatedAfter": moment(11)},
        {"items": [BLUE["deployment"]]},
    ),
    Row(13, M.LIST_DEPLOYMENTS, {"parentGatewayId": MADE}, {}),
    Row(
        14,
        M.DELETE_GATEWAY,
        {"id": G1},
        unready(
            "ASSOCIATED_DEPLOYMENTS", f"gateway/{G1}", "gateway has associated deployments, cannot delete"
        ),
    ),
    Row(15, M.UPDATE_DEPLOYMENT, GREEN_SPEC, GREEN),
    Row(
        15,
        M.UPDATE_DEPLOYMENT,
        {**IN_CONTAINERS, "dockerBackend": {"network": ""}},
        invalid(
            "dockerBackend.port: is required; dockerBackend.network: must not be empty",
            ("dockerBackend.port", "is required"),
            ("dockerBackend.network", "must not be empty"),
        ),
    ),
    Row(15, M.UPDATE_DEPLOYMENT, IN_CONTAINERS, CONTAINED),
    Row(15, M.GET_DEPLOYMENT, {"id": D1}, CONTAINED),
    Row(15, M.UPDATE_DEPLOYMENT, GREEN_SPEC, GREEN),
    Row(15, M.UPDATE_DEPLOYMENT, {"id": G2}, missing("deployment", G2)),
    Row(
        16,
        M.DELETE_DEPLOYMENT,
        {"id": D1},
        {
            "deployment": {
                "spec": own(GREEN_SPEC),
                "status": status("STATUS_DELETING", 12, 16, pending(16, deleting=True)),
            }
        },
    ),
    Row(
        17,
        M.DELETE_GATEWAY,
        {"id": MADE},
        {
            "gateway": {
                "spec": own(SECOND, id=MADE),
                "status": status("STATUS_DELETING", 5, 17, pending(17, "US-EAST-04A", deleting=True)),
            }
        },
    ),
    Row(
        19,
        M.GET_CAPACITY_CLAIM_PARAMETERS,
        {},
        {
            "zoneInstanceTypes": {
                "EU-NORTH-04A": {"instanceIds": ["gd-8xh100ib-i128"]},
                "US-EAST-04A": {},
            }
        },
    ),
    Row(
        19,
        M.CREATE_CAPACITY_CLAIM,
        {**CLAIM, "resources": {**CLAIM["resources"], "capacityType": "CAPACITY_TYPE_SERVERLESS"}},  # type: ignore[dict-item]
        invalid(
            "resources.capacity_type: must not be in list [0, 1, 2]",
            ("resources.capacity_type", "must not be in list [0, 1, 2]"),
        ),
    ),
    Row(
        20,
        M.CREATE_CAPACITY_CLAIM,
        CLAIM,
        claimed("STATUS_CREATING", 20, ("Pending", "Waiting for instances to be allocated."), 0, 6),
    ),
    Row(
        21,
        M.GET_CAPACITY_CLAIM,
        {"id": C1},
        claimed("STATUS_CREATING", 20, ("InsufficientCapacity", SHORT), 4, 6),
    ),
    Row(
        22,
        M.UPDATE_CAPACITY_CLAIM,
        {**CLAIM, "resources": {**CLAIM["resources"], "instanceCount": 4}},  # type: ignore[dict-item]
        claimed("STATUS_READY", 22, ("Allocated", "Allocated instances: 4/4."), 4, 4),
    ),
    Row(
        23,
        M.LIST_CAPACITY_CLAIMS,
        {},
        {
            "capacityClaims": [
                claimed("STATUS_READY", 22, ("Allocated", "Allocated instances: 4/4."), 4, 4)["capacityClaim"]
            ]
        },
    ),
    Row(
        24,
        M.DELETE_CAPACITY_CLAIM,
        {"id": C1},
        claimed(
            "STATUS_DELETING",
            24,
            ("Deleting", "Being deleted: its instances go to the claims that wait."),
            0,
            4,
        ),
    ),
    Row(25, M.GET_CAPACITY_CLAIM, {"id": C1}, missing("capacity claim", C1)),
)


def expected(row: Row, transport: str) -> Told:
    """Give what a transport must tell of a row."""
    if transport == "grpc":
        status = None
    elif isinstance(row.expected, Failed):
        statuses = {
            "invalid_argument": 400,
            "unauthenticated": 401,
            "permission_denied": 403,
            "not_found": 404,
        }
        statuses |= {"already_exists": 409, "failed_precondition": 412 if transport == "rest" else 400}
        status = statuses[row.expected.code]
    else:
        status = 200
    return Told(row.expected, status)


class Clock:
    """A clock that stands until it is set."""

    now = START


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_every_transport_tells_the_same(transport: str) -> None:
    """The same calls give the same documents and the same failures, with their details, over every transport."""
    clock, store = Clock(), await open_store(None, Cipher.ephemeral())
    operations = Operations(store, SETTINGS, clock=lambda: clock.now, new_id=lambda: MADE)
    told: list[tuple[int, str, Told]] = []
    async with reached(transport, operations, authenticate) as way:
        for row in TABLE:
            clock.now = START + timedelta(seconds=row.at)
            match row:
                case Row():
                    answer = await way.ask(row.method, row.document, row.token)
                    told.append((row.at, row.method, Told(without_empties(answer.outcome), answer.status)))
                case Seen():
                    seen = Observed(1, Status.READY, row.conditions)
                    gateway_id, at = row.gateway_id, clock.now
                    await store.write(
                        lambda write: write.observe(Kind.GATEWAY, gateway_id, seen, at)  # noqa: B023 - awaited
                    )
    await store.aclose()

    for row, outcome in zip([row for row in TABLE if isinstance(row, Row)], told, strict=True):
        assert outcome == (row.at, row.method, expected(row, transport))
