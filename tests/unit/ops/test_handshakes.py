"""How many TLS handshakes go on at once, over real connections, on both loops: who says nothing keeps nobody out."""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvloop
from igw_certs.authority import Authority
from igw_ops import accepting
from igw_ops.accepting import Accepting
from igw_ops.guard import HANDSHAKE_SECONDS, Anybody
from igw_ops.listening import listening_socket

from tests.pairs import SECRET, write_pair
from tests.unit.ops.accepted import accepted

MOST = 20
PATIENCE = 0.2
HELLO = b"\x16\x03\x01"
"""How a ClientHello begins."""


class Greeter(asyncio.Protocol):
    """Greets whoever has shaken hands, and stays."""

    def __init__(self, made: list[Any]) -> None:
        self.made = made

    def connection_made(self, transport: Any) -> None:
        """Greet."""
        self.made.append(transport)
        transport.write(b"hello")


@dataclass
class Scene:
    """A server with few handshakes at once, and who comes."""

    address: Any
    server: Accepting
    client: ssl.SSLContext
    made: list[Any]
    silent: list[socket.socket] = field(default_factory=list)

    def knock(self, number: int) -> None:
        """Connect so often; every other one says how a handshake begins."""
        for turn in range(number):
            client = socket.create_connection(self.address)
            self.silent.append(client)
            if turn % 2:
                client.sendall(HELLO)

    @property
    def held(self) -> int:
        """How many connections this process has accepted, and holds."""
        return accepted(self.address[1])

    async def greeted(self, pause: float = 0) -> None:
        """Come as an honest client does, which thinks so long before it speaks."""
        plain = await asyncio.to_thread(socket.create_connection, self.address)
        await asyncio.sleep(pause)
        reader, writer = await asyncio.open_connection(
            sock=plain, ssl=self.client, server_hostname="localhost"
        )
        assert await reader.readexactly(5) == b"hello"
        writer.transport.abort()


@contextlib.asynccontextmanager
async def scene(folder: Path, room: Callable[[], int] = lambda: MOST) -> AsyncIterator[Scene]:
    """Serve over TLS on a free port."""
    authority, made = Authority.kept(folder), list[Any]()
    write_pair(folder / "pair", authority.issue_server(["localhost"]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pair" / SECRET[0], folder / "pair" / SECRET[1])
    client = ssl.create_default_context(cadata=authority.certificate.decode())
    with listening_socket("a test", "127.0.0.1", 0) as listening:
        server = Accepting(
            listening, lambda: Greeter(made), shared_socket=False, guard=Anybody(context), room=room
        )
        it = Scene(listening.getsockname(), server, client, made)
        try:
            async with asyncio.timeout(20):
                yield it
                server.close()
                await server.wait_closed()
        finally:
            server.close()
            for transport in made:
                transport.abort()
            for silent in it.silent:
                silent.close()


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "PATIENCE_SECONDS", PATIENCE)


def play(loop_factory: Any, acts: Any) -> None:
    """Run acts."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(acts())


both_loops = pytest.mark.parametrize(
    "loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


@both_loops
def test_they_are_bounded_and_an_honest_client_has_its_turn(loop_factory: Any, tmp_path: Path) -> None:
    """However many say nothing, before it and after it: handshakes that do not end make room, in their order."""

    async def acts() -> None:
        async with scene(tmp_path) as it:
            it.knock(5 * MOST)
            began, most = time.monotonic(), 0
            honest = asyncio.create_task(it.greeted())
            while not honest.done():
                await asyncio.sleep(0.01)
                most = max(most, it.held)
                it.knock(1)
            await honest
            assert time.monotonic() - began < HANDSHAKE_SECONDS / 2
            assert MOST - 1 <= most <= MOST + 1  # one that was greeted

    play(loop_factory, acts)


@both_loops
def test_a_handshake_is_not_cut_short_at_once(loop_factory: Any, tmp_path: Path) -> None:
    """A flood that comes behind a client leaves it the time that a handshake takes."""

    async def acts() -> None:
        async with scene(tmp_path) as it:
            honest = asyncio.create_task(it.greeted(pause=PATIENCE * 0.7))
            await asyncio.sleep(0.02)
            it.knock(5 * MOST)
            await honest

    play(loop_factory, acts)


@both_loops
def test_no_room_at_all(loop_factory: Any, tmp_path: Path) -> None:
    """Who comes is closed, until there is some."""
    room = 0

    async def acts() -> None:
        nonlocal room
        async with scene(tmp_path, lambda: room) as it:
            with pytest.raises(ConnectionError):
                await it.greeted()
            room = 1
            await it.greeted()

    play(loop_factory, acts)


@both_loops
def test_none_is_left_behind(loop_factory: Any, tmp_path: Path) -> None:
    """A server that closes cuts all short."""

    async def acts() -> None:
        async with scene(tmp_path) as it:
            it.knock(5)
            await asyncio.sleep(0.1)
            assert it.held == 5
            it.server.close()
            async with asyncio.timeout(HANDSHAKE_SECONDS / 2):
                await it.server.wait_closed()
            await asyncio.sleep(0.1)
            assert it.held == 0

    play(loop_factory, acts)
