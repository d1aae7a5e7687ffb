"""What a check asks: the gateway's policy, the bearer token that the caller presented, and the project. Pure.

In: what a shell read from Envoy (a policy or none, the values of ``Authorization`` and ``OpenAI-Project``). Out: an
`Attempt`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from igw_model.bearer import token_text
from igw_model.policy import Policy

from igw_extauth.secret import BearerToken


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request to pass: `policy` is None for a host that is no gateway, `token` None for no usable token."""

    policy: Policy | None
    token: BearerToken | None
    project: str | None = None
    """``OpenAI-Project`` as sent, several joined by commas (which name no project); None where there is none."""


def bearer_token(authorization: Sequence[str]) -> BearerToken | None:
    """Read the bearer token from the values of the ``Authorization`` headers, as a secret."""
    text = token_text(authorization)
    return None if text is None else BearerToken(text)


def project_text(values: Sequence[str]) -> str | None:
    """Read the project from the values of the ``OpenAI-Project`` headers."""
    return ",".join(values).strip() or None
