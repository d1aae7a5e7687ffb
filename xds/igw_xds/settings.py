"""How the data plane is laid out: addresses and limits, the same for every gateway."""

from dataclasses import dataclass
from enum import StrEnum

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class HostPort:
    """A TCP address; `host` is an IP address or a name."""

    host: str
    port: int


class AuthTransport(StrEnum):
    """How Envoy asks extauth; HTTP costs Python a sixth of gRPC."""

    HTTP = "http"
    GRPC = "grpc"


@dataclass(frozen=True, slots=True)
class DataPlane:
    """The listener's address, the services that Envoy asks, and the limits of a request."""

    listen: HostPort = HostPort("127.0.0.1", 8080)
    extauth: HostPort = HostPort("127.0.0.1", 18010)
    auth_transport: AuthTransport = AuthTransport.HTTP
    extproc: HostPort = HostPort("127.0.0.1", 18020)
    max_body_bytes: int = 16 * MIB
    idle_seconds: int = 600
    access_log: bool = True
