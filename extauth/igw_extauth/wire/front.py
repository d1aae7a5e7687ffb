"""What answers checks in one process: the servers over HTTP and gRPC, and what they remember."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

from igw_certs import peers
from igw_certs.contexts import ServerTls
from igw_certs.identity import Role
from igw_ops.guard import Guard
from igw_ops.listening import listening_socket

from igw_extauth.check import Check
from igw_extauth.keeper import Keeper
from igw_extauth.remembered import Remembered
from igw_extauth.settings import Settings
from igw_extauth.wire.grpc_shell import GrpcServer
from igw_extauth.wire.http_shell import HttpServer

GRACE_SECONDS = 3.0
"""For checks under way when the process is asked to stop."""


@dataclass(frozen=True, slots=True)
class Listening:
    """The sockets that checks come to; all workers of a host accept from the same."""

    http: socket.socket
    grpc: socket.socket


@contextmanager
def listening(settings: Settings) -> Iterator[Listening]:
    """Bind the sockets. Raises CannotListenError."""
    with ExitStack() as stack:
        http = stack.enter_context(listening_socket("HTTP checks", settings.http_host, settings.http_port))
        grpc = stack.enter_context(listening_socket("gRPC checks", settings.grpc_host, settings.grpc_port))
        yield Listening(http, grpc)


def guarding(tls: ServerTls) -> AbstractContextManager[Guard]:
    """Let Envoys in, and nobody else, while the context is open. Raises BadFilesError."""
    return peers.guarding(tls, Role.PROXY)


class Front:
    """The two servers, over one memory."""

    def __init__(self, keeper: Keeper, secret: bytes, entries: int) -> None:
        self._remembered = Remembered(keeper, secret, entries)
        check = Check(self._remembered, keeper)
        self._http = HttpServer(check)
        self._grpc = GrpcServer(check, keeper)

    async def start(self, sockets: Listening, *, shared: bool = False, guard: Guard | None = None) -> None:
        """Answer checks; `shared` when other processes accept from the sockets too. With a guard it is TLS."""
        await self._grpc.start(sockets.grpc, shared_socket=shared, guard=guard)
        await self._http.start(sockets.http, shared_socket=shared, guard=guard)

    def forget(self, keys: frozenset[bytes]) -> None:
        """Forget tokens at once."""
        self._remembered.forget(keys)

    async def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Take no new checks; those under way get so many seconds."""
        await asyncio.gather(self._http.stop(grace_seconds), self._grpc.stop(grace_seconds))
        await self._remembered.aclose()
