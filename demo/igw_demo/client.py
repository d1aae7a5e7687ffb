"""The client of one HTTP exchange, over raw ASGI: read its body, answer, notice that it went away.

Source: ASGI "HTTP & WebSocket" specification. Plain ASGI, because model servers are also the upstream of
load tests: a framework's request and response objects would cost more than the answer.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from igw_model.openai import ApiError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

MAX_BODY_BYTES = 64 * 1024 * 1024
BETWEEN_PIECES_SECONDS = 0.002

JSON = b"application/json"
EVENT_STREAM = b"text/event-stream; charset=utf-8"


class ClientGone(Exception):  # noqa: N818 - an event of the exchange, not a fault of the program
    """The client closed the connection before the answer's end."""


class HungUp(Exception):  # noqa: N818 - what a request asked for, not a fault of the program
    """The server closes the connection here."""


class Refused(Exception):  # noqa: N818 - carries the answer; not a fault of the program
    """The request gets an error as its answer."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message)
        self.error = error


class Client:
    """One exchange; `marks` are headers put on every answer."""

    def __init__(self, receive: Receive, send: Send, marks: Headers) -> None:
        self._receive = receive
        self._send = send
        self._marks = marks
        self._leaving: asyncio.Task[None] | None = None

    async def body(self, limit: int = MAX_BODY_BYTES) -> bytes:
        """Read the request's body; raises ClientGone, or Refused (413) above `limit` bytes."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise Refused(ApiError(413, "body_too_large", f"The body is larger than {limit} bytes."))
            parts.append(part)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    async def pause(self, seconds: float) -> None:
        """Wait, and raise ClientGone as soon as the client leaves; call it only after `body`."""
        if self._leaving is None:
            self._leaving = asyncio.ensure_future(self._left())
        if seconds > 0:
            await asyncio.wait((self._leaving,), timeout=seconds)
        else:
            await asyncio.sleep(0)
        if self._leaving.done():
            raise ClientGone

    async def answer(self, status: int, content_type: bytes, body: bytes, piece: int | None = None) -> None:
        """Send a whole answer, in pieces of so many bytes where that is asked for."""
        length = (b"content-length", b"%d" % len(body))
        await self._start(status, [(b"content-type", content_type), length])
        if piece is not None:
            await self._pieces(body, piece)
            body = b""
        await self._send({"type": "http.response.body", "body": body})

    async def start_stream(self) -> None:
        """Send the head of a stream of server-sent events."""
        await self._start(200, [(b"content-type", EVENT_STREAM), (b"cache-control", b"no-cache")])

    async def event(self, event: bytes, piece: int | None = None) -> None:
        """Send one part of a stream, in pieces of so many bytes where that is asked for."""
        if piece is not None:
            await self._pieces(event, piece)
        else:
            await self._send({"type": "http.response.body", "body": event, "more_body": True})

    async def end_stream(self) -> None:
        """Send the end of a stream."""
        await self._send({"type": "http.response.body", "body": b""})

    def close(self) -> None:
        """Stop watching the client; its exchange is over."""
        if self._leaving is not None:
            self._leaving.cancel()

    async def _start(self, status: int, headers: Headers) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": headers + self._marks})

    async def _pieces(self, body: bytes, size: int) -> None:
        """Send bytes so that they arrive in several reads."""
        for start in range(0, len(body), size):
            part = body[start : start + size]
            await self._send({"type": "http.response.body", "body": part, "more_body": True})
            await self.pause(BETWEEN_PIECES_SECONDS)

    async def _left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
