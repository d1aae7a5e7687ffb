"""Exchanges by outcome, and how long they took."""

from collections.abc import Iterator

from igw_ops import tally
from igw_ops.timings import Timings
from prometheus_client.metrics_core import Metric

ROUTED = "routed"
"""A model was found."""
ABANDONED = "abandoned"
"""The client or Envoy went away before the last answer."""
FAILED = "failed"
"""Envoy's messages came in an order that its filter's configuration does not give."""


class Tally(tally.Tally):
    """Counts outcomes: `routed`, `abandoned`, `failed`, or the code of a refusal."""

    def __init__(self) -> None:
        """Begin at nothing."""
        text = "HTTP exchanges by outcome: routed, or the code of the refusal."
        super().__init__("igw_extproc_exchanges", text, ["outcome"])
        self._seconds = Timings(
            "igw_extproc_exchange_seconds",
            "From an exchange's first message to its last answer; behind headers the client's upload is within it.",
            (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )

    def ended(self, outcome: str, seconds: float) -> None:
        """Count an exchange that took so long."""
        self.count(outcome)
        self._seconds.observe(seconds)

    def collect(self) -> Iterator[Metric]:
        """Give both to Prometheus."""
        yield from super().collect()
        yield from self._seconds.collect()

    def outcomes(self) -> dict[str, int]:
        """Give the exchanges so far by outcome."""
        return {outcome: number for (outcome,), number in self.counts().items()}
