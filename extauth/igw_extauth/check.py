"""The pipeline of one check, attempt to answer; both shells call it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter
from typing import Protocol, assert_never

from igw_model.policy import Policy, Provider

from igw_extauth.answer import Answer, answer
from igw_extauth.attempt import Attempt
from igw_extauth.decision import Allow, Decision, Deny, decide
from igw_extauth.identity import Identity, Unknown
from igw_extauth.metrics import CHECK_SECONDS, CHECKS
from igw_extauth.secret import BearerToken

REMEMBERED_ANSWERS = 10_000
"""Encoding a principal's headers anew costs more than finding them."""


class Identifier(Protocol):
    """Says whose a token is at one provider."""

    def key(self, token: BearerToken) -> str | None:
        """Give a keyed hash of a token, or None if the token cannot be one of the provider's."""
        ...

    def remembered(self, key: str) -> Identity | None:
        """Give the identity of the token with this hash if nobody need be asked for it, else None."""
        ...

    async def identify(self, token: BearerToken) -> Identity:
        """Give the token's identity; an authority's failure is an identity too, not an exception."""
        ...


@dataclass(frozen=True, slots=True)
class Keyed:
    """An attempt whose answer is its identity's, which is remembered, if at all, under a key."""

    policy: Policy
    key: str


@dataclass(frozen=True, slots=True)
class Settled:
    """An attempt that is refused whatever any authority says."""

    provider: Provider | None
    decision: Decision


Claim = Keyed | Settled
"""What an attempt comes to, without its token: may be kept where a token may not."""


class Check:
    """The pipeline over one identifier for each provider."""

    def __init__(self, identifiers: Mapping[Provider, Identifier]) -> None:
        self._identifiers = identifiers
        self._answer = lru_cache(REMEMBERED_ANSWERS)(answer)

    async def __call__(self, attempt: Attempt) -> Answer:
        """Answer an attempt, and count it."""
        begun = perf_counter()
        if attempt.policy is None or attempt.token is None:
            return self._settled(_refused(attempt), begun)
        identity = await self._identifiers[attempt.policy.provider].identify(attempt.token)
        return self._answered(attempt.policy, identity, begun)

    def claim(self, attempt: Attempt) -> Claim:
        """Give what an attempt comes to; the same attempt always comes to the same."""
        if attempt.policy is None or attempt.token is None:
            return _refused(attempt)
        key = self._identifiers[attempt.policy.provider].key(attempt.token)
        if key is None:
            return Settled(attempt.policy.provider, decide(attempt.policy, Unknown()))
        return Keyed(attempt.policy, key)

    def remembered(self, claim: Claim) -> Answer | None:
        """Answer a claim, and count it, if that needs no look-up; else give None, uncounted."""
        begun = perf_counter()
        match claim:
            case Keyed(policy, key):
                identity = self._identifiers[policy.provider].remembered(key)
                return None if identity is None else self._answered(policy, identity, begun)
            case Settled():
                return self._settled(claim, begun)
            case _:
                assert_never(claim)

    def _settled(self, claim: Settled, begun: float) -> Answer:
        return self._counted(claim.provider, claim.decision, begun)

    def _answered(self, policy: Policy, identity: Identity, begun: float) -> Answer:
        return self._counted(policy.provider, decide(policy, identity), begun)

    def _counted(self, provider: Provider | None, decision: Decision, begun: float) -> Answer:
        """Answer, and count it; without a gateway it is one of Envoy's health checks, not a request's."""
        answered = self._answer(decision)
        if provider is not None:
            CHECKS.count(provider, _outcome(decision))
            CHECK_SECONDS.observe(perf_counter() - begun)
        return answered


def _refused(attempt: Attempt) -> Settled:
    if attempt.policy is None:
        return Settled(None, Deny.UNKNOWN_GATEWAY)
    return Settled(attempt.policy.provider, Deny.NO_TOKEN)


def _outcome(decision: Decision) -> str:
    return "allowed" if isinstance(decision, Allow) else _OUTCOMES[decision]


_OUTCOMES = {
    Deny.NO_TOKEN: "unauthenticated",
    Deny.UNKNOWN_TOKEN: "unauthenticated",
    Deny.OTHER_ORGANIZATION: "forbidden",
    Deny.UNAVAILABLE: "unavailable",
}
