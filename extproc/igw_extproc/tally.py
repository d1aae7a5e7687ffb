"""Exchanges by outcome: plain counters that Prometheus reads when it asks: a request costs an addition."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

ROUTED = "routed"
"""A model was found."""
ABANDONED = "abandoned"
"""The client or Envoy went away before the last answer."""
FAILED = "failed"
"""Envoy's messages came in an order that its filter's configuration does not give."""


class Tally(Collector):
    """Counts outcomes: `routed`, `abandoned`, `failed`, or the code of a refusal; a Prometheus collector."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self._exchanges: Counter[str] = Counter()

    def count(self, outcome: str) -> None:
        """Add one exchange that ended so."""
        self._exchanges[outcome] += 1

    def outcomes(self) -> dict[str, int]:
        """Give the exchanges so far by outcome."""
        return dict(self._exchanges)

    def collect(self) -> Iterator[Metric]:
        """Give `igw_extproc_exchanges_total{outcome}`."""
        family = CounterMetricFamily(
            "igw_extproc_exchanges",
            "HTTP exchanges by outcome: routed, or the code of the refusal.",
            labels=["outcome"],
        )
        for outcome, number in self._exchanges.items():
            family.add_metric([outcome], number)
        yield family
