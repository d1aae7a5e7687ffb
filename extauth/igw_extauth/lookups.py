"""Settings in, look-ups that are ready out: one provider's authority, its client and the cache of identities."""

import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import assert_never

import httpx
from igw_model.policy import Provider

from igw_extauth.authorities import Authority, CoreWeave, Wandb, authority_client
from igw_extauth.cache import IdentityCache
from igw_extauth.lookup import Lookup
from igw_extauth.settings import Settings


def identity_cache(settings: Settings) -> IdentityCache:
    """Give an empty cache whose hash has a key of its own."""
    return IdentityCache(
        secret=secrets.token_bytes(32),
        seconds=settings.cache_seconds,
        failure_seconds=settings.failure_cache_seconds,
        entries=settings.cache_entries,
    )


@contextlib.asynccontextmanager
async def looking_up(provider: Provider, settings: Settings, cache: IdentityCache) -> AsyncIterator[Lookup]:
    """Give a provider's look-up while the context is open.

    Each has a client of its own: an authority that hangs must not hold another's connections.
    """
    timeout = settings.authority_timeout_seconds
    async with authority_client(timeout) as client:
        lookup = Lookup(provider, _authority(provider, client, settings), cache, timeout_seconds=timeout)
        try:
            yield lookup
        finally:
            await lookup.aclose()


def _authority(provider: Provider, client: httpx.AsyncClient, settings: Settings) -> Authority:
    match provider:
        case Provider.COREWEAVE:
            return CoreWeave(client, settings.coreweave_whoami_url)
        case Provider.WANDB:
            return Wandb(client, settings.wandb_graphql_url)
        case _:
            assert_never(provider)
