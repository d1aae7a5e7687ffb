"""Accepting connections: as an event loop's own server does, or where that is not enough by ourselves.

It takes all that wait at once: of a burst, one of several processes on one socket would have the whole. And it keeps
to itself why a handshake failed.
"""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Final

import structlog

from igw_ops.guard import FAREWELL_SECONDS, HANDSHAKE_SECONDS, Guard, Guarded, peer_text
from igw_ops.listening import BACKLOG

PAUSE_SECONDS: Final = 0.002
"""Behind each connection where several processes accept: what the others need to wake up."""
MAX_BEGINNING: Final = 512
"""Handshakes at once; who comes beside them waits with the system, until one ends or had `PATIENCE_SECONDS`."""
PATIENCE_SECONDS: Final = 1.0
"""What a handshake has at least. Where as many go on as may, the oldest is then cut short for the next client: who
says nothing keeps others waiting for that long, not for `HANDSHAKE_SECONDS`. An honest one takes a few round trips."""
_RETRY_SECONDS: Final = 1.0
_EXHAUSTED: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

log = structlog.get_logger(__name__)


async def accepting(
    listening: socket.socket,
    protocol: Callable[[], asyncio.Protocol],
    *,
    shared_socket: bool = False,
    guard: Guard | None = None,
) -> "asyncio.Server | Accepting":
    """Accept from a socket that listens; with `shared_socket`, other processes do too; with a guard, over TLS."""
    if shared_socket or guard is not None:
        return Accepting(listening, protocol, shared_socket=shared_socket, guard=guard)
    return await asyncio.get_running_loop().create_server(protocol, sock=listening, backlog=BACKLOG)


class Accepting:
    """Accepts until `close`, one connection at a time; has what callers use of an `asyncio.Server`."""

    def __init__(
        self,
        listening: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        *,
        shared_socket: bool = True,
        guard: Guard | None = None,
        room: Callable[[], int] = lambda: MAX_BEGINNING,
    ) -> None:
        """`room` gives how many handshakes there may be now. With none clients are closed as they come."""
        listening.setblocking(False)
        self.sockets: tuple[socket.socket, ...] = (listening,)
        self._listening = listening
        self._protocol = protocol
        self._shared_socket = shared_socket
        self._guard = guard
        self._room = room
        self._loop = asyncio.get_running_loop()
        self._beginning: dict[asyncio.Task[None], tuple[float, str]] = {}
        """Since when, and whose, the oldest first."""
        self._later: asyncio.TimerHandle | None = None
        self._watch()

    def close(self) -> None:
        """Accept no more; the socket is closed, and handshakes are cut short."""
        if self._later is not None:
            self._later.cancel()
        if self._listening.fileno() >= 0:
            self._loop.remove_reader(self._listening)
            self._listening.close()
        if self._guard is not None:
            for task in self._beginning:
                task.cancel()

    async def wait_closed(self) -> None:
        """Wait, after `close`, until no handshake is going on."""
        if self._beginning:
            await asyncio.wait(self._beginning)

    def _watch(self) -> None:
        self._later = None
        self._loop.add_reader(self._listening, self._accept)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listening)
        self._later = self._loop.call_later(seconds, self._watch)

    def _accept(self) -> None:
        if self._guard is not None and len(self._beginning) >= max(self._room(), 1):
            self._cut_short(self._guard)
            self._pause(PAUSE_SECONDS)
            return
        try:
            connection, address = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another process was first, or it is gone again
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            log.warning("cannot accept", reason=error.strerror)
            self._pause(_RETRY_SECONDS)
            return
        self._take(connection, peer_text(address))
        if self._shared_socket:
            self._pause(PAUSE_SECONDS)

    def _take(self, connection: socket.socket, peer: str) -> None:
        connection.setblocking(False)
        if self._guard is None:
            begin = self._begin(connection)
        elif self._room() > 0:
            begin = self._secure(connection, peer, self._guard)
        else:
            connection.close()
            return
        task = self._loop.create_task(begin)
        self._beginning[task] = self._loop.time(), peer
        task.add_done_callback(lambda task: self._beginning.pop(task, None))

    def _cut_short(self, guard: Guard) -> None:
        """End the oldest handshake, if it had its time; its file is closed by the time that we accept again."""
        oldest, (since, peer) = next(iter(self._beginning.items()))
        if self._loop.time() - since >= PATIENCE_SECONDS:
            del self._beginning[oldest]
            oldest.cancel()
            guard.failed(TimeoutError("others waited for the end of its handshake"), peer)

    async def _begin(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError:
            connection.close()  # it is gone again

    async def _secure(self, connection: socket.socket, peer: str, guard: Guard) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: Guarded(self._protocol, guard),
                connection,
                ssl=guard.context(),
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=FAREWELL_SECONDS,
            )
        except OSError as error:  # of which an SSLError and a TimeoutError are two
            guard.failed(error, peer)
            connection.close()
