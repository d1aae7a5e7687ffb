"""The configuration of the Envoys: our own resources, without what asks who the caller is. Pure.

What is left of the chain is what routes by the body, and what reads the tokens used; so the difference to a plain
proxy is theirs alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from igw_cli.options import loaded
from igw_xds.bootstrap import static_bootstrap
from igw_xds.plan import plan
from igw_xds.resources.everything import snapshot_of
from igw_xds.resources.filters import EXT_AUTHZ, RBAC
from igw_xds.settings import BodyRouting, DataPlane, HostPort, StreamUsage
from tax.proxies import plain_proxy

from bodies.rows import HOST, MODEL, Proxy

_ROUTING = {
    Proxy.NATIVE: BodyRouting.NATIVE,
    Proxy.EXTPROC: BodyRouting.EXTPROC,
    Proxy.AUTO: BodyRouting.AUTO,
    Proxy.USAGE: BodyRouting.AUTO,
}
_ORGANIZATION = "bench"


@dataclass(frozen=True, slots=True)
class Places:
    """Where an Envoy listens, and where what it asks does."""

    listen: HostPort
    admin: HostPort
    upstream: HostPort
    extproc: HostPort


def configuration(proxy: Proxy, folder: Path, at: Places) -> dict[str, Any]:
    """Give the bootstrap of one proxy; the definitions go through a file in `folder`."""
    if proxy is Proxy.PLAIN:
        return plain_proxy(at.listen, at.admin, at.upstream)
    told = proxy is Proxy.USAGE
    data_plane = DataPlane(
        listen=at.listen,
        extproc=at.extproc,
        body_routing=_ROUTING[proxy],
        usage_log=at.extproc if told else None,  # nothing is told: the logs are taken out below
        stream_usage=StreamUsage.ALL if told else StreamUsage.OFF,
        access_log=False,
    )
    file = folder / "definitions.yaml"
    file.write_text(yaml.safe_dump_all([_gateway(), _deployment(at.upstream)]), encoding="utf-8")
    definitions = loaded([file], _ORGANIZATION).definitions
    planned = plan(definitions.gateways, definitions.deployments, domain="bench")
    document = static_bootstrap(snapshot_of(planned, data_plane), at.admin)
    _strip(document)
    return document


def _strip(document: dict[str, Any]) -> None:
    (listener,) = document["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"] = [one for one in manager["http_filters"] if one["name"] not in {RBAC, EXT_AUTHZ}]
    for log in ("access_log", "access_log_options"):
        manager.pop(log, None)


def _gateway() -> dict[str, Any]:
    return {
        "kind": "Gateway",
        "spec": {
            "id": "be000000-0000-4000-8000-000000000001",
            "name": "body",
            "organizationId": _ORGANIZATION,
            "zones": ["BENCH"],
            "coreWeaveAuth": {},
            "bodyBasedRouting": {"apiType": "API_TYPE_OPENAI"},
            "endpointConfiguration": {"additionalDns": [HOST]},
        },
    }


def _deployment(upstream: HostPort) -> dict[str, Any]:
    return {
        "kind": "Deployment",
        "spec": {
            "id": "de000000-0000-4000-8000-000000000001",
            "name": "deployment",
            "organizationId": _ORGANIZATION,
            "gatewayIds": ["body"],
            "model": {"name": MODEL},
            "traffic": {"weight": 1},
            "staticBackend": {
                "endpoints": [{"address": upstream.host, "port": upstream.port}],
                "healthCheck": {"path": "/health"},
            },
        },
    }
