"""One connection of an HTTP server: uvicorn's protocol, with bounds on what comes and on the time it takes.

Who calls is not known before the head is whole: until then this process keeps, parses and waits for a little only.
"""

import asyncio

from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
"""Of a request line and its headers, and of what is no body behind them; more is refused, one piece later at most."""
MAX_HEADERS = 100
"""Of a request, as Envoy has it."""
MAX_CONNECTIONS = 512
"""Of one server; more are closed as they come, which leaves files for the store and for the Envoys."""
PIECE_BYTES = 16 * 1024
"""Parsed at once."""


class BoundedProtocol(HttpToolsProtocol):
    """A connection. It is closed when no whole head came in the time that it may be idle, however often a byte did."""

    _unfinished = 0
    """Bytes since the last whole head or part of a body: what the parser may be keeping."""
    _head_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Begin, or not."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        self._await_no_head()

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        for start in range(0, len(data), PIECE_BYTES):
            if self.transport.is_closing():
                return
            piece = data[start : start + PIECE_BYTES]
            self._unfinished += len(piece)
            super().data_received(piece)
            if self._unfinished > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The request's headers are too large.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header. Raises HttpParserError."""
        if len(self.headers) == MAX_HEADERS:
            raise HttpParserError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Take the head's end."""
        self._unfinished = 0
        self._await_no_head()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body: how large it may be is the app's to say."""
        self._unfinished = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Wait for the next head, unless it is there."""
        super().on_response_complete()
        if self.cycle.response_complete:
            self._await_head()

    def _await_head(self) -> None:
        self._await_no_head()
        self._head_due = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _await_no_head(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
