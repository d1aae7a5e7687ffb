"""`igw xds` put together: one store, the management API that writes it, and the control plane that serves it.

All in one event loop; the parts meet in the store, and the API may look at what the control plane knows of proxies.
"""

import asyncio
import contextlib
import importlib.metadata
import os
import secrets
import socket
import stat
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from grpc import (
    ServerCertificateConfiguration,
    ServerCredentials,
    dynamic_ssl_server_credentials,
    ssl_server_certificate_configuration,
)
from igw_api import grpc_shell, http_server
from igw_api.authentication import Authentication, LocalAdmin
from igw_api.caller import Authenticate, Operation
from igw_api.collector import collector
from igw_api.connect import connect_routes
from igw_api.operations import Operations
from igw_api.settings import Settings
from igw_certs.authority import AuthorityError
from igw_certs.shown import NoPairError, Shown
from igw_containers.following import follow, warn_without_engine
from igw_extauth import settings as identity_settings
from igw_model.definitions import Definitions
from igw_ops.listening import listening_socket
from igw_ops.private import write_private
from igw_ops.server import serving
from igw_store.cipher import Cipher, CipherError
from igw_store.database import CannotOpenError
from igw_store.files import Loaded
from igw_store.sqlite import open_store
from igw_store.store import Store
from igw_store.watch import watch
from igw_xds import service
from igw_xds.key_owners import KeyOwners
from igw_xds.settings import HostPort

from igw_cli.identity import coreweave
from igw_cli.key_owner import wandb
from igw_cli.management_files import roles
from igw_cli.options import CannotStartError
from igw_cli.state import database, key_file, key_owners

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Management:
    """What the management API is told; `admin_token_file` holds the local admin's token, made where it is missing."""

    http: HostPort
    grpc: HostPort
    settings: Settings
    roles_file: Path | None
    admin_token_file: Path | None
    admin_organization: str | None
    identity: identity_settings.Settings
    certificate: Path | None = None
    """The folder of the pair that the API shows; None: it is served without TLS."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where definitions come from: a store in `state_dir` (None: in memory), and files beside it.

    `docker_host` is the URL of the engine whose containers are replicas.
    """

    state_dir: Path | None
    files: Sequence[Path]
    organization: str | None
    docker_host: str | None


@dataclass(frozen=True, slots=True)
class KeyChecks:
    """How W&B is asked whose the gateways' own keys are, and after how many seconds again."""

    identity: identity_settings.Settings
    seconds: float


async def run(
    control_plane: service.ControlPlane,
    sources: Sources,
    management: Management | None,
    checks: KeyChecks,
    stop: asyncio.Event,
) -> None:
    """Serve until `stop` is set. Raises CannotStartError and CannotListenError."""
    async with AsyncExitStack() as stack:
        authenticate = None
        with _explained():
            store = await _store(sources.state_dir)
            stack.push_async_callback(store.aclose)
            ask = await stack.enter_async_context(wandb(checks.identity))
            kept = None if sources.state_dir is None else key_owners(sources.state_dir)
            plane = service.Plane(
                control_plane, owners=KeyOwners(ask, kept, checks.seconds), about=_about(sources)
            )
            if management is not None:
                authenticate = await stack.enter_async_context(_authentication(management))
        if management is not None and authenticate is not None:
            await stack.enter_async_context(_api(management, authenticate, store, plane))
        await stack.enter_async_context(_containers(sources.docker_host, store, stop))
        await service.serve(plane, store, stop, _file_states(sources, stop))


def _about(sources: Sources) -> dict[str, Any]:
    """Give what `igw status` says of this process."""
    return {
        "version": importlib.metadata.version("inference-gateway"),
        "startedAt": datetime.now(UTC).isoformat(timespec="seconds"),
        "store": None if sources.state_dir is None else str(database(sources.state_dir)),
        "files": [str(path) for path in sources.files],
    }


async def _store(state_dir: Path | None) -> Store:
    if state_dir is None:
        return await open_store(None, Cipher.ephemeral())
    try:
        os.makedirs(state_dir, mode=0o700, exist_ok=True)  # noqa: PTH103 - once, before anything is served
    except OSError as error:
        raise CannotStartError(f"--state-dir {state_dir} cannot be made: {error.strerror}") from None
    return await open_store(database(state_dir), Cipher.from_file(key_file(state_dir)))


async def _file_states(sources: Sources, stop: asyncio.Event) -> AsyncIterator[Loaded]:
    """Give what the files say as they change; without files that there is nothing, whatever an earlier run read."""
    if not sources.files:
        yield Loaded(Definitions())
        return
    async for state in watch(sources.files, sources.organization, stop):
        yield state


@contextlib.asynccontextmanager
async def _authentication(management: Management) -> AsyncIterator[Authenticate]:
    async with coreweave(management.identity) as identify:
        yield Authentication(identify, roles(management.roles_file), _local_admin(management))


def _local_admin(management: Management) -> LocalAdmin | None:
    path, organization = management.admin_token_file, management.admin_organization
    if path is None:
        if management.roles_file is None:
            log.warning("nobody may use the management API: there is no roles file and no admin token")
        return None
    if organization is None:
        raise CannotStartError("the admin token needs an organisation: set IGW_ADMIN_ORGANIZATION_ID")
    try:
        if not path.exists():
            write_private(path, f"igw-admin-{secrets.token_urlsafe(32)}\n")
            log.info("made a token for the local admin of the management API", file=str(path))
        if not _private(path.stat()):
            raise CannotStartError(f"{path} may be read by others than its owner: chmod 600 {path}")
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CannotStartError(f"the admin token cannot be kept in {path}: {error}") from None
    if not token:
        raise CannotStartError(f"{path} holds no token: remove it, and one is made, or write one to it")
    return LocalAdmin(token, organization)


def _private(file: os.stat_result) -> bool:
    """Say whether a file is its owner's alone; root's may be read by a group too.

    That is how Kubernetes and systemd hand secrets over, and PostgreSQL's rule for its key.
    """
    others = 0o027 if file.st_uid == 0 else 0o077
    return not stat.S_IMODE(file.st_mode) & others


@contextlib.asynccontextmanager
async def _api(
    management: Management, authenticate: Authenticate, store: Store, plane: service.Plane
) -> AsyncIterator[None]:
    """Serve the API over REST, Connect and gRPC while the context is open."""
    http, grpc = management.http, management.grpc
    listening = listening_socket("management API", http.host, http.port)
    async with collector(management.settings.usage_url) as usage:
        call = Operations(
            store,
            management.settings,
            clock=lambda: datetime.now(UTC),
            new_id=lambda: str(uuid.uuid4()),
            fleet=plane.inspection,
            usage=usage,
        ).call
        with _explained():
            shown = None if management.certificate is None else Shown(management.certificate)
        if shown is not None:
            certificate = shown.certificate
            plane.beside.append(lambda: replace(certificate(), name="management API"))
        async with _served(call, authenticate, listening, grpc, shown):
            yield


@contextlib.asynccontextmanager
async def _served(
    call: Operation, authenticate: Authenticate, listening: socket.socket, grpc: HostPort, shown: Shown | None
) -> AsyncIterator[None]:
    app = http_server.app(call, authenticate, connect_routes(call, authenticate))
    async with serving(app, listening, None if shown is None else shown.context(("http/1.1",))):
        tls = None if shown is None else _grpc_credentials(shown)
        server = await grpc_shell.serve(call, authenticate, grpc.host, grpc.port, tls)
        log.info("management API listening", address="{}:{}".format(*listening.getsockname()[:2]))
        try:
            yield
        finally:
            await server.stop()


def _grpc_credentials(shown: Shown) -> ServerCredentials:
    """Give the same pair to gRPC, which asks for it at each connection."""

    def now() -> ServerCertificateConfiguration:
        pair = shown.current()
        return ssl_server_certificate_configuration([(bytes(pair.key), pair.chain)])

    return dynamic_ssl_server_credentials(now(), now)


@contextlib.asynccontextmanager
async def _containers(docker_host: str | None, store: Store, stop: asyncio.Event) -> AsyncIterator[None]:
    """Follow the engine's containers while the context is open; that failing ends the process, as any part does."""
    if docker_host is None:
        following = asyncio.create_task(warn_without_engine(store))
    else:
        following = asyncio.create_task(follow(docker_host, store, lambda: datetime.now(UTC)))
        following.add_done_callback(lambda _: stop.set())
    try:
        yield
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (AuthorityError, CannotOpenError, CipherError, NoPairError) as error:
        raise CannotStartError(str(error)) from error
