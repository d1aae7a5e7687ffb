"""Turns of what is too large to come all at once: so many hold one, the others wait in order. Pure."""

from collections.abc import Hashable
from typing import Generic, TypeVar

Claim = TypeVar("Claim", bound=Hashable)


class Turns(Generic[Claim]):
    """Who has a turn, until when, and who waits for one. Times are the caller's clock, in seconds."""

    def __init__(self, at_once: int, seconds: float, most_waiting: int) -> None:
        self._at_once = at_once
        self._seconds = seconds
        self._most_waiting = most_waiting
        self._held: dict[Claim, float] = {}
        self._waiting: dict[Claim, None] = {}

    @property
    def full(self) -> bool:
        """Whether as many wait as may: nobody else is to ask."""
        return len(self._waiting) >= self._most_waiting

    def ask(self, claim: Claim, now: float) -> bool:
        """Give whether it is a claim's turn; if not, it waits, and a `release` will give it."""
        if len(self._held) < self._at_once:
            self._held[claim] = now + self._seconds
            return True
        self._waiting[claim] = None
        return False

    def release(self, claim: Claim, now: float) -> Claim | None:
        """Take a claim back, whether it has its turn or waits; give whose turn it is instead, if any."""
        self._waiting.pop(claim, None)
        if self._held.pop(claim, None) is None or not self._waiting:
            return None
        following = next(iter(self._waiting))
        del self._waiting[following]
        self._held[following] = now + self._seconds
        return following

    def late(self, now: float) -> list[Claim]:
        """Give the claims whose turn has lasted too long; they are still to be released."""
        return [claim for claim, deadline in self._held.items() if deadline <= now]
