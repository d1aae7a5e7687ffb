"""`igw up`: the whole gateway on one machine, around a real Envoy, until Ctrl-C."""

import asyncio
import contextlib
import ipaddress
import json
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated

import httpx
import typer
from igw_demo.bundle import REPLICAS, demo_replicas, render_demo
from igw_demo.tokens import DemoTokens, demo_tokens
from igw_model.definitions import Definitions
from igw_model.policy import Provider
from igw_ops import process
from igw_store.watch import watch
from igw_xds.bootstrap import Node, bootstrap
from igw_xds.plan import plan, serves
from igw_xds.settings import AuthTransport, HostPort
from rich.console import Console
from rich.text import Text

from igw_cli import layout as parts
from igw_cli.envoy import envoy_command
from igw_cli.layout import LOOPBACK, NODE_ID, Child, Layout, Ports
from igw_cli.lines import readable
from igw_cli.options import (
    DOMAIN,
    INVALID,
    MAX_BODY,
    Domain,
    Files,
    LogLevel,
    MaxBody,
    Organization,
    Transport,
    Zone,
    fail,
    ip_address,
    loaded,
    port_option,
)
from igw_cli.report import Serving, show, write_ready
from igw_cli.supervisor import Supervisor

READY_SECONDS = 60.0
POLL_SECONDS = 0.1


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
    demo_port: Annotated[
        int, port_option("IGW_DEMO_PORT", "First of the demo's ports: authority, then model servers")
    ] = 18100,
    zone: Zone = None,
    domain: Domain = DOMAIN,
    organization_id: Organization = None,
    max_body_bytes: MaxBody = MAX_BODY,
    auth_transport: Transport = AuthTransport.HTTP,
    concurrency: Annotated[
        int | None,
        typer.Option(envvar="IGW_ENVOY_CONCURRENCY", min=1, help="Envoy's workers. Default: one a core."),
    ] = None,
    state_dir: Annotated[
        Path, typer.Option(envvar="IGW_STATE_DIR", help="Folder for what is kept between runs.")
    ] = Path(".igw"),
    ready_file: Annotated[
        Path | None, typer.Option(envvar="IGW_READY_FILE", help="JSON file to write once everything serves.")
    ] = None,
    log_level: LogLevel = "info",
) -> None:
    """Run the whole gateway on this machine: control plane, extauth, extproc and Envoy. Ctrl-C stops it."""
    if not file and not demo:
        fail("name definition files with -f FILE, or try --demo", INVALID)
    command = envoy_command()
    models = [0] * len(REPLICAS) if demo_port == 0 else [demo_port + 1 + i for i in range(len(REPLICAS))]
    ports = _taken(
        Ports(
            ingress=port,
            admin=admin_port,
            xds=xds_port,
            xds_ops=xds_ops_port,
            extauth=extauth_port,
            extauth_grpc=extauth_grpc_port,
            extauth_ops=extauth_ops_port,
            extproc=extproc_port,
            extproc_ops=extproc_ops_port,
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
        auth_transport=auth_transport,
        zone=zone,
        domain=domain,
        max_body_bytes=max_body_bytes,
        log_level=log_level,
    )
    tokens: dict[Provider, str] = {}
    if demo:
        layout, tokens = _prepare_demo(layout)
    definitions = loaded(layout.files, organization_id).definitions
    _write_bootstrap(layout)
    started = _Up(layout, definitions, tokens, ready_file.absolute() if ready_file else None, demo=demo)
    envoy = parts.envoy(layout, command, concurrency)
    process.run(lambda stop: started.run(stop, envoy))
    if started.failure:
        fail(started.failure)


def _taken(ports: Ports, listen: str) -> Ports:
    """Choose a free port for every 0, and make sure that no other is in use."""
    with contextlib.ExitStack() as held:

        def take(name: str, port: int) -> int:
            host = listen if name == "ingress" else LOOPBACK
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
    try:
        tokens = DemoTokens.load(layout.tokens)
    except (OSError, ValueError):
        tokens = demo_tokens(secrets.token_urlsafe)
        tokens.save(layout.tokens)
    known = {Provider.COREWEAVE: tokens.coreweave.token, Provider.WANDB: tokens.wandb.token}
    return replace(layout, files=(layout.demo, *layout.files)), known


def _write_bootstrap(layout: Layout) -> None:
    node = Node(
        id=NODE_ID,
        zone=layout.zone or "local",
        admin=HostPort(LOOPBACK, layout.ports.admin),
        xds=HostPort(LOOPBACK, layout.ports.xds),
    )
    layout.bootstrap.write_text(json.dumps(bootstrap(node), indent=2), encoding="utf-8")


def _reachable(listen: str) -> str:
    """Give the address at which a listener answers this machine."""
    address = ipaddress.ip_address(listen)
    if address.is_unspecified:
        return LOOPBACK
    return f"[{address}]" if isinstance(address, ipaddress.IPv6Address) else str(address)


class _Up:
    """One run: start, wait until Envoy has taken its configuration, tell, follow, stop."""

    def __init__(
        self,
        layout: Layout,
        definitions: Definitions,
        tokens: Mapping[Provider, str],
        ready_file: Path | None,
        *,
        demo: bool,
    ) -> None:
        self.failure: str | None = None
        self._layout = layout
        self._definitions = definitions
        self._tokens = tokens
        self._ready_file = ready_file
        self._demo = demo
        self._serving = False
        self._out = Console()
        self._log = Console(stderr=True, soft_wrap=True, highlight=False)
        self._supervisor = Supervisor(self._show, lambda _: self._write_ready())

    async def run(self, stop: asyncio.Event, envoy: Child) -> None:
        """Serve until `stop` is set, or say in `failure` why that was not possible."""
        stopped = asyncio.create_task(stop.wait())
        work = asyncio.create_task(self._serve(envoy, stop))
        try:
            if self._ready_file:
                self._ready_file.unlink(missing_ok=True)  # one of an earlier run that was killed
            await asyncio.wait((stopped, work), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._say("stopping")
            stopped.cancel()
            work.cancel()
            await asyncio.wait((work,))
            await self._supervisor.stop()
            if self._ready_file:
                self._ready_file.unlink(missing_ok=True)
        if not work.cancelled():
            work.result()

    async def _serve(self, envoy: Child, stop: asyncio.Event) -> None:
        self._warn_of_other_zones(self._definitions)
        replicas = demo_replicas(self._layout.ports.models) if self._demo else ()
        children = parts.services(self._layout, demo=self._demo)
        children += parts.demo_servers(self._layout, replicas) if self._demo else []
        self._supervisor.start(children)
        deadline = time.monotonic() + READY_SECONDS
        async with httpx.AsyncClient(timeout=2) as client:
            waiting = "\n".join(
                await asyncio.gather(*(self._answers(client, child, deadline) for child in children))
            )
            self._supervisor.start([envoy])
            waiting = waiting.strip() or await self._accepted(client, deadline)
        if waiting:
            self.failure = f"not serving: {waiting}"
            return
        self._serving = True
        self._tell()
        async for state in watch(self._layout.files, self._layout.organization, stop):
            if not state.errors and state.definitions != self._definitions:
                self._definitions = state.definitions
                self._warn_of_other_zones(state.definitions)
                self._tell()

    async def _answers(self, client: httpx.AsyncClient, child: Child, deadline: float) -> str:
        """Wait for a child to answer its health check; give the reason if it does not."""
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if child.health is None or (await client.get(child.health)).status_code == httpx.codes.OK:
                    return ""
            await asyncio.sleep(POLL_SECONDS)
        return f"{child.name} does not answer at {child.health}"

    async def _accepted(self, client: httpx.AsyncClient, deadline: float) -> str:
        """Wait until Envoy has acknowledged all of its configuration; give the reason if it does not."""
        reason = "Envoy has not connected to the control plane"
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                status = (await client.get(f"http://{LOOPBACK}:{self._layout.ports.xds_ops}/status")).json()
                for proxy in status["proxies"]:
                    if proxy["rejections"]:
                        return f"Envoy rejected its configuration: {proxy['rejections']}"
                    if proxy["synced"]:
                        return ""
                    reason = "Envoy has not acknowledged its configuration"
            await asyncio.sleep(POLL_SECONDS)
        return reason

    def _tell(self) -> None:
        show(self._report(), self._out)
        self._write_ready()

    def _write_ready(self) -> None:
        if not self._serving or not self._ready_file:
            return
        try:
            write_ready(self._ready_file, self._report(), self._supervisor.pids)
        except OSError as error:
            self._say(f"the ready file cannot be written: {error}", "red")

    def _report(self) -> Serving:
        layout = self._layout
        return Serving(
            plan=plan(
                self._definitions.gateways,
                self._definitions.deployments,
                domain=layout.domain,
                zone=layout.zone,
            ),
            ingress=f"http://{_reachable(layout.listen)}:{layout.ports.ingress}",
            port=layout.ports.ingress,
            admin=f"http://{LOOPBACK}:{layout.ports.admin}",
            domain=layout.domain,
            tokens=self._tokens,
        )

    def _warn_of_other_zones(self, definitions: Definitions) -> None:
        for gateway in definitions.gateways:
            if not serves(gateway, self._layout.zone):
                self._say(
                    f"gateway {gateway.name} is in zone {gateway.zone} and is not served here", "yellow"
                )

    def _show(self, name: str, line: str) -> None:
        text, colour = readable(line)
        self._say(text, colour, name)

    def _say(self, text: str, colour: str | None = None, name: str = "igw") -> None:
        stamp = time.strftime("%H:%M:%S")
        self._log.print(Text(f"{stamp}  {name:<15} ", "dim"), Text(text, colour or ""), sep="")
