"""The real management API on loopback, over a store in memory, for tests of its clients.

What a control plane does (observe, remove what is deleted) is done by `observe` and `settle`.
"""

import asyncio
import contextlib
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

import httpx
from igw_api.authentication import Authentication, LocalAdmin, Principal
from igw_api.http_server import app
from igw_api.operations import Operations
from igw_api.proxies import Fleet
from igw_api.roles import Roles
from igw_api.settings import Backends, Settings
from igw_api.usage import Source
from igw_cli.client import BASE
from igw_model.record import Kind
from igw_model.status import Condition, Observed, Status, Truth
from igw_ops.listening import listening_socket
from igw_ops.server import serving
from igw_store.cipher import Cipher
from igw_store.sqlite import open_store
from igw_store.store import Store, Writing
from structlog.testing import capture_logs

ADMIN = "igw-admin-token-of-the-test"
VIEWER = "CW-SECRET-viewer"
ORGANIZATION = "acme"


@dataclass
class ApiServer:
    """A server that answers, and its store."""

    url: str
    store: Store
    loop: asyncio.AbstractEventLoop
    admin: str = ADMIN
    viewer: str = VIEWER

    def send(self, method: str, path: str, document: Any = None) -> Any:
        """Call the API as the admin; it must succeed."""
        headers = {"authorization": f"Bearer {self.admin}"}
        answer = httpx.request(method, f"{self.url}{BASE}/{path}", json=document, headers=headers)
        assert answer.is_success, answer.text
        return answer.json()

    def items(self, path: str) -> list[Any]:
        """Give what a list answers."""
        items: list[Any] = self.send("GET", path)["items"]
        return items

    def observe(self, status: str, reason: str, message: str) -> None:
        """Say of every gateway what a control plane saw of it."""
        now = datetime.now(UTC)
        truth = Truth.TRUE if status == "READY" else Truth.FALSE
        condition = Condition("Programmed", truth, reason, message, "US-EAST-04A", now)

        def write(writing: Writing) -> None:
            for record in writing.list(Kind.GATEWAY, ORGANIZATION):
                observed = Observed(record.generation, Status(f"STATUS_{status}"), (condition,))
                writing.observe(record.kind, record.id, observed, now)

        self.write(write)

    def settle(self) -> None:
        """Forget what is being deleted, as a control plane does once no Envoy serves it."""

        def write(writing: Writing) -> None:
            for kind in Kind:
                for record in writing.list(kind, ORGANIZATION):
                    if record.deleting:
                        writing.remove(kind, record.id)

        self.write(write)

    def write(self, change: Any) -> None:
        """Change the store as the control plane does."""
        asyncio.run_coroutine_threadsafe(self.store.write(change), self.loop).result(10)


async def _identify(token: str) -> Principal | None:
    return Principal("viewer", ORGANIZATION) if token == VIEWER else None


@contextlib.contextmanager
def api_server(fleet: Fleet | None = None, usage: Source | None = None) -> Iterator[ApiServer]:
    """Serve in a thread of its own until the context ends."""
    started: list[ApiServer] = []
    ready, stop = threading.Event(), asyncio.Event()

    async def main() -> None:
        store = await open_store(None, Cipher.ephemeral())
        operations = Operations(
            store,
            Settings(backends=Backends((ip_network("127.0.0.0/8"),))),
            clock=lambda: datetime.now(UTC),
            new_id=lambda: str(uuid.uuid4()),
            fleet=fleet,
            usage=usage,
        )
        roles = Roles(principals={"viewer": "viewer"})
        authenticate = Authentication(_identify, lambda: roles, LocalAdmin(ADMIN, ORGANIZATION))
        listening = listening_socket("api", "127.0.0.1", 0)
        async with serving(app(operations.call, authenticate), listening):
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            started.append(ApiServer(url, store, asyncio.get_running_loop()))
            ready.set()
            await stop.wait()
        await store.aclose()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    with capture_logs():  # the server shares this process's output with the program under test
        thread.start()
        assert ready.wait(20), "the server did not start"
        try:
            yield started[0]
        finally:
            started[0].loop.call_soon_threadsafe(stop.set)
            thread.join(20)
