"""One run of the gateway: start the children, wait until Envoy has taken its configuration, tell, follow, stop."""

import asyncio
import contextlib
import ipaddress
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from igw_demo.bundle import demo_replicas
from igw_model.policy import Provider
from igw_xds.plan import Plan, plan, serves
from rich.console import Console
from rich.text import Text

from igw_cli import layout as parts
from igw_cli.layout import LOOPBACK, Child, Layout
from igw_cli.lines import readable
from igw_cli.report import Serving, show, show_start, told, write_ready
from igw_cli.supervisor import Supervisor

if TYPE_CHECKING:
    from igw_xds.world import World  # the store is slow to import, and the children wait

READY_SECONDS = 60.0
POLL_SECONDS = 0.1
FOLLOW_AGAIN_SECONDS = 1.0


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
        tokens: Mapping[Provider, str],
        ready_file: Path | None,
        *,
        demo: bool,
    ) -> None:
        self.failure: str | None = None
        self._layout = layout
        self._plan = Plan()
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
        work = asyncio.create_task(self._serve(envoy))
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

    async def _serve(self, envoy: Child) -> None:
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
        await self._follow()

    async def _answers(self, client: httpx.AsyncClient, child: Child, deadline: float) -> str:
        """Wait for a child to answer its health check; give the reason if it does not."""
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if child.health is None or (await client.get(child.health)).status_code == httpx.codes.OK:
                    return ""
            await asyncio.sleep(POLL_SECONDS)
        return f"{child.name} does not answer at {child.health}"

    async def _accepted(self, client: httpx.AsyncClient, deadline: float) -> str:
        """Wait until Envoy has answered to all of its configuration; give the reason if it does not.

        What it refuses is said and keeps nobody from being served the rest: the API tells which object it was.
        """
        reason = "Envoy has not connected to the control plane"
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                status = (await client.get(f"http://{LOOPBACK}:{self._layout.ports.xds_ops}/status")).json()
                for proxy in status["proxies"]:
                    if proxy["rejections"]:
                        self._say(f"Envoy refuses some of its configuration: {proxy['rejections']}", "red")
                        return ""
                    if proxy["synced"]:
                        return ""
                    reason = "Envoy has not acknowledged its configuration"
            await asyncio.sleep(POLL_SECONDS)
        return reason

    async def _follow(self) -> None:
        """Tell what is served now, and each gateway that comes or changes, as the control plane's store has it.

        Only a report: where the store cannot be read, what runs goes on, and it is tried again.
        """
        from igw_store.database import CannotOpenError  # noqa: PLC0415 - slow to import, and the children wait
        from igw_store.store import UnavailableError  # noqa: PLC0415

        while True:
            try:
                await self._follow_store()
            except (CannotOpenError, UnavailableError) as error:
                self._say(f"the store cannot be read: {error}", "yellow")
            await asyncio.sleep(FOLLOW_AGAIN_SECONDS)

    async def _follow_store(self) -> None:
        from igw_store.cipher import Cipher  # noqa: PLC0415 - see above
        from igw_store.sqlite import open_store  # noqa: PLC0415
        from igw_xds.world import World, after  # noqa: PLC0415

        store = await open_store(self._layout.database, Cipher.from_file(self._layout.key_file))
        world, elsewhere = World(), set[str]()
        try:
            async for change in store.watch():
                world = after(world, change)
                self._tell(self._planned(world))
                elsewhere = self._warn_of_other_zones(world, elsewhere)
        finally:
            await store.aclose()

    def _planned(self, world: "World") -> Plan:
        layout = self._layout
        return plan(
            world.served_gateways,
            world.served_deployments,
            domain=layout.domain,
            zone=layout.zone,
            replicas=world.replicas,
        )

    def _tell(self, newer: Plan) -> None:
        known = {gateway.id: told(gateway) for gateway in self._plan.gateways}
        self._plan = newer
        if not self._serving:
            self._serving = True
            show_start(self._report(), self._out)
            self._write_ready()
            return
        changed = [gateway for gateway in newer.gateways if known.get(gateway.id) != told(gateway)]
        if changed:
            show(self._report(), changed, self._out)
        if changed or len(known) != len(newer.gateways):
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
            plan=self._plan,
            ingress=f"http://{_reachable(layout.listen)}:{layout.ports.ingress}",
            port=layout.ports.ingress,
            address=_reachable(layout.listen),
            https_port=layout.ports.https,
            https_only=layout.https_only,
            authority=layout.authority / "ca.crt",
            admin=f"http://{LOOPBACK}:{layout.ports.admin}",
            domain=layout.domain,
            tokens=self._tokens,
            api=layout.api,
            admin_token=layout.admin_token,
            organization=layout.admin_organization,
        )

    def _warn_of_other_zones(self, world: "World", known: set[str]) -> set[str]:
        """Say once of each gateway that it is not served here; give the ids of those."""
        strangers = {g.id: g for g in world.served_gateways if not serves(g, self._layout.zone)}
        for gateway_id in strangers.keys() - known:
            gateway = strangers[gateway_id]
            self._say(f"gateway {gateway.name} is in zone {gateway.zone} and is not served here", "yellow")
        return set(strangers)

    def _show(self, name: str, line: str) -> None:
        text, colour = readable(line)
        self._say(text, colour, name)

    def _say(self, text: str, colour: str | None = None, name: str = "igw") -> None:
        stamp = time.strftime("%H:%M:%S")
        self._log.print(Text(f"{stamp}  {name:<15} ", "dim"), Text(text, colour or ""), sep="")
