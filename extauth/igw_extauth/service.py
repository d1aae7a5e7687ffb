"""The process: wires the pipeline to its servers, runs them until told to stop, stops them gracefully."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass

import structlog
from igw_model.policy import Provider
from igw_ops.listening import add_grpc_port, listening_socket
from igw_ops.server import operations_app, serving

from igw_extauth.check import Check
from igw_extauth.grpc_shell import grpc_server
from igw_extauth.http_shell import HttpServer
from igw_extauth.lookup import Lookup
from igw_extauth.lookups import identity_cache, looking_up
from igw_extauth.settings import Settings

GRACE_SECONDS = 3.0
"""For checks under way when the process is asked to stop."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the servers listen; tells what a port 0 in the settings became."""

    http: int
    grpc: int
    ops: int


async def serve(
    settings: Settings, stop: asyncio.Event, ready: Callable[[Ports], None] = lambda _: None
) -> None:
    """Answer checks until `stop` is set; `ready` is called once, when all servers listen.

    Raises CannotListenError, which names the port, before anything is answered.
    """
    async with AsyncExitStack() as stack:
        check = Check(await _lookups(settings, stack))
        servers = _Servers(settings, check, stack)
        await servers.run(stop, ready)


async def _lookups(settings: Settings, stack: AsyncExitStack) -> Mapping[Provider, Lookup]:
    cache = identity_cache(settings)
    return {
        provider: await stack.enter_async_context(looking_up(provider, settings, cache))
        for provider in Provider
    }


class _Servers:
    """The three servers of the process: bound when made, answering while they run."""

    def __init__(self, settings: Settings, check: Check, stack: AsyncExitStack) -> None:
        s = settings
        self._http_socket = stack.enter_context(listening_socket("HTTP checks", s.http_host, s.http_port))
        self._ops_socket = stack.enter_context(listening_socket("operations", s.ops_host, s.ops_port))
        self._grpc = grpc_server(check)
        grpc_port = add_grpc_port(self._grpc, "gRPC checks", s.grpc_host, s.grpc_port)
        self._ports = Ports(self._http_socket.getsockname()[1], grpc_port, self._ops_socket.getsockname()[1])
        self._not_ready: str | None = "starting"
        self._http = HttpServer(check)
        stack.callback(self._http.abort)

    async def run(self, stop: asyncio.Event, ready: Callable[[Ports], None]) -> None:
        """Run until `stop` is set; checks under way get `GRACE_SECONDS`."""
        async with serving(operations_app(lambda: self._not_ready), self._ops_socket):
            await self._grpc.start()
            await self._http.start(self._http_socket)
            self._not_ready = None
            structlog.get_logger().info("listening", **asdict(self._ports))
            ready(self._ports)
            await stop.wait()
            self._not_ready = "stopping"
            await asyncio.gather(self._http.stop(GRACE_SECONDS), self._grpc.stop(GRACE_SECONDS))
