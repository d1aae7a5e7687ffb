"""Options that several commands share, each also an environment variable, and how their errors are told."""

import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from igw_xds.settings import MIB, AuthTransport, BodyRouting, HostPort, PlainHttp, StreamUsage

if TYPE_CHECKING:
    from igw_store.files import Loaded  # pydantic is slow to import: only who loads files pays for it

INVALID = 2
"""Exit status for definitions or options that cannot be used; nothing was started."""


class CannotStartError(Exception):
    """What is set or kept cannot be used; the text says which and why."""


Files = Annotated[
    list[Path] | None,
    typer.Option("-f", "--file", envvar="IGW_FILES", help="Definition file, or folder of them. Repeatable."),
]
Organization = Annotated[
    str | None,
    typer.Option(
        "--organization-id",
        envvar="IGW_ORGANIZATION_ID",
        help="Organisation of the gateways and deployments whose definition names none.",
    ),
]
Zone = Annotated[
    str | None,
    typer.Option(envvar="IGW_ZONE", help="Serve the gateways of this zone only. Default: of every zone."),
]
Domain = Annotated[
    str, typer.Option(envvar="IGW_DOMAIN", help="Gateways are reached at api.<GATEWAY-ID>.<DOMAIN>.")
]
Transport = Annotated[
    AuthTransport, typer.Option(envvar="IGW_AUTH_TRANSPORT", help="How Envoy asks extauth; HTTP costs less.")
]
BodyRouted = Annotated[
    BodyRouting,
    typer.Option(
        "--body-routing",
        envvar="IGW_BODY_ROUTING",
        help="Who reads the model in a body: Envoy (native), extproc, or Envoy all but forms (auto).",
    ),
]
StreamsTell = Annotated[
    StreamUsage,
    typer.Option(
        "--stream-usage",
        envvar="IGW_STREAM_USAGE",
        help="Whose streams are made to say what they used: of gateways that report or limit it (auto), all, or off.",
    ),
]
Traces = Annotated[
    str | None,
    typer.Option(
        envvar="IGW_TRACES",
        metavar="HOST:PORT",
        help="OpenTelemetry collector (gRPC, in clear) that Envoys send their spans to. Default: none are made.",
    ),
]
TracePercent = Annotated[
    float,
    typer.Option(
        envvar="IGW_TRACE_PERCENT",
        min=0,
        max=100,
        help="Share of the requests that are traced, where the caller's traceparent does not decide.",
    ),
]
MaxBody = Annotated[
    int,
    typer.Option(
        envvar="IGW_MAX_BODY_BYTES", min=1024, max=128 * MIB, help="Largest request body; 413 above."
    ),
]
RolesFile = Annotated[
    Path | None,
    typer.Option(
        envvar="IGW_ROLES_FILE",
        help="YAML file: which principals and organisations may use the management API.",
    ),
]
ParametersFile = Annotated[
    Path | None,
    typer.Option(
        envvar="IGW_PARAMETERS_FILE", help="YAML file: zones, engines and instance types that the API offers."
    ),
]
BackendNetworks = Annotated[
    list[str] | None,
    typer.Option(
        "--backend-network",
        envvar="IGW_BACKEND_NETWORKS",
        help="Network (CIDR) in which callers of the API may have model servers. Repeatable.",
    ),
]
AllowDnsBackends = Annotated[
    bool,
    typer.Option(
        "--allow-dns-backends",
        envvar="IGW_ALLOW_DNS_BACKENDS",
        help="Let callers of the API name model servers by DNS: such a name may lead outside of those networks.",
    ),
]
AllowDockerBackends = Annotated[
    bool,
    typer.Option(
        "--allow-docker-backends",
        envvar="IGW_ALLOW_DOCKER_BACKENDS",
        help="Let callers of the API have model servers in containers of this machine, labelled with the deployment.",
    ),
]
DockerHost = Annotated[
    str | None,
    typer.Option(
        "--docker-host",
        envvar="IGW_DOCKER_HOST",
        metavar="URL",
        callback=lambda text: None if text is None else docker_host(text),
        help="Docker engine whose containers are the replicas of dockerBackends: unix:///PATH, tcp://HOST:PORT or "
        "http://HOST:PORT. Best a proxy that lets nothing be changed.",
    ),
]
TrustedProxies = Annotated[
    int,
    typer.Option(
        "--trusted-proxies",
        envvar="IGW_TRUSTED_PROXIES",
        min=0,
        max=16,
        help="Proxies in front of Envoy whose X-Forwarded-For tells a client's address, for allowedSourceIpRanges.",
    ),
]
LeaseSeconds = Annotated[
    float,
    typer.Option(
        "--lease-seconds",
        envvar="IGW_LIMITS_LEASE_SECONDS",
        min=3,
        max=600,
        help="How long extauth holds a slot of a limited project for a request that it does not hear of.",
    ),
]
CertificatesFolder = Annotated[
    Path | None,
    typer.Option(
        "--certificates",
        envvar="IGW_CERTIFICATES",
        exists=True,
        file_okay=False,
        help="Folder of the certificates for HTTPS, as certbot or cert-manager write them; looked at all the time.",
    ),
]
Http3 = Annotated[
    bool, typer.Option("--http3", envvar="IGW_HTTP3", help="Serve HTTPS over QUIC too, on UDP.")
]
PlainRequests = Annotated[
    PlainHttp,
    typer.Option(
        "--plain-http",
        envvar="IGW_PLAIN_HTTP",
        help="Requests without TLS: on serves them, redirect sends them to HTTPS, off does not listen for them.",
    ),
]
TlsCert = Annotated[
    Path | None,
    typer.Option(
        envvar="IGW_TLS_CERT",
        help="Own certificate (PEM, with its chain) for mutual TLS between Envoys and services; goes with all --tls-*. "
        "Default: in clear.",
    ),
]
TlsKey = Annotated[Path | None, typer.Option(envvar="IGW_TLS_KEY", help="Its private key (PEM).")]
TlsCa = Annotated[
    Path | None, typer.Option(envvar="IGW_TLS_CA", help="Authorities whose certificates are trusted (PEM).")
]
TrustDomain = Annotated[
    str | None,
    typer.Option(
        envvar="IGW_TRUST_DOMAIN", help="Of the names in certificates, spiffe://TRUST-DOMAIN/igw/…."
    ),
]
LogLevel = Annotated[str, typer.Option(envvar="IGW_LOG_LEVEL", help="debug, info, warning or error.")]

DOMAIN = "gw.localhost"
LEASE_SECONDS = 20.0
_DOCKER_HOST = re.compile(r"unix:///[^?#\s]+|(tcp|http)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}/?")
MAX_BODY = 16 * MIB


def port_option(variable: str, what: str) -> typer.models.OptionInfo:
    """Give the option of a port."""
    option: typer.models.OptionInfo = typer.Option(
        envvar=variable, min=0, max=65535, help=f"{what}; 0 takes any free one."
    )
    return option


def ip_address(text: str) -> str:
    """Read an IP address."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not an IP address") from None


def host_port(text: str) -> HostPort:
    """Read ``host:port``; an IPv6 address stands in brackets."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise typer.BadParameter(f"{text!r} is not host:port")
    return HostPort(host.strip("[]"), int(port))


def docker_host(text: str) -> str:
    """Read the URL of a Docker engine: its socket, or where it answers in clear."""
    if not _DOCKER_HOST.fullmatch(text):
        raise typer.BadParameter(f"{text!r} is not unix:///PATH, tcp://HOST:PORT or http://HOST:PORT")
    return text


def management_options(
    roles_file: Path | None,
    parameters_file: Path | None,
    networks: Sequence[str],
    *,
    allow_dns: bool,
    allow_docker: bool,
) -> tuple[str, ...]:
    """Give the options of the management API as `igw xds` takes them. Raises BadParameter."""
    return (
        *(("--roles-file", str(roles_file.absolute())) if roles_file else ()),
        *(("--parameters-file", str(parameters_file.absolute())) if parameters_file else ()),
        *(part for text in networks for part in ("--backend-network", str(network(text)))),
        *(("--allow-dns-backends",) if allow_dns else ()),
        *(("--allow-docker-backends",) if allow_docker else ()),
    )


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Read a network in CIDR notation."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a network in CIDR notation, as 10.0.0.0/8") from None


def loaded(files: Sequence[Path], organization: str | None) -> "Loaded":
    """Give the definitions of these files, or end the program with all of their errors."""
    from igw_store.files import load  # noqa: PLC0415 - see above

    state = load(files, organization)
    if state.errors:
        for error in state.errors:
            typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        fail(f"{len(state.errors)} error(s) in the definitions; nothing was started", INVALID)
    return state


def fail(message: str, status: int = 1) -> NoReturn:
    """End the program with a message for people."""
    typer.secho(f"igw: {message}", fg=typer.colors.RED, err=True)
    raise typer.Exit(status)
