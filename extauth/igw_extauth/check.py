"""The pipeline of one check, attempt to answer; both shells call it."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol

from igw_model.policy import Policy, Provider

from igw_extauth.answer import Answer, answer
from igw_extauth.attempt import Attempt
from igw_extauth.decision import Allow, Decision, Deny, decide
from igw_extauth.identity import Identity
from igw_extauth.metrics import CHECKS
from igw_extauth.secret import BearerToken

REMEMBERED_ANSWERS = 10_000
"""Encoding a principal's headers anew costs more than finding them."""


class Identifier(Protocol):
    """Says whose a token is at one provider."""

    def remembered(self, token: BearerToken) -> Identity | None:
        """Give the token's identity if nobody need be asked for it, else None."""
        ...

    async def identify(self, token: BearerToken) -> Identity:
        """Give the token's identity; an authority's failure is an identity too, not an exception."""
        ...


class Check:
    """The pipeline over one identifier for each provider."""

    def __init__(self, identifiers: Mapping[Provider, Identifier]) -> None:
        self._identifiers = identifiers
        self._answer = lru_cache(REMEMBERED_ANSWERS)(answer)

    async def __call__(self, attempt: Attempt) -> Answer:
        """Answer an attempt, and count it."""
        if attempt.policy is None or attempt.token is None:
            return self._refused(attempt)
        identity = await self._identifiers[attempt.policy.provider].identify(attempt.token)
        return self._answered(attempt.policy, identity)

    def remembered(self, attempt: Attempt) -> Answer | None:
        """Answer an attempt, and count it, if that needs no look-up; else give None, uncounted."""
        if attempt.policy is None or attempt.token is None:
            return self._refused(attempt)
        identity = self._identifiers[attempt.policy.provider].remembered(attempt.token)
        return None if identity is None else self._answered(attempt.policy, identity)

    def _refused(self, attempt: Attempt) -> Answer:
        if attempt.policy is None:
            return self._counted(None, Deny.UNKNOWN_GATEWAY)
        return self._counted(attempt.policy.provider, Deny.NO_TOKEN)

    def _answered(self, policy: Policy, identity: Identity) -> Answer:
        return self._counted(policy.provider, decide(policy, identity))

    def _counted(self, provider: Provider | None, decision: Decision) -> Answer:
        CHECKS.count(provider or "none", _outcome(decision))
        return self._answer(decision)


def _outcome(decision: Decision) -> str:
    return "allowed" if isinstance(decision, Allow) else _OUTCOMES[decision]


_OUTCOMES = {
    Deny.UNKNOWN_GATEWAY: "unknown_gateway",
    Deny.NO_TOKEN: "unauthenticated",
    Deny.UNKNOWN_TOKEN: "unauthenticated",
    Deny.OTHER_ORGANIZATION: "forbidden",
    Deny.UNAVAILABLE: "unavailable",
}
