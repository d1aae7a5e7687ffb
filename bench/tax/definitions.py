"""The definitions that the gateway under test serves: a gateway of each routing kind, a few models. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from igw_xds.settings import HostPort

from tax.rows import HOSTS, MODEL

ROUTING: Mapping[str, Mapping[str, Any]] = {
    "header": {"headerBasedRouting": {"headerName": "X-Model-Name"}},
    "path": {"pathBasedRouting": {}},
    "body": {"bodyBasedRouting": {"apiType": "API_TYPE_OPENAI"}},
}
MODELS = ("another/model", MODEL, "yet/another-model")


def definitions(organization: str, upstream: HostPort) -> str:
    """Give the definitions as YAML, every model on one upstream."""
    documents = [*_gateways(organization), *_deployments(organization, upstream)]
    return yaml.safe_dump_all(documents, sort_keys=False)


def _gateways(organization: str) -> Iterable[dict[str, Any]]:
    for number, (kind, routing) in enumerate(ROUTING.items(), 1):
        yield {
            "kind": "Gateway",
            "spec": {
                "id": f"be000000-0000-4000-8000-{number:012}",
                "name": kind,
                "organizationId": organization,
                "zones": ["BENCH"],
                "coreWeaveAuth": {},
                **routing,
                "endpointConfiguration": {"additionalDns": [HOSTS[kind]]},
            },
        }


def _deployments(organization: str, upstream: HostPort) -> Iterable[dict[str, Any]]:
    for number, model in enumerate(MODELS, 1):
        yield {
            "kind": "Deployment",
            "spec": {
                "id": f"de000000-0000-4000-8000-{number:012}",
                "name": f"deployment-{number}",
                "organizationId": organization,
                "gatewayIds": list(ROUTING),
                "model": {"name": model},
                "traffic": {"weight": 1},
                "staticBackend": {
                    "endpoints": [{"address": upstream.host, "port": upstream.port}],
                    "healthCheck": {"path": "/health"},
                },
            },
        }
