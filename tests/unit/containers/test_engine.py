"""An engine that answers what no engine should: it is asked again, and the process goes on."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from igw_containers.engine import Engine
from igw_containers.metrics import Metrics
from prometheus_client import CollectorRegistry

from tests.docker.scene import until


class Odd(ThreadingHTTPServer):
    """It answers three calls, with one event; the events stay open."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Calls)
        self.listing: object = []
        self.event = b""
        self.asked_events = 0
        self.asked_listings = 0
        self.ending = threading.Event()


class _Calls(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Odd

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.endswith("/events"):
            self._events()
        elif path.endswith("/containers/json"):
            self.server.asked_listings += 1
            self._answer(json.dumps(self.server.listing).encode())
        else:
            self._answer(b'{"ApiVersion": "1.41"}')

    def _events(self) -> None:
        self.server.asked_events += 1
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if event := self.server.event:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        self.server.ending.wait(60)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def odd() -> Iterator[Odd]:
    with Odd() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.ending.set()
        server.shutdown()
        thread.join()


@contextlib.asynccontextmanager
async def followed(server: Odd) -> AsyncIterator[list[object]]:
    """Follow it; gives what is published."""
    published: list[object] = []
    engine = Engine(f"tcp://127.0.0.1:{server.server_port}", published.append, Metrics(CollectorRegistry()))
    task = asyncio.create_task(engine.follow())
    try:
        yield published
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize("listing", [{}, {"message": "no"}, None, "none"])
async def test_what_is_no_list(odd: Odd, listing: object) -> None:
    """It does not end the control plane: the engine counts as away, so nobody is taken for gone."""
    odd.listing = listing
    async with followed(odd) as published:
        await until(lambda: odd.asked_listings > 1, 20)
    assert published == []


async def test_an_event_that_nobody_thought_of(odd: Odd) -> None:
    """Who reads the events may fail as it likes: they are asked for anew, or none would ever come again."""
    odd.event = b"[" * 200_000 + b"\n"  # RecursionError
    async with followed(odd):
        await until(lambda: odd.asked_events > 1, 20)
