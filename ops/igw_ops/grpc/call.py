"""What a gRPC service of ours is given, and what it makes of it: one stream, and the call on it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from igw_ops.grpc.wire import GrpcStatus

MIB: Final = 1024 * 1024


class Call(Protocol):
    """What a service makes of one stream; called from the event loop, never awaits."""

    def receive(self, message: bytes) -> None:
        """Take one whole message of the client's."""
        ...

    def writable(self) -> None:
        """Know that all that was sent has left us, after the stream was blocked: more may be sent."""
        ...

    def half_closed(self) -> None:
        """Know that the client sends no more; the call lives until `Stream.end`."""
        ...

    def ended(self) -> None:
        """Know that the stream is over, for whatever reason but our own `end`."""
        ...


class Stream(Protocol):
    """One call on the wire."""

    @property
    def path(self) -> str:
        """Give the method: `/package.Service/Method`."""
        ...

    @property
    def peer(self) -> str:
        """Give the client's address, for logs."""
        ...

    @property
    def transport(self) -> Any:
        """Give the connection's asyncio transport, which knows the client's certificate where there is TLS."""
        ...

    @property
    def blocked(self) -> bool:
        """Give whether something sent has not left us: it waits for a window of HTTP/2, or the socket is full.

        What is sent all the same is queued, without a bound; `Call.writable` says when to go on.
        """
        ...

    def send(self, *parts: bytes) -> None:
        """Send one message made of these parts; those that must wait are kept by reference."""
        ...

    def end(self, status: GrpcStatus = GrpcStatus.OK, message: str = "") -> None:
        """End the call behind all that was sent; the message is for people."""
        ...


Opening = Callable[[Stream], Call | None]
"""A stream began: give what is made of it, or None for a method that there is not."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may do."""

    connections: int = 10_000
    """At once; more are hung up on."""
    streams: int = 100
    """At once on one connection; more are refused."""
    message_bytes: int = 64 * MIB
    """The longest message; a longer one ends its stream with RESOURCE_EXHAUSTED."""
    large_at_once: int = 4
    """Messages longer than a stream's first window that come at once over all connections; others wait in turn."""
    large_waiting: int = 1_000
    """How many wait, each with a first window of 64 KiB held; more end their streams with RESOURCE_EXHAUSTED."""
    large_seconds: float = 30
    """How long a turn lasts; a message that is not whole by then ends its stream with DEADLINE_EXCEEDED."""
    unfinished_bytes: int = 32 * MIB
    """What is held of all other messages that are not whole, over all connections; while it is more, the one that
    began first ends its stream with RESOURCE_EXHAUSTED."""
    unfinished_seconds: float = 30
    """How long such a message may take to come; then it ends its stream with DEADLINE_EXCEEDED."""
    ping_seconds: float = 30
    """How long a connection may be silent before it is asked for a sign of life."""
    ping_timeout_seconds: float = 10
    """How long that may take; then the connection is closed. All these are kept to within a quarter of the shortest."""
