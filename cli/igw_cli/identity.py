"""Whose CoreWeave token a caller of the management API has: the look-up, cache and outage rules of inference.

Only wiring: what extauth has for CoreWeave, as the one function that `igw_api.authentication` asks.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import assert_never

from igw_api.authentication import Identify, IdentityUnavailableError, Principal
from igw_extauth.identity import Identity, Known, Unavailable, Unknown
from igw_extauth.lookup import Lookup
from igw_extauth.lookups import identity_cache, looking_up
from igw_extauth.secret import BearerToken
from igw_extauth.settings import Settings
from igw_model.policy import Provider


@contextlib.asynccontextmanager
async def coreweave(settings: Settings) -> AsyncIterator[Identify]:
    """Give the function that says whose a CoreWeave token is; other tokens are nobody's."""
    async with looking_up(Provider.COREWEAVE, settings, identity_cache(settings)) as lookup:
        yield lambda token: _principal(lookup, token)


async def _principal(lookup: Lookup, token: str) -> Principal | None:
    return principal_of(await lookup.identify(BearerToken(token)))


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
