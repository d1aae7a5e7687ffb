"""`igw xds`: the control plane and the management API as one process, from its options."""

from pathlib import Path
from typing import Annotated

import typer
from igw_xds.settings import HTTPS_PORT, AuthTransport, BodyRouting, HostPort, PlainHttp, StreamUsage

from igw_cli.exposure import (
    API_TLS,
    LOOPBACK,
    InClear,
    OpsHost,
    check_exposure,
    is_loopback,
    service_exposure,
)
from igw_cli.options import (
    DOMAIN,
    INVALID,
    LEASE_SECONDS,
    MAX_BODY,
    AllowDnsBackends,
    AllowDockerBackends,
    BackendNetworks,
    BodyRouted,
    CertificatesFolder,
    DockerHost,
    Domain,
    Files,
    Http3,
    LeaseSeconds,
    LogLevel,
    MaxBody,
    Organization,
    ParametersFile,
    PlainRequests,
    RolesFile,
    StreamsTell,
    TlsCa,
    TlsCert,
    TlsKey,
    TracePercent,
    Traces,
    Transport,
    TrustDomain,
    TrustedProxies,
    Zone,
    fail,
    host_port,
    loaded,
    network,
    port_option,
)
from igw_cli.services import WHOAMI_URL, Host, WhoamiUrl, explained, run_service
from igw_cli.tls import server_tls

SCHEMES = {"http": 80, "https": HTTPS_PORT}
EXTAUTH_LOG_PORT = 18011
GRAPHQL_URL = "https://api.wandb.ai/graphql"
GraphqlUrl = Annotated[str, typer.Option(envvar="IGW_WANDB_GRAPHQL_URL", help="Who a W&B key belongs to.")]


def xds(
    file: Files = None,
    host: Host = LOOPBACK,
    port: Annotated[int, port_option("IGW_XDS_PORT", "Port for Envoys (gRPC, ADS)")] = 18000,
    ops_port: Annotated[int, port_option("IGW_XDS_OPS_PORT", "Port for health, metrics and status")] = 18001,
    ops_host: OpsHost = None,
    listen: Annotated[
        str, typer.Option(help="Address that Envoys listen on for clients.")
    ] = "127.0.0.1:8080",
    plain_http: PlainRequests = PlainHttp.ON,
    https: Annotated[
        str | None,
        typer.Option(
            envvar="IGW_HTTPS",
            metavar="HOST:PORT",
            help="Address that Envoys listen on for HTTPS; needs --certificates. Default: no HTTPS.",
        ),
    ] = None,
    http3: Http3 = False,
    certificates: CertificatesFolder = None,
    local_authority: Annotated[
        Path | None,
        typer.Option(
            envvar="IGW_LOCAL_AUTHORITY",
            help="Folder of an authority (made if missing) that signs for hosts without a certificate: for trials.",
        ),
    ] = None,
    extauth: Annotated[str, typer.Option(help="Where Envoys find extauth.")] = "127.0.0.1:18010",
    auth_transport: Transport = AuthTransport.HTTP,
    extauth_log: Annotated[
        str | None,
        typer.Option(
            envvar="IGW_EXTAUTH_LOG",
            help="Where Envoys tell extauth of limited requests: its gRPC port. Default: extauth's host, port 18011.",
        ),
    ] = None,
    extproc: Annotated[str, typer.Option(help="Where Envoys find extproc.")] = "127.0.0.1:18020",
    body_routing: BodyRouted = BodyRouting.AUTO,
    usage_log: Annotated[
        str | None,
        typer.Option(
            envvar="IGW_USAGE_LOG",
            metavar="HOST:PORT",
            help="Where Envoys tell of each request and what it used: igw collector. Default: they do not.",
        ),
    ] = None,
    usage_url: Annotated[
        str | None,
        typer.Option(
            envvar="IGW_USAGE_URL",
            metavar="URL",
            help="Where the management API asks for usage: the collector's operations port. Default: it has none.",
        ),
    ] = None,
    stream_usage: StreamsTell = StreamUsage.AUTO,
    traces: Traces = None,
    trace_percent: TracePercent = 100,
    access_log: Annotated[bool, typer.Option(help="Let Envoys write an access log.")] = True,
    trusted_proxies: TrustedProxies = 0,
    lease_seconds: LeaseSeconds = LEASE_SECONDS,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="IGW_STATE_DIR", help="Folder of the store. Default: in memory, gone at the end."
        ),
    ] = None,
    api: Annotated[bool, typer.Option("--api/--no-api", help="Serve the management API.")] = True,
    api_host: Annotated[
        str | None,
        typer.Option(envvar="IGW_API_HOST", help="Address of the management API. Default: --host."),
    ] = None,
    api_port: Annotated[int, port_option("IGW_API_PORT", "Management API, REST and Connect")] = 8081,
    api_grpc_port: Annotated[int, port_option("IGW_API_GRPC_PORT", "Management API, gRPC")] = 8082,
    api_certificate: Annotated[
        Path | None,
        typer.Option(
            envvar="IGW_API_CERTIFICATE",
            exists=True,
            file_okay=False,
            help="Folder of the certificate and key that the management API shows. Default: it is served without TLS.",
        ),
    ] = None,
    roles_file: RolesFile = None,
    parameters_file: ParametersFile = None,
    admin_token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="IGW_ADMIN_TOKEN_FILE", help="File with the token of an admin of the API, mode 0600."
        ),
    ] = None,
    admin_organization_id: Annotated[
        str | None,
        typer.Option(
            envvar="IGW_ADMIN_ORGANIZATION_ID", help="That admin's organisation. Default: --organization-id."
        ),
    ] = None,
    backend_network: BackendNetworks = None,
    allow_dns_backends: AllowDnsBackends = False,
    allow_docker_backends: AllowDockerBackends = False,
    docker_host: DockerHost = None,
    coreweave_whoami_url: WhoamiUrl = WHOAMI_URL,
    wandb_graphql_url: GraphqlUrl = GRAPHQL_URL,
    key_check_seconds: Annotated[
        float,
        typer.Option(
            envvar="IGW_KEY_CHECK_SECONDS",
            min=1,
            max=86400,
            help="How often W&B is asked whose the gateways' own apiKeys are.",
        ),
    ] = 300,
    endpoint_scheme: Annotated[
        str, typer.Option(envvar="IGW_ENDPOINT_SCHEME", help="http or https, as clients reach gateways.")
    ] = "https",
    endpoint_port: Annotated[
        int | None,
        typer.Option(
            envvar="IGW_ENDPOINT_PORT", min=1, max=65535, help="Port of that. Default: the scheme's."
        ),
    ] = None,
    organization_id: Organization = None,
    zone: Zone = None,
    all_zones: Annotated[
        bool, typer.Option("--all-zones", help="Give every Envoy every gateway, whatever zone it names.")
    ] = False,
    canary_seconds: Annotated[
        float,
        typer.Option(
            envvar="IGW_CANARY_SECONDS",
            min=0,
            help="How long one Envoy of a zone may take to accept a change before the others get it; 0: all at once.",
        ),
    ] = 5,
    domain: Domain = DOMAIN,
    max_body_bytes: MaxBody = MAX_BODY,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_ca: TlsCa = None,
    trust_domain: TrustDomain = None,
    in_clear: InClear = False,
    log_level: LogLevel = "info",
) -> None:
    """Run the control plane: store and files to Envoys over ADS, and the management API that fills the store."""
    # Imported here: to show the help needs none of it.
    from igw_api.settings import Backends, Endpoints  # noqa: PLC0415
    from igw_api.settings import Settings as ApiSettings  # noqa: PLC0415
    from igw_extauth.settings import Settings  # noqa: PLC0415
    from igw_xds.service import ControlPlane  # noqa: PLC0415
    from igw_xds.settings import DataPlane  # noqa: PLC0415

    from igw_cli.control_plane import KeyChecks, Management, Sources, run  # noqa: PLC0415
    from igw_cli.management_files import offered  # noqa: PLC0415

    files = file or []
    if files:
        loaded(files, organization_id)
    if endpoint_scheme not in SCHEMES:
        fail("--endpoint-scheme is http or https", INVALID)
    if (https is None) != (certificates is None and local_authority is None):
        fail(
            "--https goes with --certificates FOLDER (or --local-authority FOLDER), and they with it", INVALID
        )
    if https is None and (http3 or plain_http is not PlainHttp.ON):
        fail("--http3, and --plain-http other than on, need --https HOST:PORT", INVALID)
    with explained():
        parameters = offered(parameters_file, zone)
    asked, secure = host_port(extauth), None if https is None else host_port(https)
    tls = server_tls(tls_cert, tls_key, tls_ca, trust_domain, "xds")
    ops_host, exposed = service_exposure(host, ops_host, tls=tls is not None, in_clear=in_clear)
    if https is not None and tls is None and not is_loopback(host):
        fail(
            "the keys of --certificates would go to Envoys in clear: --https needs --tls-cert, or --host 127.0.0.1",
            INVALID,
        )
    if api:
        api_tls, named = api_certificate is not None, "--host" if api_host is None else "--api-host"
        exposed += check_exposure(api_host or host, named, API_TLS, tls=api_tls, in_clear=in_clear)
    if plain_http is PlainHttp.ON and not is_loopback(host_port(listen).host):
        exposed += (
            f"clients are served without TLS on {listen}, tokens and all: --plain-http redirect or off",
        )
    control_plane = ControlPlane(
        grpc=HostPort(host, port),
        ops=HostPort(ops_host, ops_port),
        domain=domain,
        zone=zone,
        all_zones=all_zones,
        known_zones=parameters.zones,
        canary_seconds=canary_seconds,
        tls=tls,
        certificates=certificates,
        local_authority=local_authority,
        data_plane=DataPlane(
            listen=host_port(listen),
            plain_http=plain_http,
            https=secure,
            https_port=_https_port(secure, endpoint_scheme, endpoint_port),
            http3=http3,
            extauth=asked,
            extauth_log=HostPort(asked.host, EXTAUTH_LOG_PORT)
            if extauth_log is None
            else host_port(extauth_log),
            auth_transport=auth_transport,
            extproc=host_port(extproc),
            body_routing=body_routing,
            usage_log=None if usage_log is None else host_port(usage_log),
            stream_usage=stream_usage,
            traces=None if traces is None else host_port(traces),
            trace_percent=trace_percent,
            max_body_bytes=max_body_bytes,
            access_log=access_log,
            trusted_proxies=trusted_proxies,
            lease_seconds=lease_seconds,
            trust_domain=None if tls is None else tls.trust_domain,
        ),
    )
    management = None
    with explained():
        identity = Settings(coreweave_whoami_url=coreweave_whoami_url, wandb_graphql_url=wandb_graphql_url)
    if api:
        with explained():
            management = Management(
                http=HostPort(api_host or host, api_port),
                grpc=HostPort(api_host or host, api_grpc_port),
                settings=ApiSettings(
                    parameters,
                    Endpoints(endpoint_scheme, domain, endpoint_port or SCHEMES[endpoint_scheme]),
                    Backends(
                        tuple(network(text) for text in backend_network or ()),
                        dns=allow_dns_backends,
                        docker=allow_docker_backends,
                    ),
                    usage_url,
                ),
                roles_file=roles_file,
                admin_token_file=admin_token_file,
                admin_organization=admin_organization_id or organization_id,
                identity=identity,
                certificate=api_certificate,
            )
    sources = Sources(state_dir, files, organization_id, docker_host)
    checks = KeyChecks(identity, key_check_seconds)
    run_service("xds", log_level, lambda stop: run(control_plane, sources, management, checks, stop), exposed)


def _https_port(https: HostPort | None, scheme: str, port: int | None) -> int:
    """Give where clients find HTTPS: where gateways are said to be, or, when that is over HTTP, where Envoys listen."""
    if https is not None and scheme == "http":
        return https.port
    return port or HTTPS_PORT
