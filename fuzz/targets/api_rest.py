"""The management API over REST, its store in memory: any request has one answer of those documented, and no 500.

The first line is `VERB path?query`, headers follow a line each, and the body after an empty line.
"""

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from ipaddress import ip_network
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from igw_api.caller import Caller, Role
from igw_api.http_server import app
from igw_api.operations import Operations
from igw_api.parameters import Parameters
from igw_api.rest import BASE
from igw_api.settings import Backends, Endpoints, Settings
from igw_store.cipher import Cipher
from igw_store.database import open_database
from igw_store.reading import View
from igw_store.store import Reading, Writing
from igw_store.writing import Bounds, Transaction
from sqlalchemy import Connection

WATCHED = ("igw_api", "igw_model", "igw_store")
MAX_BYTES = 4096
GATEWAY = "0a000000-0000-4000-8000-000000000001"
DEPLOYMENT = "de000000-0000-4000-8000-000000000001"
_STATUSES = {200, 204, 400, 401, 403, 404, 405, 409, 412, 413, 415, 501}
T = TypeVar("T")


def check(data: bytes) -> None:
    """Ask the API, and for what was created once more; then undo all."""
    head, _, body = data.partition(b"\n\n")
    line, *lines = head.split(b"\n")
    verb, _, target = line.partition(b" ")
    headers = [
        (name.strip().lower(), value.strip()) for name, _, value in (one.partition(b":") for one in lines)
    ]
    installation = _installation()
    with installation.undone():
        status, answer = installation.ask(_text(verb), target, headers, body)
        if status == 200 and verb == b"POST" and isinstance(answer, dict):
            _created(installation, target, answer)


def _text(verb: bytes) -> str:
    return verb.decode("latin-1").upper() or "GET"


def _created(installation: "_Installation", target: bytes, answer: dict[str, Any]) -> None:
    """See that what was created is there."""
    path = target.partition(b"?")[0].strip(b"/")
    (made,) = answer.values()
    again, found = installation.ask("GET", path + b"/" + made["spec"]["id"].encode(), [], b"")
    (there,) = found.values()
    assert (again, there["spec"]) == (200, made["spec"]), (answer, found)


class _Installation:
    """The API over a store whose writes are undone behind each input."""

    def __init__(self) -> None:
        self._connection = open_database(None).connect()
        self._store = _Store(self._connection)
        self._loop = asyncio.new_event_loop()
        numbers = itertools.count(1)
        operations = Operations(
            self._store,  # type: ignore[arg-type] # of a store, what operations use
            Settings(
                Parameters(), Endpoints("http", "gw.localhost", 8080), Backends((ip_network("127.0.0.0/8"),))
            ),
            clock=lambda: datetime(2026, 1, 31, 8, tzinfo=UTC),
            new_id=lambda: f"11111111-0000-4000-8000-{next(numbers) % 10**12:012d}",
        )
        self._app = app(operations.call, _authenticated)
        for path, spec in _SPECS:
            status, answer = self.ask("POST", path, [], json.dumps(spec).encode())
            assert status == 200, answer
        self._connection.commit()

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Undo what is written within."""
        with self._connection.begin() as transaction:
            yield
            transaction.rollback()

    def ask(
        self, verb: str, target: bytes, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> tuple[int, Any]:
        """Give the answer to one request."""
        path, _, query = target.partition(b"?")
        whole = BASE.encode() + b"/" + path.lstrip(b"/")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": verb,
            "scheme": "http",
            "path": unquote_to_bytes(whole).decode(errors="replace"),
            "raw_path": whole,
            "query_string": query,
            "headers": headers,
            "server": ("api", 80),
        }
        return self._loop.run_until_complete(self._asked(scope, body))

    async def _asked(self, scope: dict[str, Any], body: bytes) -> tuple[int, Any]:
        given = iter([{"type": "http.request", "body": body, "more_body": False}])
        sent: list[Any] = []

        async def receive() -> Any:
            return next(given, {"type": "http.disconnect"})

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        return _answer(scope["method"], sent)


def _answer(verb: str, sent: Sequence[Any]) -> tuple[int, Any]:
    begin, *rest = sent
    assert begin["type"] == "http.response.start"
    assert begin["status"] in _STATUSES, begin
    content = b"".join(message["body"] for message in rest)
    assert len(content) < 200_000
    if not content:
        assert verb == "HEAD" or begin["status"] == 204
        return begin["status"], None
    answer = json.loads(content)
    if begin["status"] != 200:
        assert answer.keys() == {"code", "message", "details"}
    return begin["status"], answer


class _Store:
    """The real store's views and transactions, on one connection and without its threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._cipher = Cipher.ephemeral()

    async def read(self, view: Callable[[Reading], T]) -> T:
        return view(View(self._connection, self._cipher))

    async def write(self, change: Callable[[Writing], T]) -> T:
        with self._connection.begin_nested():
            return change(Transaction(self._connection, self._cipher, Bounds(100, 100)))


async def _authenticated(_: Sequence[str]) -> Caller:
    return Caller("fuzz", "acme", Role.OPERATOR)


_SPECS: tuple[tuple[bytes, dict[str, Any]], ...] = (
    (
        b"gateways",
        {
            "id": GATEWAY,
            "name": "gateway-1",
            "zones": ["US-EAST-04A"],
            "organizationId": "acme",
            "coreWeaveAuth": {},
            "bodyBasedRouting": {"apiType": "API_TYPE_OPENAI"},
        },
    ),
    (
        b"deployments",
        {
            "id": DEPLOYMENT,
            "name": "deployment-1",
            "organizationId": "acme",
            "gatewayIds": [GATEWAY],
            "model": {"name": "demo/small"},
            "staticBackend": {"endpoints": [{"address": "127.0.0.1", "port": 9001}]},
        },
    ),
)


@cache
def _installation() -> _Installation:
    return _Installation()
