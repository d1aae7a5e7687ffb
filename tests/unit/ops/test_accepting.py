"""Accepting from one socket in several places, over real connections, on both loops."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from igw_ops.accepting import Accepting
from igw_ops.listening import listening_socket

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


class Taker(asyncio.Protocol):
    """Says who it is on each connection that it is given."""

    def __init__(self, name: bytes) -> None:
        self.name = name

    def connection_made(self, transport: Any) -> None:
        """Say who took it."""
        transport.write(self.name)
        transport.close()


def accepting(listening: socket.socket, name: bytes) -> Accepting:
    """Accept from a socket as one of several do."""
    return Accepting(listening.dup(), lambda: Taker(name))


async def takers(clients: list[socket.socket]) -> list[bytes]:
    """Give who took each connection."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(5):
        return [await loop.sock_recv(client, 10) for client in clients]


def connected(listening: socket.socket, number: int) -> list[socket.socket]:
    """Connect, whether anybody accepts or not."""
    made = [socket.create_connection(listening.getsockname()) for _ in range(number)]
    for client in made:
        client.setblocking(False)
    return made


@pytest.mark.parametrize("loop_factory", LOOPS, ids=["asyncio", "uvloop"])
def test_of_a_burst_each_has_its_part(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Two that wait are not both the first one's; a loop's own server takes all that it finds."""

    async def play() -> None:
        with listening_socket("a test", "127.0.0.1", 0) as listening:
            clients = connected(listening, 2)
            both = [accepting(listening, name) for name in (b"one", b"two")]
            assert sorted(await takers(clients)) == [b"one", b"two"]
            for each in both:
                each.close()
            for client in clients:
                client.close()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(play())


@pytest.mark.parametrize("loop_factory", LOOPS, ids=["asyncio", "uvloop"])
def test_one_that_closed_leaves_all_to_the_other(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Also while it paused behind a connection; who accepts alone gets all, a pause apart."""

    async def play() -> None:
        with listening_socket("a test", "127.0.0.1", 0) as listening:
            faults: list[object] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
            first = connected(listening, 1)
            one = accepting(listening, b"one")
            assert await takers(first) == [b"one"]
            one.close()
            one.close()
            later = connected(listening, 5)
            two = accepting(listening, b"two")
            assert await takers(later) == [b"two"] * 5
            assert not faults
            two.close()
            for client in first + later:
                client.close()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(play())
