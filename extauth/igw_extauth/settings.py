"""What an operator may set, with bounds; wrong values fail here, by name, before anything starts."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _http_url(value: str) -> str:
    url = urlsplit(value)
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise ValueError("must be an absolute http:// or https:// URL")
    if url.username is not None or url.fragment:
        raise ValueError("must have no user and no fragment")
    return value


HttpUrl = Annotated[str, AfterValidator(_http_url)]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class Settings(BaseModel):
    """extauth's settings; port 0 takes any free port. Raises pydantic's ValidationError (a ValueError)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    http_host: str = "127.0.0.1"
    http_port: Port = 18010
    grpc_host: str = "127.0.0.1"
    grpc_port: Port = 18011
    ops_host: str = "127.0.0.1"
    ops_port: Port = 18012
    coreweave_whoami_url: HttpUrl = "https://api.coreweave.com/v1beta1/auth/whoami"
    wandb_graphql_url: HttpUrl = "https://api.wandb.ai/graphql"
    cache_seconds: Seconds = 60
    failure_cache_seconds: Seconds = 10
    cache_entries: Annotated[int, Field(ge=1)] = 10_000
    authority_timeout_seconds: Seconds = 5
