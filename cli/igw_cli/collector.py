"""`igw collector`: what requests used, as Envoys tell it, kept, shown and reported."""

from pathlib import Path
from typing import Annotated

import typer

from igw_cli.exposure import LOOPBACK, InClear, OpsHost, service_exposure
from igw_cli.options import LogLevel, TlsCa, TlsCert, TlsKey, TrustDomain, port_option
from igw_cli.services import Host, explained, run_guarded
from igw_cli.tls import server_tls


def collector(
    host: Host = LOOPBACK,
    port: Annotated[int, port_option("IGW_COLLECTOR_PORT", "Port for Envoys (gRPC)")] = 18030,
    ops_port: Annotated[
        int, port_option("IGW_COLLECTOR_OPS_PORT", "Port for health, metrics and usage")
    ] = 18031,
    ops_host: OpsHost = None,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="IGW_STATE_DIR", help="Folder of what is kept. Default: in memory, gone at the end."
        ),
    ] = None,
    retention_days: Annotated[
        int,
        typer.Option(envvar="IGW_USAGE_RETENTION_DAYS", min=1, max=3650, help="How long usage is kept."),
    ] = 90,
    reports_url: Annotated[
        str | None,
        typer.Option(
            envvar="IGW_WANDB_REPORTS_URL",
            metavar="URL",
            help="Who is told what W&B gateways with enableUsageReports used (docs/usage.md). Default: nobody.",
        ),
    ] = None,
    reports_token_file: Annotated[
        Path | None,
        typer.Option(envvar="IGW_WANDB_REPORTS_TOKEN_FILE", help="File with the bearer token for it."),
    ] = None,
    reports_batch: Annotated[
        int, typer.Option(envvar="IGW_REPORTS_BATCH", min=1, max=10_000, help="Most records of one report.")
    ] = 500,
    reports_interval_seconds: Annotated[
        float,
        typer.Option(
            envvar="IGW_REPORTS_INTERVAL_SECONDS", help="How long a record may wait for more of them."
        ),
    ] = 10,
    outbox_rows: Annotated[
        int,
        typer.Option(
            envvar="IGW_REPORTS_OUTBOX", min=1, help="Records kept for reports; beyond, the oldest are lost."
        ),
    ] = 1_000_000,
    otlp_endpoint: Annotated[
        str | None,
        typer.Option(
            envvar="OTEL_EXPORTER_OTLP_ENDPOINT",
            metavar="URL",
            help="OpenTelemetry collector (HTTP) that metrics are sent to. Default: none are.",
        ),
    ] = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_ca: TlsCa = None,
    trust_domain: TrustDomain = None,
    in_clear: InClear = False,
    log_level: LogLevel = "info",
) -> None:
    """Run the usage collector: counts what Envoys tell of requests, once each, and reports it."""
    from igw_usage.service import serve  # noqa: PLC0415 - a child pays for its own part only
    from igw_usage.settings import Settings  # noqa: PLC0415

    tls = server_tls(tls_cert, tls_key, tls_ca, trust_domain, "collector")
    ops_host, exposed = service_exposure(host, ops_host, tls=tls is not None, in_clear=in_clear)
    with explained():
        settings = Settings(
            host=host,
            port=port,
            ops_host=ops_host,
            ops_port=ops_port,
            state_dir=state_dir,
            retention_days=retention_days,
            reports_url=reports_url,
            reports_token_file=reports_token_file,
            reports_batch=reports_batch,
            reports_interval_seconds=reports_interval_seconds,
            outbox_rows=outbox_rows,
            otlp_endpoint=otlp_endpoint,
        )
    run_guarded("collector", log_level, tls, lambda stop, guard: serve(settings, stop, guard), exposed)
