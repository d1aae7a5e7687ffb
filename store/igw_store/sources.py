"""An object of a definition file as the store keeps it: the document as it was written, without its secret. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from igw_model.deployment import Deployment
from igw_model.gateway import BodyBasedRouting, Gateway, WeightsAndBiasesAuth
from igw_model.record import Kind
from pydantic import SecretStr


@dataclass(frozen=True, slots=True)
class Source:
    """One object of a file; `spec` and `api_key` as in `igw_model.record.Record`, gateways by their ids."""

    kind: Kind
    id: str
    organization_id: str
    name: str
    spec: Mapping[str, Any]
    api_key: SecretStr | None
    origin: str
    """File and document, for people."""


def source(written: Mapping[str, Any], value: Gateway | Deployment, origin: str) -> Source:
    """Give the source of a valid document; `value` is what it defines, a deployment's gateways resolved."""
    spec = _without_nulls(written) | {"id": value.id, "organizationId": value.organization_id}
    key = None
    match value:
        case Gateway():
            kind = Kind.GATEWAY
            if isinstance(value.auth, WeightsAndBiasesAuth):
                key = value.auth.api_key
                spec[value.auth.kind] = {k: v for k, v in spec[value.auth.kind].items() if k != "apiKey"}
            if isinstance(value.routing, BodyBasedRouting):  # an enum's number is its name
                spec[value.routing.kind] = {"apiType": value.routing.api_type}
        case Deployment():
            kind = Kind.DEPLOYMENT
            spec["gatewayIds"] = list(value.gateway_ids)
        case other:
            assert_never(other)
    return Source(kind, value.id, value.organization_id, value.name, spec, key, origin)


def _without_nulls(document: Mapping[str, Any]) -> dict[str, Any]:
    """Protobuf JSON: a null field is a field that was left out, at every depth."""
    return {key: _plain(value) for key, value in document.items() if value is not None}


def _plain(value: Any) -> Any:
    match value:
        case Mapping():
            return _without_nulls(value)
        case list():
            return [_plain(item) for item in value]
        case _:
            return value
