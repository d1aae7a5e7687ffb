"""Where everything of `igw up` listens, and the child processes that make it up. Values only."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from igw_demo.model_server import ModelSettings
from igw_xds.settings import AuthTransport, BodyRouting, StreamUsage

from igw_cli.envoy import envoy_argv
from igw_cli.state import admin_token, database, key_file

NOT_INHERITED = (
    *("IGW_FILES", "IGW_STATE_DIR", "IGW_BACKEND_NETWORKS", "IGW_CERTIFICATES", "IGW_API_CERTIFICATE"),
    *("IGW_TLS_CERT", "IGW_TLS_KEY", "IGW_TLS_CA", "IGW_TRUST_DOMAIN", "IGW_OPS_HOST"),
)
"""What names files and folders, which `igw up` has read already, or which its children on loopback have no use for."""
LOOPBACK = "127.0.0.1"
NODE_ID = "local"


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of the parts; 0 stands for any free one until it is taken."""

    ingress: int
    https: int
    admin: int
    xds: int
    xds_ops: int
    extauth: int
    extauth_grpc: int
    extauth_ops: int
    extproc: int
    extproc_ops: int
    collector: int
    collector_ops: int
    api: int
    api_grpc: int
    authority: int
    models: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Child:
    """A process to keep running; `health` is a URL that answers 200 once it serves, where it has one."""

    name: str
    argv: tuple[str, ...]
    health: str | None = None
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """All that the child processes are told."""

    ports: Ports
    listen: str
    files: tuple[Path, ...]
    state_dir: Path
    organization: str | None
    admin_organization: str
    management: tuple[str, ...]
    """Options of the management API, passed on as they were given."""
    docker_host: str | None
    auth_transport: AuthTransport
    zone: str | None
    domain: str
    trusted_proxies: int
    lease_seconds: float
    max_body_bytes: int
    body_routing: BodyRouting
    stream_usage: StreamUsage
    tracing: tuple[str, ...]
    """Options of tracing, passed on as they were given."""
    tls: tuple[str, ...]
    """Options of HTTPS but its port, passed on as they were given."""
    log_level: str

    @property
    def https_only(self) -> bool:
        """Say whether requests without TLS are not served."""
        return "on" not in self.tls

    @property
    def bootstrap(self) -> Path:
        """Give the file with Envoy's bootstrap."""
        return self.state_dir / "envoy.json"

    @property
    def tokens(self) -> Path:
        """Give the file with the demo's tokens, mode 0600."""
        return self.state_dir / "demo-tokens.json"

    @property
    def admin_token(self) -> Path:
        """Give the file with the local admin's token, mode 0600."""
        return admin_token(self.state_dir)

    @property
    def database(self) -> Path:
        """Give the control plane's store."""
        return database(self.state_dir)

    @property
    def key_file(self) -> Path:
        """Give the file of the store's key."""
        return key_file(self.state_dir)

    @property
    def authority(self) -> Path:
        """Give the folder of the local authority, which signs for host names without a certificate."""
        return self.state_dir / "authority"

    @property
    def api(self) -> str:
        """Give the URL of the management API's server."""
        return f"http://{LOOPBACK}:{self.ports.api}"

    @property
    def demo(self) -> Path:
        """Give the file with the demo's definitions."""
        return self.state_dir / "demo.yaml"


def services(layout: Layout, *, demo: bool) -> list[Child]:
    """Give our services: control plane, extauth, extproc, usage collector."""
    ports = layout.ports
    environment = dict(os.environ)
    for name in NOT_INHERITED:
        environment.pop(name, None)
    environment["IGW_LIMITS_LEASE_SECONDS"] = str(layout.lease_seconds)
    if demo:
        authority = f"http://{LOOPBACK}:{ports.authority}"
        environment["IGW_COREWEAVE_WHOAMI_URL"] = f"{authority}/v1beta1/auth/whoami"
        environment["IGW_WANDB_GRAPHQL_URL"] = f"{authority}/graphql"
        environment["IGW_WANDB_LIMITS_URL"] = f"{authority}/limits"
        environment["IGW_WANDB_REPORTS_URL"] = f"{authority}/reports"
    return [
        _xds(layout, environment),
        _igw(
            "extauth",
            layout,
            *("--port", ports.extauth, "--grpc-port", ports.extauth_grpc, "--ops-port", ports.extauth_ops),
            health=_url(ports.extauth_ops, "readyz"),
            environment=environment,
        ),
        _igw(
            "extproc",
            layout,
            *("--port", ports.extproc, "--ops-port", ports.extproc_ops),
            *("--max-body-bytes", layout.max_body_bytes),
            health=_url(ports.extproc_ops, "readyz"),
            environment=environment,
        ),
        _igw(
            "collector",
            layout,
            *("--port", ports.collector, "--ops-port", ports.collector_ops, "--state-dir", layout.state_dir),
            health=_url(ports.collector_ops, "readyz"),
            environment=environment,
        ),
    ]


def demo_servers(layout: Layout, replicas: Sequence[ModelSettings]) -> list[Child]:
    """Give the demo's identity authority and its model servers."""
    authority = _igw(
        "demo authority",
        layout,
        *("--tokens-file", layout.tokens, "--port", layout.ports.authority),
        health=_url(layout.ports.authority, "demo/calls"),
    )
    return [authority, *(_model(layout, replica) for replica in replicas)]


def envoy(layout: Layout, command: str, concurrency: int | None) -> Child:
    """Give the proxy itself."""
    return Child(
        "envoy",
        envoy_argv(command, layout.bootstrap, layout.log_level, concurrency),
        health=_url(layout.ports.admin, "ready"),
    )


def _xds(layout: Layout, environment: Mapping[str, str]) -> Child:
    ports = layout.ports
    optional = [
        *(("--zone", layout.zone) if layout.zone else ()),
        *(("--docker-host", layout.docker_host) if layout.docker_host else ()),
        *(("--organization-id", layout.organization) if layout.organization else ()),
        *(part for file in layout.files for part in ("-f", file)),
    ]
    over_http = layout.auth_transport is AuthTransport.HTTP
    extauth = ports.extauth if over_http else ports.extauth_grpc
    scheme, port = ("https", ports.https) if layout.https_only else ("http", ports.ingress)
    return _igw(
        "xds",
        layout,
        *("--port", ports.xds, "--ops-port", ports.xds_ops, "--domain", layout.domain),
        *("--listen", _join(layout.listen, ports.ingress)),
        *("--https", _join(layout.listen, ports.https), "--local-authority", layout.authority, *layout.tls),
        *("--extauth", _join(LOOPBACK, extauth), "--auth-transport", layout.auth_transport.value),
        *("--extauth-log", _join(LOOPBACK, ports.extauth_grpc), "--lease-seconds", layout.lease_seconds),
        *("--extproc", _join(LOOPBACK, ports.extproc), "--trusted-proxies", layout.trusted_proxies),
        *("--max-body-bytes", layout.max_body_bytes, "--body-routing", layout.body_routing.value),
        *("--usage-log", _join(LOOPBACK, ports.collector), "--stream-usage", layout.stream_usage.value),
        *("--usage-url", f"http://{LOOPBACK}:{ports.collector_ops}", *layout.tracing),
        "--all-zones",  # there is one Envoy
        *("--state-dir", layout.state_dir),
        *("--api-port", ports.api, "--api-grpc-port", ports.api_grpc),
        *("--admin-token-file", layout.admin_token, "--admin-organization-id", layout.admin_organization),
        *("--endpoint-scheme", scheme, "--endpoint-port", port),
        *layout.management,
        *optional,
        health=_url(ports.xds_ops, "readyz"),
        environment=environment,
    )


def _model(layout: Layout, replica: ModelSettings) -> Child:
    child = _igw(
        "demo model",
        layout,
        *("--name", replica.name, "--port", replica.port),
        *("--deployments", json.dumps(dict(replica.deployments))),
        health=_url(replica.port, "health"),
    )
    return replace(child, name=replica.name)


def _igw(
    command: str,
    layout: Layout,
    *arguments: object,
    health: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Child:
    argv = (
        sys.executable,
        "-m",
        "igw_cli",
        *command.split(),
        "--host",
        LOOPBACK,
        "--log-level",
        layout.log_level,
    )
    name = command.rsplit(maxsplit=1)[-1]
    return Child(name, (*argv, *map(str, arguments)), health, environment)


def _url(port: int, path: str) -> str:
    return f"http://{LOOPBACK}:{port}/{path}"


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
