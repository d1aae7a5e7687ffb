"""Gateways: what the API asks of them beyond their own rules, and their endpoints. Pure, but for the store's view."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from igw_model.document import FieldError
from igw_model.gateway import parse_gateway
from igw_model.record import Kind, Record
from igw_store.store import Reading, Writing

from igw_api.document import GATEWAY_ENUMS, Document, Enums, texts, unknown
from igw_api.lifecycle import Call
from igw_api.parameters import Parameters
from igw_api.refusal import invalid, unready
from igw_api.settings import Endpoints
from igw_api.view import shown, was_ready


@dataclass(frozen=True, slots=True)
class Gateways:
    """The kind `gateway`, a `lifecycle.Resource`."""

    parameters: Parameters
    endpoints: Endpoints
    kind: ClassVar[Kind] = Kind.GATEWAY
    enums: ClassVar[Enums] = GATEWAY_ENUMS
    list_key: ClassVar[str] = "items"
    filters: ClassVar[tuple[str, ...]] = ("updatedAfter",)

    def errors(self, view: Reading, document: Document) -> list[FieldError]:  # noqa: ARG002 - the protocol's
        """Name the rules that a gateway breaks."""
        parsed = parse_gateway(document)
        return [
            *(parsed if isinstance(parsed, list) else []),
            *zone_errors(self.parameters, "zones", texts(document, "zones")),
        ]

    def refuse_delete(self, view: Reading, record: Record) -> None:
        """Refuse while deployments name the gateway."""
        if view.attached(record.id):
            message = "gateway has associated deployments, cannot delete"
            raise unready("ASSOCIATED_DEPLOYMENTS", f"gateway/{record.id}", message)

    def delete(self, write: Writing, record: Record, now: datetime) -> None:  # noqa: ARG002 - the protocol's
        """Begin to delete a gateway; it is gone when no proxy serves it."""
        write.put(record)

    def settle(self, write: Writing, now: datetime) -> None:
        """Nothing follows for other gateways."""

    def shown(self, view: Reading, record: Record) -> dict[str, Any]:  # noqa: ARG002 - the protocol's
        """Give a gateway's document; endpoints once it was ready."""
        return self.created(record)

    def listed(self, view: Reading, records: Sequence[Record]) -> list[dict[str, Any]]:  # noqa: ARG002 - the protocol's
        """Give the documents of many."""
        return [self.created(record) for record in records]

    def created(self, record: Record) -> dict[str, Any]:
        """Give a gateway's document."""
        if not was_ready(record):
            return shown(record)
        names = tuple(texts(record.spec, "endpointConfiguration", "additionalDns"))
        return shown(record, endpoints=self.endpoints.of(record.id, names))


def zone_errors(parameters: Parameters, path: str, zones: list[str]) -> list[FieldError]:
    """Name the zones that are not offered."""
    reason = f"must be one of {', '.join(parameters.zones)}"
    return [
        FieldError(f"{path}[{index}]", reason)
        for index, zone in enumerate(zones)
        if zone and not parameters.has_zone(zone)
    ]


def gateway_parameters(
    parameters: Parameters, _view: Reading, _call: Call, document: Document
) -> dict[str, Any]:
    """Answer GetGatewayParameters."""
    if errors := unknown(document, ()):
        raise invalid(errors)
    return {"zones": list(parameters.zones)}
