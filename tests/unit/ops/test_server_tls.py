"""What an HTTP server of ours takes over TLS from a client that says nothing: nobody is known before the handshake."""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from igw_certs.authority import Authority
from igw_certs.shown import Shown
from igw_ops.guard import HANDSHAKE_SECONDS
from igw_ops.http1 import MAX_CONNECTIONS
from igw_ops.listening import listening_socket
from igw_ops.server import serving
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.pairs import write_pair
from tests.unit.ops.accepted import accepted

REQUEST = b"GET /scheme HTTP/1.1\r\nHost: localhost\r\n\r\n"
SILENT = 600
OPEN = 30
Loop = Callable[[], asyncio.AbstractEventLoop]
both_loops = pytest.mark.parametrize(
    "loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


async def _scheme(request: Request) -> Response:
    return PlainTextResponse(f"{request.url.scheme}\n")


async def _slow(_: Request) -> Response:
    await asyncio.sleep(0.5)
    return PlainTextResponse("slow\n")


class Client:
    """One connection of an honest client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, request: bytes = REQUEST) -> bytes:
        """Give the body that is answered."""
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        return await self.reader.readline()

    def serial(self) -> int:
        """Give the serial number of the certificate that it was shown."""
        return int(self.writer.get_extra_info("peercert")["serialNumber"], 16)


class Scene:
    """A server, and the authority of its certificate."""

    def __init__(self, folder: Path) -> None:
        self.authority, self.folder = Authority.kept(folder / "authority"), folder / "pair"
        self.renew()
        self.trust = ssl.create_default_context(cadata=self.authority.certificate.decode())
        self.port = 0

    def renew(self) -> int:
        """Put a new pair into the server's folder; give its serial number."""
        return write_pair(self.folder, self.authority.issue_server(["localhost"]))

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Serve on a free port."""
        app = Starlette(routes=[Route("/scheme", _scheme), Route("/slow", _slow)])
        listening = listening_socket("test", "127.0.0.1", 0)
        self.port = listening.getsockname()[1]
        async with asyncio.timeout(20), serving(app, listening, Shown(self.folder).context(("http/1.1",))):
            yield

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Connect, and shake hands."""
        reader, writer = await asyncio.open_connection("localhost", self.port, ssl=self.trust)
        try:
            yield Client(reader, writer)
        finally:
            writer.transport.abort()


def play(loop_factory: Loop, acts: Any) -> None:
    """Run acts."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(acts())


@both_loops
def test_handshakes_that_do_not_end(loop_factory: Loop, tmp_path: Path) -> None:
    """They count as connections do; who says nothing, or a part of it, is closed, and the next client is served."""
    scene = Scene(tmp_path)

    async def acts() -> None:
        async with scene.served(), contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(scene.client()) for _ in range(OPEN)]
            silent = [socket.create_connection(("127.0.0.1", scene.port)) for _ in range(SILENT)]
            for client in silent[::2]:
                client.sendall(b"\x16\x03\x01")
            began, held = time.monotonic(), []
            async with asyncio.TaskGroup() as tasks:
                asked = tasks.create_task(once(scene))
                while not asked.done():
                    await asyncio.sleep(0.05)
                    held.append(accepted(scene.port))
            assert time.monotonic() - began < HANDSHAKE_SECONDS + 1
            assert MAX_CONNECTIONS - 2 <= max(held) <= MAX_CONNECTIONS
            assert sum(map(hung_up, silent)) >= SILENT - MAX_CONNECTIONS + OPEN
            assert [await client.ask() for client in clients] == [b"https\n"] * OPEN
            for client in silent:
                client.close()

    play(loop_factory, acts)


async def once(scene: Scene) -> None:
    """Ask on a connection of its own."""
    async with scene.client() as client:
        assert await client.ask() == b"https\n"


async def shown(scene: Scene) -> int:
    """Give what a new connection is shown."""
    async with scene.client() as client:
        return client.serial()


def hung_up(client: socket.socket) -> bool:
    """Tell whether the server closed a connection."""
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


@both_loops
def test_a_connection_is_kept_and_a_new_one_is_shown_what_was_renewed(
    loop_factory: Loop, tmp_path: Path
) -> None:
    """One that is open goes on with what it began with."""
    scene = Scene(tmp_path)

    async def acts() -> None:
        async with scene.served(), scene.client() as first:
            assert [await first.ask() for _ in range(3)] == [b"https\n"] * 3
            serial = scene.renew()
            while await shown(scene) != serial:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0.1)
            assert first.serial() != serial
            assert await first.ask() == b"https\n"

    play(loop_factory, acts)


@both_loops
def test_the_end_lets_what_was_asked_be_answered(loop_factory: Loop, tmp_path: Path) -> None:
    """A handshake that goes on then is cut short, and nobody is let in any more."""
    scene = Scene(tmp_path)

    async def acts() -> None:
        served = scene.served()
        await served.__aenter__()
        async with scene.client() as client:
            silent = socket.create_connection(("127.0.0.1", scene.port))
            asked = asyncio.create_task(client.ask(REQUEST.replace(b"scheme", b"slow")))
            await asyncio.sleep(0.2)
            await served.__aexit__(None, None, None)
            assert await asked == b"slow\n"
            assert (accepted(scene.port), hung_up(silent)) == (0, True)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", scene.port))
            silent.close()

    play(loop_factory, acts)
