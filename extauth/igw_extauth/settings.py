"""What an operator may set, with bounds; wrong values fail here, by name, before anything starts."""

import contextlib
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from igw_certs.contexts import ServerTls
from igw_ops.urls import http_url
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _redis_url(value: str) -> str:
    # The texts of what `urlsplit` and `port` raise may quote a password.
    with contextlib.suppress(ValueError):
        url = urlsplit(value)
        if url.scheme in {"redis", "rediss"} and url.hostname and url.port != 0:
            return value
    raise ValueError("must be redis://host:port/database or rediss://…")


HttpUrl = Annotated[str, AfterValidator(http_url)]
Limit = Annotated[int, Field(ge=1, le=2**53)]
CacheUrl = Annotated[str, AfterValidator(_redis_url)]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class Settings(BaseModel):
    """extauth's settings; port 0 takes any free port. Raises pydantic's ValidationError (a ValueError)."""

    # The URL of a Redis may hold a password.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    http_host: str = "127.0.0.1"
    http_port: Port = 18010
    grpc_host: str = "127.0.0.1"
    grpc_port: Port = 18011
    ops_host: str = "127.0.0.1"
    ops_port: Port = 18012
    coreweave_whoami_url: HttpUrl = "https://api.coreweave.com/v1beta1/auth/whoami"
    wandb_graphql_url: HttpUrl = "https://api.wandb.ai/graphql"
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    cache_url: CacheUrl | None = None
    """``redis://…`` or ``rediss://…``: identities and counts are shared through it; None: they are this host's."""
    secret_file: Path | None = None
    """32 random bytes in hex that key the hashes of tokens, the same for all that share a Redis; made where missing."""
    cache_seconds: Seconds = 60
    failure_cache_seconds: Seconds = 10
    stale_seconds: Annotated[float, Field(ge=0, le=3600)] = 600
    """How long behind `cache_seconds` a good answer serves while its authority fails."""
    cache_entries: Annotated[int, Field(ge=1)] = 10_000
    authority_timeout_seconds: Seconds = 5
    authority_calls_per_second: Annotated[float, Field(gt=0)] = 100
    """Of tokens never seen; those that were good before are asked for beside it."""
    limits_url: HttpUrl | None = None
    """Who is asked what a project may (docs/limits.md); None: the limits below are everybody's."""
    limits_token_file: Path | None = None
    limits_cache_seconds: Seconds = 60
    concurrency: Limit = 100
    requests_per_minute: Limit = 6000
    tokens_per_minute: Limit = 1_000_000
    quota_tokens: Limit | None = None
    """In a calendar month (UTC); None: no quota."""
    tls: ServerTls | None = None
    """With it Envoys alone are let in, by their certificates; None: checks come in clear."""
    lease_seconds: Annotated[float, Field(ge=3, le=600)] = 20
    """How long a slot is held for a request that is not heard of; Envoy tells of each every fourth of that."""

    @model_validator(mode="after")
    def _sharing_needs_a_secret(self) -> "Settings":
        if self.cache_url is not None and self.secret_file is None:
            raise ValueError("cache_url needs a secret_file, the same for all that share the cache")
        return self
