"""All gateways and deployments together, and the rules that hold between them.

Source: docs/inference-api.md, sections 1 and 2; "one name belongs to one gateway only" is our rule.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, assert_never
from urllib.parse import quote

from igw_model.deployment import Deployment
from igw_model.document import FieldError
from igw_model.gateway import Auth, CoreWeaveAuth, Gateway, WeightsAndBiasesAuth
from igw_model.text import normal_host

_NAMESPACE = uuid.UUID("6f1c3a52-3c0e-5f0a-9a53-6d1b1f0f6f3e")


@dataclass(frozen=True, slots=True)
class Definitions:
    """What is to be served; consistent: every `gateway_ids` entry is the id of a gateway in it."""

    gateways: tuple[Gateway, ...] = ()
    deployments: tuple[Deployment, ...] = ()


Violation = tuple[Gateway | Deployment, FieldError]
"""A definition and the rule that it breaks beside the others."""


def derived_id(kind: str, organization: str, name: str) -> str:
    """Give the id of a definition that names none: always the same for the same kind, organisation and name."""
    parts = (quote(part, safe="", errors="backslashreplace") for part in (kind, organization, name))
    return str(uuid.uuid5(_NAMESPACE, "/".join(parts)))


def gateway_host(gateway_id: str, domain: str) -> str:
    """Give a gateway's generated host name."""
    return normal_host(f"api.{gateway_id}.{domain}")


def combine(gateways: Sequence[Gateway], deployments: Sequence[Deployment]) -> Definitions | list[Violation]:
    """Give consistent definitions, or every rule that is broken between them.

    Gateways named by their name are resolved to ids here.
    """
    violations = [
        *_repeated(gateways, lambda g: g.id, "id", "is used by another gateway"),
        *_repeated(gateways, lambda g: (g.organization_id, g.name), "name", "is used by another gateway"),
        *_repeated(deployments, lambda d: d.id, "id", "is used by another deployment"),
        *_repeated(
            deployments, lambda d: (d.organization_id, d.name), "name", "is used by another deployment"
        ),
        *_repeated_hosts(gateways),
    ]
    # Ids last: a gateway whose name is another's id must not take that one's deployments.
    ids = {(g.organization_id, g.name): g.id for g in gateways} | {
        (g.organization_id, g.id): g.id for g in gateways
    }
    violations += [violation for d in deployments for violation in _dangling(d, ids)]
    if violations:
        return violations
    return Definitions(tuple(gateways), tuple(_resolved(d, ids) for d in deployments))


def _resolved(deployment: Deployment, ids: Mapping[tuple[str, str], str]) -> Deployment:
    found = (ids[deployment.organization_id, _reference(key)] for key in deployment.gateway_ids)
    return deployment.model_copy(update={"gateway_ids": tuple(dict.fromkeys(found))})


def _reference(key: str) -> str:
    """Give an id in its normal spelling; a name is left alone."""
    try:
        return str(uuid.UUID(key))
    except ValueError:
        return key


D = TypeVar("D", Gateway, Deployment)


def _repeated(items: Iterable[D], key: Callable[[D], object], path: str, reason: str) -> list[Violation]:
    seen: set[object] = set()
    violations: list[Violation] = []
    for item in items:
        if key(item) in seen:
            violations.append((item, FieldError(path, reason)))
        seen.add(key(item))
    return violations


def _generated_for(host: str, ids: set[str]) -> str | None:
    """Give the gateway whose generated host name this is, whatever the domain."""
    match host.split(".", 2):
        case ["api", gateway_id, _] if gateway_id in ids:
            return gateway_id
        case _:
            return None


def _repeated_hosts(gateways: Sequence[Gateway]) -> list[Violation]:
    ids = {gateway.id for gateway in gateways}
    owners: dict[str, str] = {}
    violations: list[Violation] = []
    for gateway in gateways:
        for index, name in enumerate(gateway.endpoint_configuration.additional_dns):
            host = normal_host(name)
            owner = _generated_for(host, ids) or owners.setdefault(host, gateway.id)
            if owner != gateway.id:
                path = f"endpointConfiguration.additionalDns[{index}]"
                violations.append((gateway, FieldError(path, f"{name} already belongs to gateway {owner}")))
    return violations


def _dangling(deployment: Deployment, ids: dict[tuple[str, str], str]) -> list[Violation]:
    return [
        (
            deployment,
            FieldError(f"gatewayIds[{index}]", f"no gateway has the id or name {key!r} in this organisation"),
        )
        for index, key in enumerate(deployment.gateway_ids)
        if (deployment.organization_id, _reference(key)) not in ids
    ]


def unused(definitions: Definitions) -> list[str]:
    """Say what of the definitions has no effect yet, so that nobody relies on it."""
    return [
        f"gateway {gateway.name}: {text}"
        for gateway in definitions.gateways
        for text in _unused(gateway.auth)
    ]


def _unused(auth: Auth) -> Iterator[str]:
    match auth:
        case WeightsAndBiasesAuth():
            if auth.server_url is not None:
                yield "serverUrl is not used: IGW_WANDB_GRAPHQL_URL says who is asked about keys"
        case CoreWeaveAuth():
            pass
        case other:
            assert_never(other)
