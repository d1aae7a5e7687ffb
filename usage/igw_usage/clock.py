"""Two ways to tell the time: by the machine's clock, which may be set, and as if it had not been since the start."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds since 1970: when the process began, and now by both clocks."""

    opened: float
    now: float
    steady: float


class Clock:
    """The time of one process. When something was is told by `now`, how long ago it was by `steady`."""

    def __init__(self, now: Callable[[], float], ticks: Callable[[], float]) -> None:
        """Begin; `now` gives seconds since 1970 by a clock that may be set, `ticks` seconds by one that may not."""
        self.now = now
        self._ticks = ticks
        self._opened = now()
        self._opened_ticks = ticks()

    def steady(self) -> float:
        """Give seconds since 1970, as if no clock had been set since the start."""
        return self._opened + self._ticks() - self._opened_ticks

    def times(self) -> Times:
        """Give all at once."""
        return Times(self._opened, self.now(), self.steady())
