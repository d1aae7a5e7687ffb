"""When an outage is worth a log line: when it begins and when it ends, and not too often."""

from typing import Any

import structlog

from igw_extauth.identity import Identity, Unavailable

MIN_SECONDS = 10.0
"""Between two lines of one kind: what comes and goes with each question must not fill the log."""


class OutageLog:
    """The log of the outages of one part, `what`; `provider` stands in each of its lines."""

    def __init__(self, provider: str | None = None, *, what: str = "authority") -> None:
        bound: dict[str, Any] = {} if provider is None else {"provider": provider}
        self._log = structlog.get_logger().bind(**bound)
        self._what = what
        self._down = False
        self._next = float("-inf")

    def note(self, identity: Identity, now: float) -> None:
        """Take what the authority answered at `now` (seconds, monotonic); log if that is news."""
        self.tell(identity.reason if isinstance(identity, Unavailable) else None, now)

    def tell(self, reason: str | None, now: float) -> None:
        """Take why it failed at `now`, or None for that it did not; log if that is news."""
        down = reason is not None
        if down == self._down or now < self._next:
            return
        self._down, self._next = down, now + MIN_SECONDS
        if down:
            self._log.warning(f"{self._what}_unavailable", reason=reason)
        else:
            self._log.info(f"{self._what}_available")
