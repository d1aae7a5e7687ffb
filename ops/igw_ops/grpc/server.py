"""A gRPC server for long-lived streams: thousands of connections, each silent most of the time.

A service is a function from a stream to what is made of it (`Opening`). One timer looks after all connections.
"""

import asyncio
import contextlib
import socket
from typing import Final

from igw_ops.accepting import Accepting, accepting
from igw_ops.grpc.call import Call as Call
from igw_ops.grpc.call import Limits as Limits
from igw_ops.grpc.call import Opening as Opening
from igw_ops.grpc.call import Stream as Stream
from igw_ops.grpc.peer import Peer, Shared
from igw_ops.grpc.turns import Turns
from igw_ops.grpc.unfinished import Unfinished
from igw_ops.grpc.wire import GrpcStatus as GrpcStatus
from igw_ops.guard import Guard
from igw_ops.listening import listening_socket

_HANG_UP_SECONDS: Final = 0.5
"""How long clients that were sent away may take to hang up before we do: the end must not overtake our last words."""


class Server:
    """Listens; `close` ends it."""

    def __init__(self, listener: asyncio.Server | Accepting, shared: Shared) -> None:
        """Take a listener whose connections share what is given."""
        self._listener = listener
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self.port: int = listener.sockets[0].getsockname()[1]
        """The real one, when 0 was asked for."""
        limits = shared.limits
        turn, whole = limits.large_seconds, limits.unfinished_seconds
        self._every = min(limits.ping_seconds, limits.ping_timeout_seconds, turn, whole) / 4
        self._next = self._loop.call_later(self._every, self._sweep)

    @property
    def connections(self) -> int:
        """Give how many there are."""
        return len(self._shared.peers)

    def send_away(self) -> None:
        """Listen no more, and ask clients to go elsewhere; their calls go on until `close`."""
        self._listener.close()
        for peer in self._shared.peers:
            peer.send_away()

    async def close(self, grace_seconds: float) -> None:
        """Take nothing new, end all calls with UNAVAILABLE, and hang up, within so many seconds."""
        self._next.cancel()
        self._shared.closing = True
        self._listener.close()
        for peer in list(self._shared.peers):
            peer.finish()
        first = min(grace_seconds, _HANG_UP_SECONDS)
        await self._gone(first)
        for peer in list(self._shared.peers):
            peer.transport.close()
        await self._gone(grace_seconds - first)
        for peer in list(self._shared.peers):
            peer.transport.abort()
        await self._shared.nobody.wait()

    async def _gone(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._shared.nobody.wait(), seconds)

    def _sweep(self) -> None:
        """Look after all connections at once: a timer for each would cost more than it is worth."""
        self._next = self._loop.call_later(self._every, self._sweep)
        now, limits = self._loop.time(), self._shared.limits
        for peer in list(self._shared.peers):
            peer.check(now)
        for peer, number in self._shared.turns.late(now):
            text = f"a large message took longer than {limits.large_seconds:g} s"
            peer.refuse(number, GrpcStatus.DEADLINE_EXCEEDED, text)
        for peer, number in self._shared.unfinished.late(now):
            text = f"a message took longer than {limits.unfinished_seconds:g} s"
            peer.refuse(number, GrpcStatus.DEADLINE_EXCEEDED, text)


async def serve(
    open: Opening,  # noqa: A002 - it is that
    what: str,
    host: str,
    port: int,
    limits: Limits | None = None,
) -> Server:
    """Listen and serve; `what` names the purpose of the port. Raises CannotListenError."""
    return await serve_on(open, listening_socket(what, host, port), limits)


async def serve_on(
    open: Opening,  # noqa: A002
    listening: socket.socket,
    limits: Limits | None = None,
    *,
    shared_socket: bool = False,
    guard: Guard | None = None,
) -> Server:
    """Serve those who come to a socket that listens; with `shared_socket`, other processes accept from it too.

    With a guard it is TLS, for clients that the guard lets in.
    """
    limits = limits or Limits()
    nobody = asyncio.Event()
    nobody.set()
    turns: Turns[tuple[Peer, int]] = Turns(limits.large_at_once, limits.large_seconds, limits.large_waiting)
    unfinished: Unfinished[tuple[Peer, int]] = Unfinished(limits.unfinished_bytes, limits.unfinished_seconds)
    shared = Shared(open, limits, turns, unfinished, nobody)
    listener = await accepting(listening, lambda: Peer(shared), shared_socket=shared_socket, guard=guard)
    return Server(listener, shared)
