"""When an authority's outage is worth a log line: when it begins and when it ends, and not too often."""

import structlog

from igw_extauth.identity import Identity, Unavailable

MIN_SECONDS = 10.0
"""Between two lines of one authority: one that comes and goes with each question must not fill the log."""


class OutageLog:
    """The log of one authority's outages."""

    def __init__(self, provider: str) -> None:
        self._log = structlog.get_logger().bind(provider=provider)
        self._down = False
        self._next = float("-inf")

    def note(self, identity: Identity, now: float) -> None:
        """Take what the authority answered at `now` (seconds, monotonic); log if that is news."""
        down = isinstance(identity, Unavailable)
        if down == self._down or now < self._next:
            return
        self._down, self._next = down, now + MIN_SECONDS
        if isinstance(identity, Unavailable):
            self._log.warning("authority_unavailable", reason=identity.reason)
        else:
            self._log.info("authority_available")
