"""Durations on hot paths in, a histogram out when Prometheus asks; `tally` does the same for counts."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class Timings(Collector):
    """A histogram of seconds without labels; call it from one thread."""

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        """Begin at nothing; `bounds` are the buckets' upper bounds, ascending, without infinity."""
        self._name = name
        self._text = text
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Add a duration; one that equals a bound is within it."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def collect(self) -> Iterator[Metric]:
        """Give the histogram to Prometheus."""
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        buckets = list(zip(names, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._name, self._text, buckets=buckets, sum_value=self._sum)
