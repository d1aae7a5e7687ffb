"""Deployments: what the API asks of them beyond their own rules. Pure, but for the store's view."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from typing import Any, ClassVar

from igw_model.deployment import parse_deployment
from igw_model.document import FieldError
from igw_model.record import Kind, Record
from igw_store.store import Reading, Writing

from igw_api.document import DEPLOYMENT_ENUMS, Document, Enums, identifier, text, texts, unknown
from igw_api.lifecycle import Call
from igw_api.parameters import Engine, Parameters
from igw_api.refusal import invalid
from igw_api.settings import Backends
from igw_api.view import shown

MOST_GATEWAYS = 100
"""Gateways that one request asks parameters for, as many as a deployment may name."""


@dataclass(frozen=True, slots=True)
class Deployments:
    """The kind `deployment`, a `lifecycle.Resource`."""

    parameters: Parameters
    backends: Backends
    kind: ClassVar[Kind] = Kind.DEPLOYMENT
    enums: ClassVar[Enums] = DEPLOYMENT_ENUMS
    list_key: ClassVar[str] = "items"
    filters: ClassVar[tuple[str, ...]] = ("updatedAfter", "parentGatewayId")

    def errors(self, view: Reading, document: Document) -> list[FieldError]:
        """Name the rules that a deployment breaks."""
        parsed = parse_deployment(document)
        return [
            *(parsed if isinstance(parsed, list) else []),
            *gateway_errors(view, document["organizationId"], texts(document, "gatewayIds")),
            *_parameter_errors(self.parameters, document),
            *_backend_errors(self.backends, document),
        ]

    def refuse_delete(self, view: Reading, record: Record) -> None:
        """Nothing keeps a deployment."""

    def delete(self, write: Writing, record: Record, now: datetime) -> None:  # noqa: ARG002 - the protocol's
        """Begin to delete a deployment; it is gone when no proxy serves it."""
        write.put(record)

    def settle(self, write: Writing, now: datetime) -> None:
        """Nothing follows for other deployments."""

    def shown(self, view: Reading, record: Record) -> dict[str, Any]:  # noqa: ARG002 - the protocol's
        """Give a deployment's document."""
        return shown(record)

    def listed(self, view: Reading, records: Sequence[Record]) -> list[dict[str, Any]]:  # noqa: ARG002 - the protocol's
        """Give the documents of many."""
        return [self.created(record) for record in records]

    def created(self, record: Record) -> dict[str, Any]:
        """Give a deployment's document."""
        return shown(record)


def gateway_errors(view: Reading, organization_id: str, gateway_ids: Sequence[str]) -> list[FieldError]:
    """Name the ids that are of no gateway of the organisation; one that is being deleted is none any more."""
    return [
        FieldError(f"gatewayIds[{index}]", reason)
        for index, sent in enumerate(gateway_ids)
        if sent and (reason := _no_gateway(view, organization_id, sent))
    ]


def _no_gateway(view: Reading, organization_id: str, sent: str) -> str:
    gateway_id = identifier(sent)
    if gateway_id is None:
        return "must be the id of a gateway, a UUID"
    found = view.get(Kind.GATEWAY, gateway_id)
    if found is None or found.organization_id != organization_id:
        return f"there is no gateway {sent}"
    return f"gateway {sent} is being deleted" if found.deleting else ""


def _parameter_errors(parameters: Parameters, document: Document) -> Iterator[FieldError]:
    chosen = text(document, "runtime", "engine")
    if chosen and chosen not in parameters.engines:
        yield FieldError("runtime.engine", f"must be one of {', '.join(parameters.engines)}")
    elif chosen:
        yield from _runtime_errors(parameters.engines[chosen], document["runtime"])
    kind = text(document, "resources", "instanceType")
    if kind and parameters.instance_types and kind not in parameters.instance_types:
        yield FieldError("resources.instanceType", f"must be one of {', '.join(parameters.instance_types)}")


def _runtime_errors(engine: Engine, runtime: Document) -> Iterator[FieldError]:
    version = runtime.get("version")
    if version and engine.versions and version not in engine.versions:
        yield FieldError("runtime.version", f"must be one of {', '.join(engine.versions)}")
    for field, allowed in (("engineConfig", engine.allowed_keys), ("engineEnv", engine.allowed_names)):
        given = runtime.get(field)
        for key in given if isinstance(given, Mapping) and allowed else ():
            if key not in allowed:
                yield FieldError(f"runtime.{field}.{key}", "is not allowed for this engine")


def _backend_errors(backends: Backends, document: Document) -> Iterator[FieldError]:
    for key, option, allowed in (
        ("dnsBackend", "--allow-dns-backends", backends.dns),
        ("dockerBackend", "--allow-docker-backends", backends.docker),
    ):
        if document.get(key) is not None and not allowed:
            yield FieldError(key, f"is not allowed here without {option}: use staticBackend")
    backend = document.get("staticBackend")
    endpoints = backend.get("endpoints") if isinstance(backend, Mapping) else None
    for index, endpoint in enumerate(endpoints if isinstance(endpoints, list) else ()):
        address = endpoint.get("address") if isinstance(endpoint, Mapping) else None
        if reason := address_error(backends, address):
            yield FieldError(f"staticBackend.endpoints[{index}].address", reason)


def address_error(backends: Backends, address: Any) -> str:
    """Say why an address cannot be a backend's; empty for one that can, and for what is no address at all."""
    try:
        ip_address(address if isinstance(address, str) else "")
    except ValueError:
        return ""
    return "" if backends.allow(address) else "is not in a network where backends may be"


def deployment_parameters(
    parameters: Parameters, view: Reading, call: Call, document: Document
) -> dict[str, Any]:
    """Answer GetDeploymentParameters; the same for every gateway so far."""
    sent = document.get("gatewayIds", [])
    errors = unknown(document, ("gatewayIds",))
    if not isinstance(sent, list) or not all(isinstance(item, str) and item for item in sent):
        raise invalid([*errors, FieldError("gatewayIds", "must be a list of gateway ids")])
    if len(sent) > MOST_GATEWAYS:
        raise invalid([*errors, FieldError("gatewayIds", f"must have at most {MOST_GATEWAYS} items")])
    errors += gateway_errors(view, call.caller.organization_id, sent)
    if errors:
        raise invalid(errors)
    engines = parameters.engines.items()
    return {
        "gatewayIds": sent,
        "runtimeParameters": {
            "runtimeVersions": {name: {"versions": list(engine.versions)} for name, engine in engines},
            "runtimeConfigOptions": {
                name: {"allowedKeys": list(engine.allowed_keys)} for name, engine in engines
            },
            "engineEnvOptions": {
                name: {"allowedNames": list(engine.allowed_names)} for name, engine in engines
            },
        },
        "resourceParameters": {"instanceTypes": list(parameters.instance_types)},
    }
