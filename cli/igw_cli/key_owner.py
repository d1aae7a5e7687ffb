"""Whose a gateway's own W&B key is, for the control plane: extauth's client of W&B as the function that `igw_xds` asks.

Only wiring. The control plane asks a few times an hour for each key: extauth's cache and its limits are not here.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import assert_never

from igw_extauth.authority.authorities import Wandb, authority_client
from igw_extauth.identity import Identity, Known, Unavailable, Unknown
from igw_extauth.secret import BearerToken
from igw_extauth.settings import Settings
from igw_extauth.shapes import may_be
from igw_model.policy import Provider
from igw_xds.key_owners import Ask
from pydantic import SecretStr


class OutageError(Exception):
    """W&B did not say; the text is ours."""


@contextlib.asynccontextmanager
async def wandb(settings: Settings) -> AsyncIterator[Ask]:
    """Give the function that says of which entities a key's owner is."""
    seconds = settings.authority_timeout_seconds
    async with authority_client(seconds) as client:
        authority = Wandb(client, settings.wandb_graphql_url)

        async def ask(key: SecretStr) -> frozenset[str] | None:
            token = BearerToken(key.get_secret_value())
            if not may_be(Provider.WANDB, token):
                return None
            async with asyncio.timeout(seconds):
                return entities_of(await authority.ask(token, lambda: True))

        yield ask


def entities_of(identity: Identity) -> frozenset[str] | None:
    """Give an identity in the control plane's words. Raises OutageError."""
    match identity:
        case Known(principal):
            return principal.organizations
        case Unknown():
            return None
        case Unavailable(reason):
            raise OutageError(reason)
        case other:
            assert_never(other)
