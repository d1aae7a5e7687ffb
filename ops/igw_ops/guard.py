"""Who may connect: TLS with a certificate of the client's, which is judged before the server hears of the connection.

Which certificates are good, and whose they must be, is a `Guard`'s to say; how it does is not here.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

HANDSHAKE_SECONDS: Final = 5.0
"""How long a handshake may take, from the connection's beginning."""
FAREWELL_SECONDS: Final = 1.0
"""How long a peer may take to agree to the end of a connection."""


class Guard(Protocol):
    """What a server's connections must pass."""

    def context(self) -> ssl.SSLContext:
        """Give what new connections are made with."""
        ...

    def admits(self, certificate: bytes | None, peer: str) -> bool:
        """Say whether a client may connect: with this certificate (DER), which is of our authority, or with none."""
        ...

    def failed(self, error: Exception, peer: str) -> None:
        """Hear of a handshake that failed, or took too long."""
        ...


@dataclass(frozen=True, slots=True)
class Anybody:
    """The guard of servers whose callers say who they are by other means than TLS."""

    tls: ssl.SSLContext

    def context(self) -> ssl.SSLContext:
        """Give what new connections are made with."""
        return self.tls

    def admits(self, certificate: bytes | None, peer: str) -> bool:  # noqa: ARG002 - a guard's
        """Say yes."""
        return True

    def failed(self, error: Exception, peer: str) -> None:
        """Say nothing: anybody may knock, as often as they like."""


def certificate_of(transport: Any) -> bytes | None:
    """Give the certificate (DER) that a connection's client came with; None where there is no TLS."""
    secured = transport.get_extra_info("ssl_object")
    return None if secured is None else secured.getpeercert(binary_form=True)


def peer_text(name: Any) -> str:
    """Give the address of a socket's peer, for logs."""
    host, port, *_ = name or ("?", 0)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Guarded(asyncio.Protocol):
    """A connection until its client is judged; then it is the server's own protocol, or over."""

    def __init__(self, protocol: Callable[[], asyncio.Protocol], guard: Guard) -> None:
        self._protocol = protocol
        self._guard = guard

    def connection_made(self, transport: Any) -> None:
        """Judge: the handshake is over."""
        certificate = certificate_of(transport)
        peer = peer_text(transport.get_extra_info("peername"))
        if not self._guard.admits(certificate, peer):
            transport.abort()
            return
        protocol = self._protocol()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
