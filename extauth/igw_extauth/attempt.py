"""What a check asks: the gateway's policy and the bearer token that the caller presented. Pure.

In: what a shell read from Envoy (a policy or none, the values of ``Authorization``). Out: an `Attempt`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from igw_model.policy import Policy

from igw_extauth.secret import BearerToken

MAX_TOKEN_LENGTH = 4096
"""Characters; longer ones are not read. The authorities' own keys are far shorter."""

_CREDENTIALS = re.compile(rf"(?i:bearer) +([A-Za-z0-9._~+/-]{{1,{MAX_TOKEN_LENGTH}}}=?=?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request to pass: `policy` is None for a host that is no gateway, `token` None for no usable token."""

    policy: Policy | None
    token: BearerToken | None


def bearer_token(authorization: Sequence[str]) -> BearerToken | None:
    """Read the bearer token (RFC 6750, section 2.1) from the values of the ``Authorization`` headers.

    None for no header, another scheme, an empty or over-long token, and for characters outside ``b64token``.
    Two headers, or two credentials joined by a comma, give None too: which one is read behind us is unknown.
    """
    if len(authorization) != 1:
        return None
    credentials = _CREDENTIALS.fullmatch(authorization[0].strip(" \t"))
    return None if credentials is None else BearerToken(credentials[1])
