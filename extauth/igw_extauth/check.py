"""The pipeline of one check, attempt to answer; both shells call it."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol

from igw_model.policy import Provider

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

    async def identify(self, token: BearerToken) -> Identity:
        """Give the token's identity; an authority's failure is an identity too, not an exception."""
        ...


class Check:
    """The pipeline over one identifier for each provider."""

    def __init__(self, identifiers: Mapping[Provider, Identifier]) -> None:
        self._identifiers = identifiers
        # Labelled once: finding a child by its labels costs more than counting.
        self._counts = {
            (provider, outcome): CHECKS.labels(provider or "none", outcome)
            for provider in (*Provider, None)
            for outcome in ("allowed", *_OUTCOMES.values())
        }
        self._answer = lru_cache(REMEMBERED_ANSWERS)(answer)

    async def __call__(self, attempt: Attempt) -> Answer:
        """Answer an attempt, and count it."""
        decision = await self._decision(attempt)
        provider = None if attempt.policy is None else attempt.policy.provider
        self._counts[provider, _outcome(decision)].inc()
        return self._answer(decision)

    async def _decision(self, attempt: Attempt) -> Decision:
        if attempt.policy is None:
            return Deny.UNKNOWN_GATEWAY
        if attempt.token is None:
            return Deny.NO_TOKEN
        identity = await self._identifiers[attempt.policy.provider].identify(attempt.token)
        return decide(attempt.policy, identity)


def _outcome(decision: Decision) -> str:
    return "allowed" if isinstance(decision, Allow) else _OUTCOMES[decision]


_OUTCOMES = {
    Deny.UNKNOWN_GATEWAY: "unknown_gateway",
    Deny.NO_TOKEN: "unauthenticated",
    Deny.UNKNOWN_TOKEN: "unauthenticated",
    Deny.OTHER_ORGANIZATION: "forbidden",
    Deny.UNAVAILABLE: "unavailable",
}
