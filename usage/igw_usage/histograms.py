"""Histograms with labels: values in; Prometheus' families and OTLP's data points out. Call from one thread."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

MAX_SERIES: Final = 2_000
OTHER: Final = "other"

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Instrument:
    """What is measured, by OpenTelemetry's names, and in which buckets."""

    name: str
    unit: str
    text: str
    labels: Sequence[str]
    bounds: Sequence[float]
    """Upper bounds, ascending, without infinity; a value that equals one is within it."""

    @property
    def prometheus_name(self) -> str:
        """Give Prometheus' name by OpenTelemetry's rules: units in braces are no part of it."""
        name = _underlined(self.name)
        return f"{name}_seconds" if self.unit == "s" else name


class _Series:
    __slots__ = ("counts", "sum")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.sum = 0.0


class Histograms(Collector):
    """One instrument, a histogram for each combination of labels; there are only so many."""

    def __init__(self, instrument: Instrument) -> None:
        """Begin at nothing."""
        self._instrument = instrument
        self._series: dict[Labels, _Series] = {}

    def observe(self, labels: Labels, value: float) -> None:
        """Add a value; where there are too many series, to one whose labels are all `other`."""
        series = self._series.get(labels) or self._new(labels)
        series.counts[bisect_left(self._instrument.bounds, value)] += 1
        series.sum += value

    def _new(self, labels: Labels) -> _Series:
        if len(self._series) >= MAX_SERIES:
            labels = (OTHER,) * len(labels)
        return self._series.setdefault(labels, _Series(len(self._instrument.bounds) + 1))

    def collect(self) -> Iterator[Metric]:
        """Give the histograms to Prometheus."""
        of = self._instrument
        names = [*(str(float(bound)) for bound in of.bounds), "+Inf"]
        labels = [_underlined(name) for name in of.labels]
        family = HistogramMetricFamily(of.prometheus_name, of.text, labels=labels)
        for values, series in self._series.items():
            buckets = list(zip(names, accumulate(series.counts), strict=True))
            family.add_metric(values, buckets, series.sum)
        yield family

    def otlp(self, began: int, now: int) -> Mapping[str, Any]:
        """Give OTLP's JSON of the metric: all since `began`; both times in nanoseconds since 1970.

        Source: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding; 64-bit integers are text there.
        """
        of = self._instrument
        points = [self._point(labels, series, began, now) for labels, series in self._series.items()]
        histogram = {"aggregationTemporality": 2, "dataPoints": points}
        return {"name": of.name, "unit": of.unit, "description": of.text, "histogram": histogram}

    def _point(self, labels: Labels, series: _Series, began: int, now: int) -> Mapping[str, Any]:
        named = zip(self._instrument.labels, labels, strict=True)
        return {
            "attributes": [attribute(name, value) for name, value in named if value],
            "startTimeUnixNano": str(began),
            "timeUnixNano": str(now),
            "count": str(sum(series.counts)),
            "sum": series.sum,
            "bucketCounts": [str(count) for count in series.counts],
            "explicitBounds": list(self._instrument.bounds),
        }


def attribute(name: str, value: str) -> Mapping[str, Any]:
    """Give an attribute in OTLP's JSON."""
    return {"key": name, "value": {"stringValue": value}}


def _underlined(name: str) -> str:
    return name.replace(".", "_")
