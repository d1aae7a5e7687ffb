"""`igw up`: the whole gateway on one machine, around a real Envoy, until Ctrl-C."""

import contextlib
import json
import secrets
import socket
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated

import typer
from igw_demo.bundle import REPLICAS, demo_replicas, render_demo
from igw_demo.tokens import kept_tokens
from igw_model.definitions import Definitions
from igw_model.policy import Provider
from igw_ops import process
from igw_xds.bootstrap import Node, bootstrap
from igw_xds.settings import AuthTransport, BodyRouting, HostPort, PlainHttp, StreamUsage

from igw_cli import layout as parts
from igw_cli.envoy import envoy_command
from igw_cli.layout import LOOPBACK, NODE_ID, Layout, Ports
from igw_cli.management_files import check
from igw_cli.memory import MaxHeap, heap_bytes
from igw_cli.options import (
    DOMAIN,
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
    TracePercent,
    Traces,
    Transport,
    TrustedProxies,
    Zone,
    fail,
    ip_address,
    loaded,
    management_options,
    port_option,
)
from igw_cli.run import Run
from igw_cli.services import explained

LOCAL_ORGANIZATION = "local"
HEAP_SHARE = 0.5
"""Of this machine's memory, for Envoy; the model servers may be here too."""
LOOPBACK_NETWORKS = ["127.0.0.0/8", "::1/128"]
"""Where one person's model servers are. Envoy's admin interface and the operations ports are there, too."""


def up(
    file: Files = None,
    demo: Annotated[
        bool, typer.Option("--demo", envvar="IGW_DEMO", help="Bundled definitions, model servers and tokens.")
    ] = False,
    listen_address: Annotated[
        str,
        typer.Option(
            envvar="IGW_LISTEN_ADDRESS",
            callback=ip_address,
            help="IP address that Envoy listens on for clients.",
        ),
    ] = LOOPBACK,
    port: Annotated[int, port_option("IGW_PORT", "Port for clients")] = 8080,
    https_port: Annotated[int, port_option("IGW_HTTPS_PORT", "Port for clients, HTTPS")] = 8443,
    certificates: CertificatesFolder = None,
    http3: Http3 = False,
    plain_http: PlainRequests = PlainHttp.ON,
    admin_port: Annotated[int, port_option("IGW_ADMIN_PORT", "Port of Envoy's admin interface")] = 9901,
    xds_port: Annotated[int, port_option("IGW_XDS_PORT", "Control plane, gRPC")] = 18000,
    xds_ops_port: Annotated[int, port_option("IGW_XDS_OPS_PORT", "Control plane, health and status")] = 18001,
    extauth_port: Annotated[int, port_option("IGW_EXTAUTH_PORT", "extauth, HTTP")] = 18010,
    extauth_grpc_port: Annotated[int, port_option("IGW_EXTAUTH_GRPC_PORT", "extauth, gRPC")] = 18011,
    extauth_ops_port: Annotated[
        int, port_option("IGW_EXTAUTH_OPS_PORT", "extauth, health and metrics")
    ] = 18012,
    extproc_port: Annotated[int, port_option("IGW_EXTPROC_PORT", "extproc, gRPC")] = 18020,
    extproc_ops_port: Annotated[
        int, port_option("IGW_EXTPROC_OPS_PORT", "extproc, health and metrics")
    ] = 18021,
    collector_port: Annotated[int, port_option("IGW_COLLECTOR_PORT", "Usage collector, gRPC")] = 18030,
    collector_ops_port: Annotated[
        int, port_option("IGW_COLLECTOR_OPS_PORT", "Usage collector, health, metrics and usage")
    ] = 18031,
    api_port: Annotated[int, port_option("IGW_API_PORT", "Management API, REST and Connect")] = 8081,
    api_grpc_port: Annotated[int, port_option("IGW_API_GRPC_PORT", "Management API, gRPC")] = 8082,
    demo_port: Annotated[
        int, port_option("IGW_DEMO_PORT", "First of the demo's ports: authority, then model servers")
    ] = 18100,
    zone: Zone = None,
    domain: Domain = DOMAIN,
    organization_id: Organization = None,
    roles_file: RolesFile = None,
    parameters_file: ParametersFile = None,
    backend_network: BackendNetworks = None,
    allow_dns_backends: AllowDnsBackends = False,
    allow_docker_backends: AllowDockerBackends = False,
    docker_host: DockerHost = None,
    max_body_bytes: MaxBody = MAX_BODY,
    auth_transport: Transport = AuthTransport.HTTP,
    trusted_proxies: TrustedProxies = 0,
    lease_seconds: LeaseSeconds = LEASE_SECONDS,
    body_routing: BodyRouted = BodyRouting.AUTO,
    stream_usage: StreamsTell = StreamUsage.AUTO,
    traces: Traces = None,
    trace_percent: TracePercent = 100,
    concurrency: Annotated[
        int | None,
        typer.Option(envvar="IGW_ENVOY_CONCURRENCY", min=1, help="Envoy's workers. Default: one a core."),
    ] = None,
    max_heap_mb: MaxHeap = None,
    state_dir: Annotated[
        Path, typer.Option(envvar="IGW_STATE_DIR", help="Folder for what is kept between runs.")
    ] = Path(".igw"),
    ready_file: Annotated[
        Path | None, typer.Option(envvar="IGW_READY_FILE", help="JSON file to write once everything serves.")
    ] = None,
    log_level: LogLevel = "info",
) -> None:
    """Run the whole gateway on this machine: control plane, extauth, extproc, collector and Envoy. Ctrl-C stops it."""
    command = envoy_command()
    models = [0] * len(REPLICAS) if demo_port == 0 else [demo_port + 1 + i for i in range(len(REPLICAS))]
    ports = _taken(
        Ports(
            ingress=port,
            https=https_port,
            admin=admin_port,
            xds=xds_port,
            xds_ops=xds_ops_port,
            extauth=extauth_port,
            extauth_grpc=extauth_grpc_port,
            extauth_ops=extauth_ops_port,
            extproc=extproc_port,
            extproc_ops=extproc_ops_port,
            collector=collector_port,
            collector_ops=collector_ops_port,
            api=api_port,
            api_grpc=api_grpc_port,
            authority=demo_port if demo else 0,
            models=tuple(models) if demo else (),
        ),
        listen_address,
    )
    state_dir = state_dir.absolute()
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    layout = Layout(
        ports=ports,
        listen=listen_address,
        files=tuple(path.absolute() for path in file or ()),
        state_dir=state_dir,
        organization=organization_id,
        admin_organization="",
        management=management_options(
            roles_file,
            parameters_file,
            backend_networks(backend_network, roles_file),
            allow_dns=allow_dns_backends,
            allow_docker=allow_docker_backends,
        ),
        docker_host=docker_host,
        auth_transport=auth_transport,
        zone=zone,
        domain=domain,
        trusted_proxies=trusted_proxies,
        lease_seconds=lease_seconds,
        max_body_bytes=max_body_bytes,
        body_routing=body_routing,
        stream_usage=stream_usage,
        tls=(
            *(("--certificates", str(certificates.absolute())) if certificates else ()),
            *(("--http3",) if http3 else ()),
            *("--plain-http", plain_http.value),
        ),
        tracing=("--traces", traces, "--trace-percent", str(trace_percent)) if traces else (),
        log_level=log_level,
    )
    tokens: dict[Provider, str] = {}
    if demo:
        layout, tokens = _prepare_demo(layout)
    # Read here too, so that nothing is started for files with errors; what is served is what the store says.
    definitions = loaded(layout.files, organization_id).definitions if layout.files else Definitions()
    with explained():
        check(roles_file, parameters_file, zone)
    layout = replace(layout, admin_organization=_administered(organization_id, definitions))
    _write_bootstrap(layout, heap_bytes(max_heap_mb, HEAP_SHARE))
    started = Run(layout, tokens, ready_file.absolute() if ready_file else None, demo=demo)
    envoy = parts.envoy(layout, command, concurrency)
    process.run(lambda stop: started.run(stop, envoy))
    if started.failure:
        fail(started.failure)


def backend_networks(chosen: Sequence[str] | None, roles_file: Path | None) -> Sequence[str]:
    """Give where callers may have model servers: as said, else on loopback, or nowhere when they are others."""
    return chosen or ([] if roles_file else LOOPBACK_NETWORKS)


def _taken(ports: Ports, listen: str) -> Ports:
    """Choose a free port for every 0, and make sure that no other is in use."""
    with contextlib.ExitStack() as held:

        def take(name: str, port: int) -> int:
            host = listen if name in {"ingress", "https"} else LOOPBACK
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = held.enter_context(socket.socket(family))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, port))
                listener.listen()  # or another of ours could be given the same port
            except OSError as error:
                fail(
                    f"port {port} ({name}) cannot be used: {error.strerror}; choose another with {_option(name)}"
                )
            taken: int = listener.getsockname()[1]
            return taken

        single = {f.name: take(f.name, getattr(ports, f.name)) for f in fields(ports) if f.name != "models"}
        return replace(ports, **single, models=tuple(take("models", port) for port in ports.models))


def _option(name: str) -> str:
    special = {"ingress": "--port", "authority": "--demo-port", "models": "--demo-port"}
    return special.get(name, f"--{name.replace('_', '-')}-port")


def _prepare_demo(layout: Layout) -> tuple[Layout, dict[Provider, str]]:
    """Write the demo's definitions and tokens; tokens are kept from an earlier run."""
    replicas = demo_replicas(layout.ports.models)
    layout.demo.write_text(render_demo(replicas), encoding="utf-8")
    with explained():
        tokens = kept_tokens(layout.tokens, secrets.token_urlsafe)
    known = {Provider.COREWEAVE: tokens.coreweave.token, Provider.WANDB: tokens.wandb.token}
    return replace(layout, files=(layout.demo, *layout.files)), known


def _administered(organization: str | None, definitions: Definitions) -> str:
    """Give the organisation that the local admin manages: the one named, else the only one that files name."""
    named = {gateway.organization_id for gateway in definitions.gateways}
    return organization or (named.pop() if len(named) == 1 else LOCAL_ORGANIZATION)


def _write_bootstrap(layout: Layout, heap: int) -> None:
    node = Node(
        id=NODE_ID,
        zone=layout.zone or "local",
        admin=HostPort(LOOPBACK, layout.ports.admin),
        xds=HostPort(LOOPBACK, layout.ports.xds),
        heap_bytes=heap,
    )
    layout.bootstrap.write_text(json.dumps(bootstrap(node), indent=2), encoding="utf-8")
