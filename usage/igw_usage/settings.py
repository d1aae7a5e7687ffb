"""What an operator may set, with bounds; wrong values fail here, by name, before anything starts."""

from pathlib import Path
from typing import Annotated

from igw_ops.urls import http_url
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

HttpUrl = Annotated[str, AfterValidator(http_url)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseModel):
    """The collector's settings; port 0 takes any free port. Raises pydantic's ValidationError (a ValueError)."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    host: str = "127.0.0.1"
    port: Port = 18030
    """Where Envoys send their logs: OTLP over gRPC."""
    ops_host: str = "127.0.0.1"
    ops_port: Port = 18031
    state_dir: Path | None = None
    """The folder of the ledger, made if it is not there; None: a temporary one, gone with the process."""
    retention_days: Annotated[int, Field(ge=1, le=3660)] = 90
    """How long the totals of a minute are kept."""
    reports_url: HttpUrl | None = None
    """Who is told of the requests of gateways that report their usage (docs/usage.md); None: nobody."""
    reports_token_file: Path | None = None
    """Holds the bearer token for that; read anew for each report."""
    reports_batch: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Records in one report, at most."""
    reports_interval_seconds: Annotated[float, Field(gt=0, le=3600)] = 10
    """How long a record waits for others to be reported with."""
    outbox_rows: Annotated[int, Field(ge=1, le=100_000_000)] = 1_000_000
    """Records that wait to be reported, at most; beyond, the oldest are dropped."""
    otlp_endpoint: HttpUrl | None = None
    """Where metrics are sent each minute, as OTLP over HTTP, to the path `/v1/metrics` below it; None: nowhere."""
