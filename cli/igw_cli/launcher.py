"""`igw envoy`: one Envoy of a fleet, from its bootstrap to its end. A signal drains it, a second one ends it.

Between it and its control plane there is an agent (`igw_agent`), which lives as long as Envoy does.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import httpx
import structlog
import typer
from igw_ops import logs
from igw_ops.parent import end_with_parent
from igw_xds.bootstrap import Node, bootstrap
from igw_xds.settings import HostPort

from igw_cli.admin import Admin
from igw_cli.credentials import EnvoySecrets
from igw_cli.drain import Activity, Drain, Step
from igw_cli.ending import cause_of
from igw_cli.envoy import envoy_argv, envoy_command
from igw_cli.memory import MaxHeap, heap_bytes
from igw_cli.options import (
    INVALID,
    LogLevel,
    TlsCa,
    TlsCert,
    TlsKey,
    TrustDomain,
    fail,
    host_port,
    ip_address,
)
from igw_cli.tls import credentials

LOOPBACK = "127.0.0.1"
HEAP_SHARE = 0.75
"""Of the memory that there is; the rest is for what is beside Envoy, and for the kernel's buffers."""
LOOK_SECONDS = 0.1
END_SECONDS = 5.0
"""After it was told to end; then it is killed."""

log = structlog.get_logger(__name__)


def envoy(
    xds: Annotated[
        str, typer.Option(envvar="IGW_XDS", help="The control plane, HOST:PORT; a DNS name may be given.")
    ] = "127.0.0.1:18000",
    zone: Annotated[
        str, typer.Option(envvar="IGW_ZONE", help="The zone that this Envoy says it is in.")
    ] = "local",
    node_id: Annotated[
        str | None,
        typer.Option(envvar="IGW_NODE_ID", help="Its name at the control plane. Default: this host's name."),
    ] = None,
    admin_port: Annotated[
        int,
        typer.Option(
            envvar="IGW_ADMIN_PORT", min=1, max=65535, help="Port of the admin interface, on 127.0.0.1."
        ),
    ] = 9901,
    stats_host: Annotated[
        str,
        typer.Option(
            envvar="IGW_STATS_HOST",
            callback=ip_address,
            help="IP address of the listener that serves GET /metrics and GET /ready and nothing else.",
        ),
    ] = LOOPBACK,
    stats_port: Annotated[
        int, typer.Option(envvar="IGW_STATS_PORT", min=1, max=65535, help="Port of that listener.")
    ] = 9902,
    drain_seconds: Annotated[
        float,
        typer.Option(
            envvar="IGW_DRAIN_SECONDS",
            min=0,
            help="How long requests under way may take to end after SIGTERM or Ctrl-C; then they are cut.",
        ),
    ] = 30,
    concurrency: Annotated[
        int | None,
        typer.Option(envvar="IGW_ENVOY_CONCURRENCY", min=1, help="Envoy's workers. Default: one a core."),
    ] = None,
    max_heap_mb: MaxHeap = None,
    cache: Annotated[
        bool,
        typer.Option(
            "--cache/--no-cache",
            envvar="IGW_ENVOY_CACHE",
            help="Keep what Envoy accepted, and start from it while the control plane is away.",
        ),
    ] = True,
    state_dir: Annotated[
        Path,
        typer.Option(
            envvar="IGW_ENVOY_STATE_DIR", help="Folder of that, with a folder in it for each --node-id."
        ),
    ] = Path(".igw"),
    cache_after: Annotated[
        float,
        typer.Option(
            envvar="IGW_ENVOY_CACHE_AFTER",
            min=0.1,
            help="Seconds after which a control plane that says nothing to a new Envoy is held to be away.",
        ),
    ] = 3,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_ca: TlsCa = None,
    trust_domain: TrustDomain = None,
    log_level: LogLevel = "info",
) -> None:
    """Run one Envoy of a fleet. SIGTERM or Ctrl-C drains it first, a second one ends it at once."""
    logs.configure("envoy", log_level)
    control_plane = host_port(xds)
    shown = credentials(tls_cert, tls_key, tls_ca, trust_domain, "proxy")
    if shown is not None:
        _check_zone(shown.current().identity.zone, zone)
    node = Node(
        id=node_id or socket.gethostname(),
        zone=zone,
        admin=HostPort(LOOPBACK, admin_port),
        xds=control_plane,
        stats=HostPort(stats_host, stats_port),
        heap_bytes=heap_bytes(max_heap_mb, HEAP_SHARE),
        trust_domain=None if shown is None else shown.tls.trust_domain,
    )
    command = envoy_command()
    try:
        with tempfile.TemporaryDirectory(prefix="igw-envoy-") as folder:
            path, ads = Path(folder) / "bootstrap.json", Path(folder) / "ads"
            asks = replace(node, xds=ads) if cache else node
            path.write_text(json.dumps(bootstrap(asks), indent=2), encoding="utf-8")
            argv = envoy_argv(command, path, log_level, concurrency)
            running = partial(run, argv, f"http://{LOOPBACK}:{admin_port}", drain_seconds)
            if shown is not None:
                secrets = EnvoySecrets(shown, Path(folder))
                running = partial(_with_secrets, secrets, partial(running, folder=folder))
            if cache:
                # Envoy is started by a fork, in which gRPC is to do nothing. It reads this when it is imported.
                os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
                from igw_cli import agent  # noqa: PLC0415

                about = agent.settings(node, control_plane, ads, state_dir, cache_after, shown)
                running = partial(agent.beside, about, running)
            status = asyncio.run(running())
    except OSError as error:
        fail(f"envoy cannot be started: {error}")
    if status:
        raise typer.Exit(status)


def _check_zone(certified: str, zone: str) -> None:
    """End the program where the control plane would refuse its Envoy."""
    if certified != zone.lower():
        held = f"for the zone {certified}" if certified else "for no zone"
        fail(f"--zone is {zone}, and the certificate is {held}", INVALID)


async def _with_secrets(
    secrets: EnvoySecrets,
    running: Callable[..., Coroutine[Any, Any, int]],
    failed: asyncio.Task[None] | None = None,
) -> int:
    """Keep Envoy's secrets as the files are while it runs."""
    following = asyncio.create_task(secrets.follow())
    try:
        return await running(failed)
    finally:
        following.cancel()


async def run(
    argv: Sequence[str],
    admin: str,
    drain_seconds: float,
    failed: asyncio.Task[None] | None = None,
    folder: str | None = None,
) -> int:
    """Run an Envoy to its end and give the exit status: 0 when it was asked to end.

    `failed` is over when something that Envoy needs is: then it is drained too, and the status is 1. `folder` is where
    it runs, and finds its secrets. Raises OSError when it cannot be started.
    """
    asked = _signals()
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        cwd=folder,
        start_new_session=True,  # a Ctrl-C at the terminal is for the launcher alone
        preexec_fn=end_with_parent,
    )
    ended = asyncio.create_task(process.wait())
    try:
        await _first(ended, asked.get(), _over(failed))
        if not ended.done():
            status = _told(failed)
            log.info("draining", seconds=drain_seconds)
            await _first(ended, asked.get(), _drain(admin, drain_seconds))
            if not ended.done():
                await _end(process)
                return status
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    status = await ended
    log.error("envoy ended by itself", cause=cause_of(status))
    return _exit_status(status)


def _signals() -> asyncio.Queue[signal.Signals]:
    """Give a queue of the signals that ask this process to end."""
    asked: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, asked.put_nowait, signum)
    return asked


async def _over(failed: asyncio.Task[None] | None) -> None:
    """Wait for the end of a task, whatever it is; for ever when there is none."""
    await (asyncio.Event().wait() if failed is None else asyncio.wait([failed]))


def _told(failed: asyncio.Task[None] | None) -> int:
    """Give the exit status of an Envoy that is ended now; if it is for a failure, say so."""
    if failed is None or not failed.done():
        return 0
    log.error("the agent failed: ending envoy, to be started again", exc_info=failed.exception())
    return 1


async def _first(ended: asyncio.Task[int], *others: Coroutine[Any, Any, object]) -> None:
    """Wait until Envoy has ended or one of the others is done; those that are not are given up."""
    tasks = [asyncio.create_task(other) for other in others]
    await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


async def _drain(url: str, seconds: float) -> None:
    """Send clients away, answer what is under way, and come back when Envoy may end."""
    end_at = time.monotonic() + seconds
    accepting = True
    async with Admin(url) as admin:
        if not await _sent_away(admin, end_at):
            log.warning("ending without a drain")
            return
        now = time.monotonic()
        drain = Drain(now, max(0, end_at - now))
        while True:
            seen = await _seen(admin)
            step = drain.step(time.monotonic(), seen)
            if step is Step.END:
                break
            if step is Step.FINISH and accepting:
                accepting = not await _stopped_listening(admin)
            await asyncio.sleep(LOOK_SECONDS)
    log.info("drained", cut_requests=seen.requests if seen else None)


async def _sent_away(admin: Admin, end_at: float) -> bool:
    """Send clients away; False where there are none yet, as nobody listens, or where the time is over."""
    while True:
        try:
            await admin.send_away()
        except httpx.ConnectError as error:
            log.warning("the admin interface is not there", error=repr(error))
            return False
        except httpx.HTTPError as error:
            # It is busy, with much new configuration perhaps: clients are served meanwhile.
            log.warning("the admin interface does not answer yet", error=repr(error))
        else:
            return True
        if time.monotonic() >= end_at:
            return False
        await asyncio.sleep(LOOK_SECONDS)


async def _seen(admin: Admin) -> Activity | None:
    try:
        return await admin.activity()
    except httpx.HTTPError as error:
        log.debug("the admin interface does not answer", error=repr(error))
        return None


async def _stopped_listening(admin: Admin) -> bool:
    try:
        await admin.stop_listening()
    except httpx.HTTPError as error:
        log.warning("the listeners are not closed yet", error=repr(error))
        return False
    return True


async def _end(process: Process) -> None:
    """Ask it to end; kill it when it does not."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(END_SECONDS):
            await process.wait()
    except TimeoutError:
        log.warning("envoy does not end: killing it")
        process.kill()
        await process.wait()


def _exit_status(status: int) -> int:
    """Give our own exit status for an Envoy that was not asked to end: never 0; a signal is 128 and its number."""
    return 128 - status if status < 0 else status or 1
