"""One run of the gateway: start the children, wait until Envoy has taken its configuration, tell, follow, stop."""

import asyncio
import contextlib
import ipaddress
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
from igw_demo.bundle import demo_replicas
from igw_model.definitions import Definitions
from igw_model.policy import Provider
from igw_store.watch import watch
from igw_xds.plan import plan, serves
from rich.console import Console
from rich.text import Text

from igw_cli import layout as parts
from igw_cli.layout import LOOPBACK, Child, Layout
from igw_cli.lines import readable
from igw_cli.report import Serving, show, write_ready
from igw_cli.supervisor import Supervisor

READY_SECONDS = 60.0
POLL_SECONDS = 0.1


def _reachable(listen: str) -> str:
    """Give the address at which a listener answers this machine."""
    address = ipaddress.ip_address(listen)
    if address.is_unspecified:
        return LOOPBACK
    return f"[{address}]" if isinstance(address, ipaddress.IPv6Address) else str(address)


class Run:
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
