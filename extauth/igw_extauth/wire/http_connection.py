"""One connection's socket: which HTTP is spoken on it, how long it may be idle, its end."""

import asyncio
from typing import Any

from igw_extauth.wire.conversation import Conversation, Shared
from igw_extauth.wire.http1 import Http1
from igw_extauth.wire.http2 import Http2

IDLE_SECONDS = 75.0
"""From what we sent last to the next, be the caller silent or slow. Envoy closes after 30 s itself."""

_HTTP2 = b"PRI"
"""Begins HTTP/2 (RFC 9113, 3.4), and no request of HTTP/1.1."""


class Connection(asyncio.Protocol):
    """The protocol of one connection, and the link that its conversation writes to."""

    def __init__(self, shared: Shared, connections: "set[Connection]", idle_seconds: float) -> None:
        self._shared = shared
        self._connections = connections
        self._idle_seconds = idle_seconds
        self._conversation: Conversation | None = None
        self._first = b""
        self._reading = True

    def connection_made(self, transport: Any) -> None:
        """Begin: the connection has `idle_seconds` for its first request."""
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._expiry = self._loop.call_later(self._idle_seconds, self._expire)
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._connections.add(self)
        if self._shared.finishing:
            self.finish()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        del exc
        self._expiry.cancel()
        self._connections.discard(self)
        if self._conversation is not None:
            self._conversation.lost()
        self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Take what the caller sent."""
        if self._conversation is not None:
            self._conversation.receive(data)
        else:
            self._begin(self._first + data)

    def pause_writing(self) -> None:
        """Hear that the caller does not read."""
        if self._conversation is not None:
            self._conversation.may_write(writable=False)

    def resume_writing(self) -> None:
        """Hear that the caller reads again."""
        if self._conversation is not None:
            self._conversation.may_write(writable=True)

    def finish(self) -> None:
        """End gracefully."""
        if self._conversation is None:
            self.close()
        else:
            self._conversation.finish()

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._since = self._loop.time()
        self._transport.write(data)

    def close(self) -> None:
        """Close behind what was written."""
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def read(self, *, reading: bool) -> None:
        """Read, or do not."""
        if reading == self._reading or self._transport.is_closing():
            return
        self._reading = reading
        if reading:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _begin(self, data: bytes) -> None:
        if _HTTP2.startswith(data):
            self._first = data  # or too few bytes to tell, and HTTP/2 has nothing to answer yet
            return
        self._conversation = (Http2 if data.startswith(_HTTP2) else Http1)(self, self._shared)
        self._conversation.receive(data)

    def _expire(self) -> None:
        """Close a connection whose time is over; look-ups have their own time.

        One timer that looks again, for moving it with each request would cost more than the request's parsing.
        """
        if self._conversation is not None and self._conversation.looking_up:
            self._since = self._loop.time()
        left = self._since + self._idle_seconds - self._loop.time()
        if left > 0:
            self._expiry = self._loop.call_later(left, self._expire)
        else:
            self._transport.abort()
