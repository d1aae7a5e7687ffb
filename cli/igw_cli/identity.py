"""Whose CoreWeave token a caller of the management API has: the look-up, cache and outage rules of inference.

Only wiring: what extauth has for CoreWeave, as the one function that `igw_api.authentication` asks.
"""

import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import assert_never

from igw_api.authentication import Identify, IdentityUnavailableError, Principal
from igw_extauth import hashing
from igw_extauth.identities.kept import Identities, identities
from igw_extauth.identity import Identity, Known, Unavailable, Unknown
from igw_extauth.secret import BearerToken
from igw_extauth.settings import Settings
from igw_extauth.shapes import may_be
from igw_model.policy import Provider


@contextlib.asynccontextmanager
async def coreweave(settings: Settings) -> AsyncIterator[Identify]:
    """Give the function that says whose a CoreWeave token is; other tokens are nobody's."""
    secret = secrets.token_bytes(hashing.SECRET_BYTES)
    async with identities(settings, secret, providers=[Provider.COREWEAVE]) as known:
        yield lambda token: _principal(known, secret, BearerToken(token))


async def _principal(known: Identities, secret: bytes, token: BearerToken) -> Principal | None:
    if not may_be(Provider.COREWEAVE, token):
        return None
    key = hashing.key(Provider.COREWEAVE, hashing.digest(token.reveal()), secret)
    return principal_of((await known.identify(Provider.COREWEAVE, key, token)).identity)


def principal_of(identity: Identity) -> Principal | None:
    """Give an identity in the API's words. Raises IdentityUnavailableError."""
    match identity:
        case Known(principal):
            # CoreWeave's whoami names one organisation.
            [organization] = principal.organizations
            return Principal(principal.name, organization)
        case Unknown():
            return None
        case Unavailable(reason):
            raise IdentityUnavailableError(reason)
        case other:
            assert_never(other)
