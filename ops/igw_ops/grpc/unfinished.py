"""Messages on their way that need no turn: how much of them is held, and which have to go. Pure."""

from collections import OrderedDict
from itertools import takewhile
from typing import Generic, TypeVar

Claim = TypeVar("Claim")


class Unfinished(Generic[Claim]):
    """Which messages have begun, in that order, and until when each may come. Times are the caller's, in seconds."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._deadlines: OrderedDict[Claim, float] = OrderedDict()
        self.held = 0
        """Bytes of them; the caller counts."""

    def begin(self, claim: Claim, now: float) -> None:
        """Take a message that has begun."""
        self._deadlines[claim] = now + self._seconds

    def release(self, claim: Claim) -> None:
        """Forget a message: it is whole or given up. Nothing happens when it is not known."""
        self._deadlines.pop(claim, None)

    def late(self, now: float) -> list[Claim]:
        """Give the messages that have taken too long; they are still to be released."""
        return list(takewhile(lambda claim: self._deadlines[claim] <= now, self._deadlines))

    def excess(self) -> Claim | None:
        """Give the message that began first, while more is held than may be: an honest one is whole in no time."""
        return next(iter(self._deadlines), None) if self.held > self._most else None
