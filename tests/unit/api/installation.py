"""A real API for tests: its own store in memory, its HTTP app, and callers by their tokens.

Every answer is held to the OpenAPI document before a test sees it.
"""

import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_network
from typing import Any

import httpx
import jsonschema_rs
from igw_api.authentication import Authentication, IdentityUnavailableError, LocalAdmin, Principal
from igw_api.http_server import app
from igw_api.operations import Operations
from igw_api.parameters import Parameters
from igw_api.proxies import Fleet
from igw_api.reference import openapi
from igw_api.rest import BASE
from igw_api.roles import Roles
from igw_api.settings import Backends, Endpoints, Settings
from igw_api.usage import Source
from igw_model.document import parse
from igw_model.record import Kind, Record
from igw_model.status import Condition, Observed, Status, Truth
from igw_store.cipher import Cipher
from igw_store.sqlite import SqliteStore, open_store

ADMIN, VIEWER, OTHER, STRANGER, DOWN = "admin-token", "viewer-token", "other-token", "stranger-token", "down"
OPERATOR = "operator-token"
BEGIN = datetime(2026, 1, 31, 8, tzinfo=UTC)
BEGIN_TEXT = "2026-01-31T08:00:00Z"

_PEOPLE = {
    VIEWER: Principal("viewer-1", "acme"),
    OTHER: Principal("admin-2", "other"),
    STRANGER: Principal("stranger-3", "strangers"),
    OPERATOR: Principal("operator-4", "elsewhere"),
}
_ROLES = Roles(principals={"operator-4": "operator"}, organizations={"acme": "viewer", "other": "admin"})


def made_id(number: int) -> str:
    """Give the id that the server makes for the `number`th call, from 1."""
    return f"11111111-0000-4000-8000-{number:012d}"


def parameters(**fields: Any) -> Parameters:
    """Give parameters, as a file would."""
    parsed = parse(Parameters, fields, ())
    assert isinstance(parsed, Parameters), parsed
    return parsed


SETTINGS = Settings(
    parameters=parameters(zones=["US-EAST-04A", "EU-NORTH-04A"], capacity={"US-EAST-04A": {"gd-8": 4}}),
    endpoints=Endpoints("http", "gw.localhost", 8080),
    backends=Backends((ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8"))),
)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(slots=True)
class Installation:
    """The API and what is behind it; `now` is its clock."""

    store: SqliteStore
    client: httpx.AsyncClient
    now: datetime = BEGIN
    ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def call(
        self, verb: str, path: str, body: Any = None, *, token: str | None = ADMIN, **query: Any
    ) -> Reply:
        """Call the API and hold the answer to its document."""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        content = None if body is None else json.dumps(body).encode()
        response = await self.client.request(
            verb, BASE + path, headers=headers, params=query or None, content=content
        )
        return checked(verb, path, response)

    def later(self, **passed: float) -> None:
        """Let time pass."""
        self.now += timedelta(**passed)

    async def observe(
        self, kind: Kind, object_id: str, status: Status, *, generation: int = 1, zone: str = ""
    ) -> None:
        """Note what a control plane saw of an object, as it does."""
        found = Condition("Programmed", Truth.TRUE, "Programmed", "Programmed proxies: 1/1", zone, self.now)
        seen = Observed(generation, status, (found,))
        await self.store.write(lambda write: write.observe(kind, object_id, seen, self.now))

    async def remove(self, kind: Kind, object_id: str) -> None:
        """Let an object be gone for good, as the control plane does when no proxy serves it."""
        await self.store.write(lambda write: write.remove(kind, object_id))

    async def from_file(
        self, kind: Kind, spec: Mapping[str, Any], origin: str = "defs.yaml, document 1"
    ) -> None:
        """Put an object that a file defines."""
        record = Record(
            kind=kind,
            id=spec["id"],
            organization_id=spec["organizationId"],
            name=spec["name"],
            spec=spec,
            generation=1,
            created_at=self.now,
            updated_at=self.now,
            origin=origin,
        )
        await self.store.write(lambda write: write.put(record))

    async def record(self, kind: Kind, object_id: str) -> Record | None:
        """Give what the store has."""
        return await self.store.read(lambda view: view.get(kind, object_id))

    async def events(self) -> list[dict[str, Any]]:
        """Give the events."""
        events: list[dict[str, Any]] = (await self.call("GET", "/events")).body["items"]
        return events


@contextlib.asynccontextmanager
async def installation(
    settings: Settings = SETTINGS, fleet: Fleet | None = None, usage: Source | None = None
) -> AsyncIterator[Installation]:
    """Run an API, beside a control plane and a usage collector where there are such."""
    store = await open_store(None, Cipher.ephemeral())
    async with httpx.AsyncClient(base_url="http://api") as nowhere:
        running = Installation(store, nowhere)
        operations = Operations(
            store,
            settings,
            clock=lambda: running.now,
            new_id=lambda: made_id(next(running.ids)),
            fleet=fleet,
            usage=usage,
        )
        transport = httpx.ASGITransport(app(operations.call, authentication()), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            running.client = client
            yield running
    await store.aclose()


def authentication() -> Authentication:
    """Know the callers of these tests."""

    async def identify(token: str) -> Principal | None:
        if token == DOWN:
            raise IdentityUnavailableError
        return _PEOPLE.get(token)

    return Authentication(identify, lambda: _ROLES, LocalAdmin(ADMIN, "acme"))


def checked(verb: str, path: str, response: httpx.Response) -> Reply:
    """Give an answer that the OpenAPI document allows."""
    body = response.json() if response.content else None
    template = _template(path.partition("?")[0])
    if template is not None and response.status_code != 405:
        described = description(template, verb, response.status_code)
        validator(template, verb, response.status_code).validate(body)
        for header in described.get("headers", {}):
            assert header.lower() in response.headers
    return Reply(response.status_code, body, response.headers)


def description(template: str, verb: str, status: int) -> Any:
    """Give what the document says of an answer."""
    return resolved(openapi()["paths"][template][verb.lower()]["responses"][str(status)])


@cache
def validator(template: str, verb: str, status: int) -> jsonschema_rs.Draft202012Validator:
    """Give what holds an answer to its schema."""
    schema = description(template, verb, status)["content"]["application/json"]["schema"]
    whole = {**schema, "components": openapi()["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


def resolved(node: Any) -> Any:
    """Follow a reference into the document's components."""
    while "$ref" in node:
        *_, group, name = node["$ref"].split("/")
        node = openapi()["components"][group][name]
    return node


def _template(path: str) -> str | None:
    parts = (BASE + path).split("/")
    fitting = [template for template in openapi()["paths"] if _fits(template.split("/"), parts)]
    return min(fitting, key=lambda template: "{" in template, default=None)


def _fits(template: Sequence[str], parts: Sequence[str]) -> bool:
    return len(template) == len(parts) and all(
        known.startswith("{") or known == part for known, part in zip(template, parts, strict=True)
    )


def with_settings(**changes: Any) -> Settings:
    """Give the tests' settings with some of them changed."""
    return replace(SETTINGS, **changes)
