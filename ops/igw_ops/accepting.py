"""Accepting from a socket that several processes accept from: one connection at a time, so that each has its part.

An event loop's own server takes all that wait at once: of a burst, one process would have the whole.
"""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Final

import structlog

PAUSE_SECONDS: Final = 0.002
"""Behind each connection: what the others need to wake up."""
_RETRY_SECONDS: Final = 1.0
_EXHAUSTED: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

log = structlog.get_logger(__name__)


class Accepting:
    """Accepts until `close`; has what callers use of an `asyncio.Server`."""

    def __init__(self, listening: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> None:
        listening.setblocking(False)
        self.sockets: tuple[socket.socket, ...] = (listening,)
        self._listening = listening
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._beginning: set[asyncio.Task[None]] = set()
        self._later: asyncio.TimerHandle | None = None
        self._watch()

    def close(self) -> None:
        """Accept no more; the socket is closed."""
        if self._later is not None:
            self._later.cancel()
        if self._listening.fileno() >= 0:
            self._loop.remove_reader(self._listening)
            self._listening.close()

    def _watch(self) -> None:
        self._later = None
        self._loop.add_reader(self._listening, self._accept)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listening)
        self._later = self._loop.call_later(seconds, self._watch)

    def _accept(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another process was first, or it is gone again
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            log.warning("cannot accept", reason=error.strerror)
            self._pause(_RETRY_SECONDS)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._begin(connection))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)
        self._pause(PAUSE_SECONDS)

    async def _begin(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError:
            connection.close()  # it is gone again
