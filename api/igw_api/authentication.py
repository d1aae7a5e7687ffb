"""Who calls: a bearer token in, a caller with a role out. Tokens are kept and logged nowhere.

Whose a token is comes from outside (`Identify`); what they may comes from the roles. Beside them there may be one
local admin token. Source: docs/inference-api.md, sections 3 ("Roles") and 5.
"""

import hmac
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import structlog
from igw_model.bearer import token_text

from igw_api.caller import Caller, Role
from igw_api.failure import Code, RefusedError
from igw_api.roles import Roles

LOCAL_ADMIN = "local-admin"
"""The principal of who has the local admin token."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom an authority knows a token as."""

    name: str
    organization: str


class IdentityUnavailableError(Exception):
    """The authority did not answer; says nothing of the token."""


Identify = Callable[[str], Awaitable[Principal | None]]
"""Say whose a token is, None for nobody's. Raises IdentityUnavailableError."""


class LocalAdmin:
    """One token of who runs the installation, an operator and an organisation's admin; only its keyed hash is kept."""

    def __init__(self, token: str, organization: str) -> None:
        self._key = secrets.token_bytes(32)
        self._digest = self._hash(token)
        self._caller = Caller(LOCAL_ADMIN, organization, Role.OPERATOR)

    def caller(self, token: str) -> Caller | None:
        """Give the admin if the token is theirs, in the same time whatever it is."""
        return self._caller if hmac.compare_digest(self._hash(token), self._digest) else None

    def _hash(self, token: str) -> bytes:
        return blake2b(token.encode(), key=self._key, digest_size=32).digest()


async def nobody(_token: str) -> Principal | None:
    """Know nobody: an `Identify` for installations that have the local admin alone."""
    return None


class Authentication:
    """Gives callers by their tokens; an `Authenticate` of `igw_api.caller`."""

    def __init__(
        self, identify: Identify, roles: Callable[[], Roles], local_admin: LocalAdmin | None = None
    ) -> None:
        self._identify = identify
        self._roles = roles
        self._local_admin = local_admin

    async def __call__(self, authorization: Sequence[str]) -> Caller:
        """Give the caller for the values of the Authorization headers. Raises RefusedError."""
        token = token_text(authorization)
        if token is None:
            raise RefusedError(Code.UNAUTHENTICATED, "send one header `Authorization: Bearer <token>`")
        caller = self._local(token) or await self._known(token)
        structlog.contextvars.bind_contextvars(
            principal=caller.principal, organization=caller.organization_id
        )
        return caller

    def _local(self, token: str) -> Caller | None:
        return None if self._local_admin is None else self._local_admin.caller(token)

    async def _known(self, token: str) -> Caller:
        try:
            principal = await self._identify(token)
        except IdentityUnavailableError:
            message = "the token cannot be checked at the moment: try again"
            raise RefusedError(Code.UNAVAILABLE, message) from None
        if principal is None:
            raise RefusedError(Code.UNAUTHENTICATED, "the token is not valid here")
        role = self._roles().role(principal.name, principal.organization)
        if role is None:
            message = f"principal {principal.name} of {principal.organization} has no role here"
            raise RefusedError(Code.PERMISSION_DENIED, message)
        return Caller(principal.name, principal.organization, role)
