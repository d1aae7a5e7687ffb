"""The port of a gRPC server, or an error that names it."""

import grpc
from igw_ops.listening import CannotListenError


def add_grpc_port(server: grpc.aio.Server, purpose: str, host: str, port: int) -> int:
    """Bind a gRPC server and give the port. Raises CannotListenError."""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        bound: int = server.add_insecure_port(address)
    except RuntimeError as error:
        raise CannotListenError(purpose, host, port, "the address is taken or not ours") from error
    return bound
