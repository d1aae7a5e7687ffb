"""The pipeline of one check, attempt to answer; all shells call it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter
from typing import assert_never

from igw_model.policy import Policy, Provider

from igw_extauth import hashing
from igw_extauth.answer import Answer, admitted, answer, held
from igw_extauth.attempt import Attempt
from igw_extauth.decision import Allow, Decision, Deny, decide
from igw_extauth.identity import Identity, Unknown
from igw_extauth.keeper import Admission, Admitted, Ended, Held, Keeper
from igw_extauth.metrics import CHECK_SECONDS, CHECKS
from igw_extauth.remembered import Remembered
from igw_extauth.secret import BearerToken

REMEMBERED_ANSWERS = 10_000
"""Encoding a principal's headers anew costs more than finding them."""


@dataclass(frozen=True, slots=True)
class Keyed:
    """An attempt whose answer is its identity's, which is remembered, if at all, under a key."""

    policy: Policy
    key: bytes
    project: str | None


@dataclass(frozen=True, slots=True)
class Settled:
    """An attempt that is refused whatever any authority says."""

    provider: Provider | None
    decision: Decision


Claim = Keyed | Settled
"""What an attempt comes to, without its token: may be kept where a token may not."""


class Check:
    """The pipeline over what is remembered of tokens, and over who counts."""

    def __init__(self, remembered: Remembered, keeper: Keeper) -> None:
        self._remembered = remembered
        self._keeper = keeper
        self._answer = lru_cache(REMEMBERED_ANSWERS)(answer)

    async def __call__(self, claim: Claim, token: Callable[[], BearerToken | None]) -> Answer:
        """Answer a claim, and count it; `token` is called only if somebody must be asked whose it is."""
        begun = perf_counter()
        match claim:
            case Settled():
                return self._settled(claim, begun)
            case Keyed(policy, _, project):
                decision = decide(policy, await self._identity(claim, token), project)
                if policy.limited and isinstance(decision, Allow):
                    return await self._admitted(claim, decision, begun)
                return self._answered(claim, decision, begun)
            case _:
                assert_never(claim)

    def claim(self, attempt: Attempt) -> Claim:
        """Give what an attempt comes to; the same attempt always comes to the same."""
        if attempt.policy is None:
            return Settled(None, Deny.UNKNOWN_GATEWAY)
        provider = attempt.policy.provider
        if attempt.token is None:
            return Settled(provider, Deny.NO_TOKEN)
        key = self._remembered.key(provider, attempt.token)
        if key is None:
            return Settled(provider, decide(attempt.policy, Unknown()))
        return Keyed(attempt.policy, key, attempt.project)

    def remembered(self, claim: Claim) -> Answer | None:
        """Answer a claim, and count it, if nobody need be asked; else give None, uncounted."""
        begun = perf_counter()
        match claim:
            case Keyed(policy, key, project):
                identity = self._remembered.get(key)
                if identity is None:
                    return None
                decision = decide(policy, identity, project)
                if policy.limited and isinstance(decision, Allow):
                    return None
                return self._answered(claim, decision, begun)
            case Settled():
                return self._settled(claim, begun)
            case _:
                assert_never(claim)

    async def _identity(self, claim: Keyed, token: Callable[[], BearerToken | None]) -> Identity:
        identity = self._remembered.get(claim.key)
        if identity is not None:
            return identity
        known = token()
        if known is None:
            raise AssertionError("a keyed claim has a token")
        return await self._remembered.identify(claim.policy.provider, claim.key, known)

    async def _admitted(self, claim: Keyed, allow: Allow, begun: float) -> Answer:
        """Take a slot for a request that may pass; it is given back when nobody waits for the answer any more."""
        asking = asyncio.ensure_future(self._keeper.admit(allow.project))
        try:
            admission = await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(lambda done: self._give_back(allow, done))
            raise
        short = hashing.short(claim.key)
        match admission:
            case Admitted():
                _count(claim.policy.provider, "allowed", begun)
                return admitted(allow, short, admission)
            case Held(limit):
                _count(claim.policy.provider, limit, begun)
                return held(admission)
            case _:
                assert_never(admission)

    def _give_back(self, allow: Allow, done: "asyncio.Future[Admission]") -> None:
        if done.cancelled() or done.exception() is not None:
            return
        if isinstance(admission := done.result(), Admitted):
            self._keeper.report([Ended(allow.project, admission.lease)])

    def _settled(self, claim: Settled, begun: float) -> Answer:
        # Without a gateway it is one of Envoy's health checks, not a request's.
        if claim.provider is not None:
            _count(claim.provider, _outcome(claim.decision), begun)
        return self._answer(claim.decision)

    def _answered(self, claim: Keyed, decision: Decision, begun: float) -> Answer:
        _count(claim.policy.provider, _outcome(decision), begun)
        return self._answer(decision, hashing.short(claim.key) if isinstance(decision, Allow) else "")


def _count(provider: Provider, outcome: str, begun: float) -> None:
    CHECKS.count(provider, outcome)
    CHECK_SECONDS.observe(perf_counter() - begun)


def _outcome(decision: Decision) -> str:
    return "allowed" if isinstance(decision, Allow) else _OUTCOMES[decision]


_OUTCOMES = {
    Deny.NO_TOKEN: "unauthenticated",
    Deny.UNKNOWN_TOKEN: "unauthenticated",
    Deny.OTHER_ORGANIZATION: "forbidden",
    Deny.BAD_PROJECT: "invalid",
    Deny.OTHER_PROJECT: "forbidden",
    Deny.NO_ENTITY: "invalid",
    Deny.UNAVAILABLE: "unavailable",
}
