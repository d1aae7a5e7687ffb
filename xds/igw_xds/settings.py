"""How the data plane is laid out: addresses and limits, the same for every gateway."""

from dataclasses import dataclass
from enum import StrEnum

MIB = 1024 * 1024
HTTPS_PORT = 443


@dataclass(frozen=True, slots=True)
class HostPort:
    """A TCP address; `host` is an IP address or a name."""

    host: str
    port: int


class AuthTransport(StrEnum):
    """How Envoy asks extauth; HTTP costs Python a sixth of gRPC."""

    HTTP = "http"
    GRPC = "grpc"


class BodyRouting(StrEnum):
    """Who reads the model's name in a body (docs/body-routing.md)."""

    AUTO = "auto"
    """Envoy by itself where it is JSON, extproc where it is multipart."""
    NATIVE = "native"
    EXTPROC = "extproc"


class StreamUsage(StrEnum):
    """Whose streams are made to say how many tokens they used (`stream_options.include_usage`)."""

    AUTO = "auto"
    """Those of gateways that report usage or limit it."""
    ALL = "all"
    OFF = "off"


class PlainHttp(StrEnum):
    """What becomes of requests without TLS."""

    ON = "on"
    REDIRECT = "redirect"
    """They are told to come back over HTTPS."""
    OFF = "off"
    """Nothing listens for them."""


@dataclass(frozen=True, slots=True)
class DataPlane:
    """The listeners' addresses, the services that Envoy asks, and the limits of a request."""

    listen: HostPort = HostPort("127.0.0.1", 8080)
    """For HTTP without TLS."""
    plain_http: PlainHttp = PlainHttp.ON
    https: HostPort | None = None
    """For HTTPS, as soon as there is a certificate."""
    https_port: int = HTTPS_PORT
    """Where clients find that: redirects and `alt-svc` lead there, whatever port is listened on behind it."""
    http3: bool = False
    """Whether HTTPS is served over QUIC too, on the same port of UDP."""
    extauth: HostPort = HostPort("127.0.0.1", 18010)
    auth_transport: AuthTransport = AuthTransport.HTTP
    extauth_log: HostPort = HostPort("127.0.0.1", 18011)
    """Where Envoy tells what becomes of limited requests: extauth's gRPC port."""
    extproc: HostPort = HostPort("127.0.0.1", 18020)
    body_routing: BodyRouting = BodyRouting.AUTO
    usage_log: HostPort | None = None
    """Where Envoy tells of each request that was let in, and of the tokens that it used: the usage collector."""
    stream_usage: StreamUsage = StreamUsage.AUTO
    traces: HostPort | None = None
    """Where Envoy sends its spans: an OpenTelemetry collector, gRPC in clear."""
    trace_percent: float = 100
    """Of the requests that come without a decision of the caller's."""
    max_body_bytes: int = 16 * MIB
    idle_seconds: int = 600
    access_log: bool = True
    lease_seconds: float = 20
    """How long extauth holds a slot for a limited request that it does not hear of; it hears every fourth of that."""
    trust_domain: str | None = None
    """Of the certificates that Envoys and the services above have for each other; None: they speak in clear."""
    trusted_proxies: int = 0
    """Proxies before Envoy whose `X-Forwarded-For` is believed; 0: the address of the connection counts."""
