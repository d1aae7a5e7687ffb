"""The asyncio shell of one HTTP/2 connection: what one read brings is answered by one write, and it ends gracefully.

No await anywhere on the way from bytes to bytes. What the events mean is the caller's to say.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import structlog

from igw_ops.http2.frames import BrokenError, Http2Error

LATE_STREAMS_SECONDS = 0.2
"""How long streams begun before the peer saw our first GOAWAY may take to arrive."""
HANG_UP_SECONDS = 0.5
"""How long a peer that has all its answers may take to hang up before we do: the end must not overtake them."""

Event = TypeVar("Event")
Event_co = TypeVar("Event_co", covariant=True)


class Conversation(Protocol[Event_co]):
    """A pure connection: `igw_ops.http2.connection.Connection`, or one that reads more out of it."""

    @property
    def live(self) -> int:
        """Give the number of streams that are not over."""
        ...

    def receive(self, data: bytes) -> Sequence[Event_co]:
        """Give what bytes say; BrokenError when they break HTTP/2."""
        ...

    def output(self) -> bytes:
        """Give what is to be sent now, once."""
        ...

    def announce_end(self) -> None:
        """Ask for no more streams."""
        ...

    def break_off(self, code: Http2Error) -> None:
        """Say which stream was the last."""
        ...


class Peer(Generic[Event]):
    """One connection's peer; `take` is called for each event, and what it makes us say is sent behind the last."""

    def __init__(
        self, connection: Conversation[Event], transport: Any, take: Callable[[Event], None]
    ) -> None:
        self._connection = connection
        self._transport = transport
        self._take = take
        self._ending = False
        self._next: asyncio.TimerHandle | None = None
        self.flush()

    def receive(self, data: bytes) -> None:
        """Take what the peer sent."""
        try:
            for event in self._connection.receive(data):
                self._take(event)
        except BrokenError as error:
            structlog.get_logger().warning("connection broken", reason=error.reason)
            self._connection.break_off(error.code)
            self.flush()
            self._transport.close()
        else:
            self.flush()

    def flush(self) -> None:
        """Send what is to be said, and hang up when all is said and the end was announced."""
        data = self._connection.output()
        if data:
            self._transport.write(data)
        if self._ending and not self._connection.live:
            self._ending = False
            self._later(HANG_UP_SECONDS, self._transport.close)

    def finish(self) -> None:
        """End gracefully (RFC 9113, 6.8): ask for no more streams, answer those that have begun, hang up."""
        self._connection.announce_end()
        self.flush()
        self._later(LATE_STREAMS_SECONDS, self._end)

    def lost(self) -> None:
        """Take the connection's end."""
        if self._next is not None:
            self._next.cancel()

    def _end(self) -> None:
        self._connection.break_off(Http2Error.NO_ERROR)
        self._ending = True
        self.flush()

    def _later(self, seconds: float, do: Callable[[], None]) -> None:
        self._next = asyncio.get_running_loop().call_later(seconds, do)
