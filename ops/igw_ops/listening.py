"""Sockets that listen, or an error that names the purpose and the port: uvicorn alone would end the process."""

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import grpc
    import grpc.aio  # only who serves gRPC pays for it at the start

BACKLOG = 2048


class CannotListenError(OSError):
    """An address cannot be listened on; the text names the purpose, host, port and the system's reason."""

    def __init__(self, purpose: str, host: str, port: int, reason: object) -> None:
        super().__init__(f"cannot listen on {host}:{port} ({purpose}): {reason}")


@dataclass(frozen=True, slots=True)
class GrpcServer:
    """A gRPC server that listens; `port` is the real one when 0 was asked for."""

    port: int
    server: "grpc.aio.Server"

    async def stop(self, grace: float = 1.0) -> None:
        """Take no new calls, give open ones `grace` seconds, then cut them."""
        await self.server.stop(grace)


def listening_socket(purpose: str, host: str, port: int) -> socket.socket:
    """Bind a TCP socket (port 0: any free port). Raises CannotListenError."""
    try:
        return _listening(host, port)
    except OSError as error:
        raise CannotListenError(purpose, host, port, error.strerror or error) from error


def add_grpc_port(
    server: "grpc.aio.Server",
    purpose: str,
    host: str,
    port: int,
    tls: "grpc.ServerCredentials | None" = None,
) -> int:
    """Bind a gRPC server and give the port (port 0: any free one). Raises CannotListenError."""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        bound: int = (
            server.add_insecure_port(address) if tls is None else server.add_secure_port(address, tls)
        )
    except RuntimeError as error:
        raise CannotListenError(purpose, host, port, "the address is taken or not ours") from error
    return bound


def _listening(host: str, port: int) -> socket.socket:
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    # The protocol is named because asyncio turns Nagle's algorithm off only where it is: without, a reply's
    # body waits 40 ms for the client to acknowledge the headers.
    listening = socket.socket(family, kind, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening
