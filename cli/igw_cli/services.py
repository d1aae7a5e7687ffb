"""`igw xds`, `igw extauth`, `igw extproc`, `igw demo …`: one server process each, run until asked to stop.

Components are imported by the command that runs them: a child process pays for its own part only.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import structlog
import typer
from igw_model.policy import Provider
from igw_ops import logs, process
from igw_ops.guard import Guard

from igw_cli.exposure import LOOPBACK, InClear, OpsHost, service_exposure
from igw_cli.options import (
    INVALID,
    MAX_BODY,
    CannotStartError,
    LogLevel,
    MaxBody,
    TlsCa,
    TlsCert,
    TlsKey,
    TrustDomain,
    fail,
    port_option,
)
from igw_cli.tls import proxies_alone, server_tls

if TYPE_CHECKING:
    from igw_certs.contexts import ServerTls

log = structlog.get_logger(__name__)
demo = typer.Typer(no_args_is_help=True, help="The servers that `igw up --demo` runs beside the gateway.")

Host = Annotated[str, typer.Option(envvar="IGW_HOST", help="Address to listen on.")]
WhoamiUrl = Annotated[
    str, typer.Option(envvar="IGW_COREWEAVE_WHOAMI_URL", help="Who a CoreWeave token belongs to.")
]
TokensFile = Annotated[
    Path,
    typer.Option(
        envvar="IGW_DEMO_TOKENS_FILE",
        help="JSON file with the tokens that are known; made where it is missing.",
    ),
]
WHOAMI_URL = "https://api.coreweave.com/v1beta1/auth/whoami"


def extauth(
    host: Host = LOOPBACK,
    port: Annotated[int, port_option("IGW_EXTAUTH_PORT", "Port for checks over HTTP")] = 18010,
    grpc_port: Annotated[
        int, port_option("IGW_EXTAUTH_GRPC_PORT", "Port for checks and access logs over gRPC")
    ] = 18011,
    ops_port: Annotated[
        int, port_option("IGW_EXTAUTH_OPS_PORT", "Port for health, metrics and revocations")
    ] = 18012,
    ops_host: OpsHost = None,
    workers: Annotated[
        int,
        typer.Option(
            envvar="IGW_EXTAUTH_WORKERS",
            min=1,
            max=64,
            help="Processes that answer checks, on the same ports.",
        ),
    ] = 1,
    coreweave_whoami_url: WhoamiUrl = WHOAMI_URL,
    wandb_graphql_url: Annotated[
        str, typer.Option(envvar="IGW_WANDB_GRAPHQL_URL", help="Who a W&B key belongs to.")
    ] = "https://api.wandb.ai/graphql",
    authority_timeout_seconds: Annotated[
        float,
        typer.Option(envvar="IGW_AUTHORITY_TIMEOUT_SECONDS", help="For one question to either of them."),
    ] = 5,
    authority_calls_per_second: Annotated[
        float,
        typer.Option(
            envvar="IGW_AUTHORITY_CALLS_PER_SECOND",
            help="Questions to either of them about tokens never seen; known ones are asked for beside it.",
        ),
    ] = 100,
    cache_url: Annotated[
        str | None,
        typer.Option(
            envvar="IGW_CACHE_URL",
            metavar="URL",
            help="Redis that several hosts share identities and counts through, redis://HOST:PORT/DB or rediss://…. "
            "With a password better in the environment. Default: each host has its own.",
        ),
    ] = None,
    secret_file: Annotated[
        Path | None,
        typer.Option(
            envvar="IGW_AUTH_SECRET_FILE",
            help="32 random bytes in hex that key the hashes of tokens, the same for all that share a Redis; "
            "made where it is missing. Default: new ones at each start.",
        ),
    ] = None,
    cache_seconds: Annotated[
        float, typer.Option(envvar="IGW_AUTH_CACHE_SECONDS", help="How long a good answer is kept.")
    ] = 60,
    failure_cache_seconds: Annotated[
        float, typer.Option(envvar="IGW_AUTH_FAILURE_CACHE_SECONDS", help="How long a bad one is.")
    ] = 10,
    stale_seconds: Annotated[
        float,
        typer.Option(
            envvar="IGW_AUTH_STALE_SECONDS",
            help="How long beyond that a good answer serves while whom it came from fails.",
        ),
    ] = 600,
    cache_entries: Annotated[
        int,
        typer.Option(envvar="IGW_AUTH_CACHE_ENTRIES", min=1, help="Good answers kept, and as many bad ones."),
    ] = 10_000,
    limits_url: Annotated[
        str | None,
        typer.Option(
            envvar="IGW_WANDB_LIMITS_URL",
            metavar="URL",
            help="Who says what a W&B project may (docs/limits.md). Default: the limits below are everybody's.",
        ),
    ] = None,
    limits_token_file: Annotated[
        Path | None,
        typer.Option(envvar="IGW_WANDB_LIMITS_TOKEN_FILE", help="File with the bearer token for it."),
    ] = None,
    limits_cache_seconds: Annotated[
        float, typer.Option(envvar="IGW_WANDB_LIMITS_CACHE_SECONDS", help="How long its answer is kept.")
    ] = 60,
    limits_concurrency: Annotated[
        int, typer.Option(envvar="IGW_LIMITS_CONCURRENCY", help="A W&B project's requests at once.")
    ] = 100,
    limits_requests_per_minute: Annotated[
        int, typer.Option(envvar="IGW_LIMITS_REQUESTS_PER_MINUTE", help="Its requests in a minute.")
    ] = 6000,
    limits_tokens_per_minute: Annotated[
        int, typer.Option(envvar="IGW_LIMITS_TOKENS_PER_MINUTE", help="Its tokens in a minute.")
    ] = 1_000_000,
    limits_quota_tokens: Annotated[
        int | None,
        typer.Option(
            envvar="IGW_LIMITS_QUOTA_TOKENS", help="Its tokens in a calendar month (UTC). Default: no quota."
        ),
    ] = None,
    lease_seconds: Annotated[
        float,
        typer.Option(
            envvar="IGW_LIMITS_LEASE_SECONDS",
            help="How long a slot is held for a request that Envoy tells nothing of.",
        ),
    ] = 20,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_ca: TlsCa = None,
    trust_domain: TrustDomain = None,
    in_clear: InClear = False,
    log_level: LogLevel = "info",
) -> None:
    """Run extauth: whose token is it, and may they? Answers Envoy's ext_authz over HTTP and gRPC."""
    from igw_extauth.service import serve  # noqa: PLC0415 - a child pays for its own part only
    from igw_extauth.settings import Settings  # noqa: PLC0415

    tls = server_tls(tls_cert, tls_key, tls_ca, trust_domain, "extauth")
    ops_host, exposed = service_exposure(host, ops_host, tls=tls is not None, in_clear=in_clear)
    with explained():
        settings = Settings(
            http_host=host,
            http_port=port,
            grpc_host=host,
            grpc_port=grpc_port,
            ops_host=ops_host,
            ops_port=ops_port,
            workers=workers,
            coreweave_whoami_url=coreweave_whoami_url,
            wandb_graphql_url=wandb_graphql_url,
            authority_timeout_seconds=authority_timeout_seconds,
            authority_calls_per_second=authority_calls_per_second,
            cache_url=cache_url,
            secret_file=secret_file,
            cache_seconds=cache_seconds,
            failure_cache_seconds=failure_cache_seconds,
            stale_seconds=stale_seconds,
            cache_entries=cache_entries,
            limits_url=limits_url,
            limits_token_file=limits_token_file,
            limits_cache_seconds=limits_cache_seconds,
            concurrency=limits_concurrency,
            requests_per_minute=limits_requests_per_minute,
            tokens_per_minute=limits_tokens_per_minute,
            quota_tokens=limits_quota_tokens,
            lease_seconds=lease_seconds,
            tls=tls,
        )
    run_service("extauth", log_level, lambda stop: serve(settings, stop), exposed)


def extproc(
    host: Host = LOOPBACK,
    port: Annotated[int, port_option("IGW_EXTPROC_PORT", "Port for Envoys (gRPC)")] = 18020,
    ops_port: Annotated[int, port_option("IGW_EXTPROC_OPS_PORT", "Port for health and metrics")] = 18021,
    ops_host: OpsHost = None,
    max_body_bytes: MaxBody = MAX_BODY,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_ca: TlsCa = None,
    trust_domain: TrustDomain = None,
    in_clear: InClear = False,
    log_level: LogLevel = "info",
) -> None:
    """Run extproc: which model does this body ask for? Answers Envoy's ext_proc."""
    from igw_extproc.service import serve  # noqa: PLC0415 - a child pays for its own part only
    from igw_extproc.settings import Settings  # noqa: PLC0415

    tls = server_tls(tls_cert, tls_key, tls_ca, trust_domain, "extproc")
    ops_host, exposed = service_exposure(host, ops_host, tls=tls is not None, in_clear=in_clear)
    settings = Settings(host, port, ops_host, ops_port, max_body_bytes)
    run_guarded("extproc", log_level, tls, lambda stop, guard: serve(settings, stop, guard), exposed)


@demo.command()
def model(
    name: Annotated[
        str | None,
        typer.Option(help="What the replica calls itself in its answers. Default: the host's name."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535)] = 18101,
    host: Host = LOOPBACK,
    deployments: Annotated[
        str, typer.Option(help='JSON: model to deployment, {"demo/small": "stable"}.')
    ] = "{}",
    linger_seconds: Annotated[
        float, typer.Option(min=0, max=60, help="How long to go on serving when asked to stop.")
    ] = 0,
    log_level: LogLevel = "info",
) -> None:
    """Run a small OpenAI-compatible model server."""
    from igw_demo.model_server import ModelSettings, serve_model  # noqa: PLC0415 - a child pays for its own part only

    with explained():
        settings = ModelSettings(
            name or socket.gethostname(), json.loads(deployments), host, port, linger_seconds
        )
    run_service(settings.name, log_level, lambda stop: serve_model(settings, stop))


@demo.command()
def authority(
    tokens_file: TokensFile,
    port: Annotated[int, typer.Option(min=0, max=65535)] = 18100,
    host: Host = LOOPBACK,
    service_token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the bearer token that may ask for the limits of projects. Default: whoever asks may."
        ),
    ] = None,
    reports_file: Annotated[
        Path | None,
        typer.Option(
            envvar="IGW_DEMO_REPORTS_FILE",
            help="File that keeps the usage reports that came. Default: they are forgotten at the end.",
        ),
    ] = None,
    log_level: LogLevel = "info",
) -> None:
    """Run a local identity authority that answers as CoreWeave's and W&B's do."""
    from igw_demo.authority import AuthoritySettings, serve_authority  # noqa: PLC0415 - see above

    settings = AuthoritySettings(tokens_file, host, port, service_token_file, reports_file)
    run_service("authority", log_level, lambda stop: serve_authority(settings, stop))


@demo.command()
def token(
    provider: Annotated[Provider, typer.Argument(help="Whose token.")],
    tokens_file: TokensFile,
) -> None:
    """Print one of the tokens that the local identity authority knows."""
    from igw_demo.tokens import DemoTokens  # noqa: PLC0415 - see above

    with explained():
        tokens = DemoTokens.load(tokens_file)
    known = {Provider.COREWEAVE: tokens.coreweave.token, Provider.WANDB: tokens.wandb.token}
    typer.echo(known[provider])


def run_service(
    service: str,
    log_level: str,
    main: Callable[[asyncio.Event], Awaitable[None]],
    warnings: Sequence[str] = (),
) -> None:
    """Run one service until it is asked to stop; what stands in its way ends the program with a message."""
    logs.configure(service, log_level)
    for warning in warnings:
        log.warning(warning)
    try:
        process.run(main)
    except CannotStartError as error:
        fail(f"{service}: {error}", INVALID)
    except (OSError, ExceptionGroup) as error:
        fail(f"{service}: {_first(error)}")


def run_guarded(
    service: str,
    log_level: str,
    tls: "ServerTls | None",
    main: Callable[[asyncio.Event, Guard | None], Awaitable[None]],
    warnings: Sequence[str],
) -> None:
    """Run one service that lets in Envoys alone, where there is TLS; see `run_service`."""

    async def run(stop: asyncio.Event) -> None:
        with proxies_alone(tls) as guard:
            await main(stop, guard)

    run_service(service, log_level, run, warnings)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """End the program with the message of a setting that cannot be used."""
    try:
        yield
    except (OSError, ValueError, CannotStartError) as error:
        fail(str(error), INVALID)
