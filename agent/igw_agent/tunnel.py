"""TLS between the agent's channel and the control plane: in clear at a Unix socket of the agent's own, secured beyond.

gRPC's own client knows servers by host names alone, and follows no renewed files. Each connection here is made with
what the files hold then, and only to a server whose certificate is a control plane's.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from igw_certs.contexts import Credentials, peer_identity
from igw_certs.identity import Role

from igw_agent.racing import until_one_is_over

_PIECE: Final = 64 * 1024
_CONNECT_SECONDS: Final = 5.0
_NEXT_ADDRESS_SECONDS: Final = 0.25
"""Until the next address of a name is tried beside one that does not answer (RFC 8305)."""
_FAREWELL_SECONDS: Final = 1.0
_ALPN: Final = ("h2",)

log = structlog.get_logger(__name__)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class NotAControlPlaneError(OSError):
    """Who answers has a certificate of our authority that is for something else."""


@dataclass(slots=True)
class Tunnel:
    """Where it leads, and what was said last of why it does not."""

    credentials: Credentials
    host: str
    port: int
    _said: str = ""

    @contextlib.asynccontextmanager
    async def at(self, path: Path) -> AsyncIterator[None]:
        """Listen at a Unix socket while the context is open. Raises OSError."""
        server = await asyncio.start_unix_server(self._serve, path)
        try:
            yield
        finally:
            server.close()

    async def connected(self) -> Streams:
        """Connect. Raises OSError when nobody can be had, or somebody else."""
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(
                self.host,
                self.port,
                ssl=self.credentials.call_context(_ALPN),
                happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS,
                ssl_shutdown_timeout=_FAREWELL_SECONDS,
            )
        found = peer_identity(writer.get_extra_info("ssl_object"), self.credentials.tls.trust_domain)
        if found is None or found.role is not Role.XDS:
            writer.transport.abort()
            raise NotAControlPlaneError("who answers there is no control plane, by its certificate")
        return reader, writer

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far = await self.connected()
        except OSError as error:
            self._tell(str(error) or "no answer in time")
            writer.transport.abort()
            return
        try:
            await _relayed((reader, writer), far)
        except OSError as error:  # with TLS 1.3 a server refuses a certificate behind the handshake
            self._tell(str(error))
        else:
            self._said = ""
        finally:
            for end in (writer, far[1]):
                end.close()  # behind what is still to be sent: the last words are often why

    def _tell(self, reason: str) -> None:
        if reason != self._said:
            log.warning("no connection to the control plane over TLS", reason=reason)
            self._said = reason


async def _relayed(near: Streams, far: Streams) -> None:
    """Pass on bytes, both ways, until one end is over. Raises OSError when one broke."""
    for pump in await until_one_is_over(_pumped(near[0], far[1]), _pumped(far[0], near[1])):
        pump.result()


async def _pumped(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(_PIECE):
        sink.write(data)
        await sink.drain()
