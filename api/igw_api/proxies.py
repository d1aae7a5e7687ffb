"""The connected proxies and what they should run: this project's extension, for operators alone.

What is known of them comes through `Fleet` from the control plane beside this API; the store knows nothing of it.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from igw_model.document import FieldError

from igw_api.document import Document, unknown
from igw_api.methods import Method
from igw_api.refusal import absent, invalid

TYPES = ("cds", "eds", "sds", "lds", "srds", "rds")
"""Types of resources, as operators call them."""


class Fleet(Protocol):
    """Those who are connected to the control plane, as documents; None for what there is not."""

    async def proxies(self, zone: str | None) -> dict[str, Any]:
        """Give all of them, or those of a zone."""

    def proxy(self, proxy_id: str) -> dict[str, Any] | None:
        """Give one."""

    async def resources(self, proxy_id: str) -> dict[str, Any] | None:
        """Give the versions of what one should run."""

    async def resource(self, proxy_id: str, kind: str, name: str) -> dict[str, Any] | None:
        """Give one resource that it should run."""


class NoFleet:
    """An API without a control plane beside it."""

    async def proxies(self, zone: str | None) -> dict[str, Any]:  # noqa: ARG002 - the protocol's
        """Give nobody."""
        counts = {"connected": 0, "synced": 0, "omitted": 0}
        return {"items": [], **counts, "zones": [], "definitionErrors": []}

    def proxy(self, proxy_id: str) -> dict[str, Any] | None:  # noqa: ARG002 - the protocol's
        """Know nobody."""
        return None

    async def resources(self, proxy_id: str) -> dict[str, Any] | None:  # noqa: ARG002 - the protocol's
        """Know nobody."""
        return None

    async def resource(self, proxy_id: str, kind: str, name: str) -> dict[str, Any] | None:  # noqa: ARG002 - the protocol's
        """Know nobody."""
        return None


Look = Callable[[Document], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Proxies:
    """The operations on proxies."""

    fleet: Fleet

    @property
    def methods(self) -> Mapping[Method, Look]:
        """Give the methods and what answers them."""
        return {
            Method.LIST_PROXIES: self.list_all,
            Method.GET_PROXY: self.get,
            Method.LIST_PROXY_RESOURCES: self.list_resources,
            Method.GET_PROXY_RESOURCE: self.get_resource,
        }

    async def list_all(self, document: Document) -> dict[str, Any]:
        """Answer ListProxies."""
        _check(document, (), ("zone",))
        return await self.fleet.proxies(document.get("zone"))

    async def get(self, document: Document) -> dict[str, Any]:
        """Answer GetProxy."""
        _check(document, ("id",))
        return {"proxy": _found(self.fleet.proxy(document["id"]), document["id"])}

    async def list_resources(self, document: Document) -> dict[str, Any]:
        """Answer ListProxyResources."""
        _check(document, ("id",))
        return _found(await self.fleet.resources(document["id"]), document["id"])

    async def get_resource(self, document: Document) -> dict[str, Any]:
        """Answer GetProxyResource."""
        _check(document, ("id", "type", "name"))
        proxy_id, kind, name = (document[key] for key in ("id", "type", "name"))
        if kind not in TYPES:
            raise invalid([FieldError("type", f"must be one of {', '.join(TYPES)}")])
        _found(self.fleet.proxy(proxy_id), proxy_id)
        found = await self.fleet.resource(proxy_id, kind, name)
        return {"resource": _found(found, name, kind)}


def _check(document: Document, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
    errors = unknown(document, (*required, *optional))
    errors += [FieldError(key, "is required") for key in required if key not in document]
    errors += [
        FieldError(key, "must be a string")
        for key in (*required, *optional)
        if key in document and not isinstance(document[key], str)
    ]
    if errors:
        raise invalid(errors)


def _found(document: dict[str, Any] | None, name: str, kind: str = "proxy") -> dict[str, Any]:
    if document is None:
        raise absent(kind, name[:128])
    return document
