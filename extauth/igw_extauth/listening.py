"""Sockets that listen, or an error that names the port: uvicorn alone would end the process without one."""

import socket

import grpc


class CannotListenError(Exception):
    """An address cannot be listened on; the text names the purpose, host, port and the system's reason."""

    def __init__(self, purpose: str, host: str, port: int, reason: object) -> None:
        super().__init__(f"cannot listen on {host} port {port} ({purpose}): {reason}")


def listening_socket(purpose: str, host: str, port: int) -> socket.socket:
    """Bind a TCP socket (port 0: any free port). Raises CannotListenError."""
    try:
        return socket.create_server(
            (host, port),
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
            dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        raise CannotListenError(purpose, host, port, error) from error


def add_grpc_port(server: grpc.aio.Server, purpose: str, host: str, port: int) -> int:
    """Bind a gRPC server and give the port. Raises CannotListenError."""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        bound: int = server.add_insecure_port(address)
    except RuntimeError as error:
        raise CannotListenError(purpose, host, port, "the address is taken or not ours") from error
    return bound
