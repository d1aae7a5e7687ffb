"""What the discovery server measures, and what is served and to whom, for Prometheus; docs/metrics.md explains each.

Labels are few: the short names of the resource types. Gauges of state are read when Prometheus asks, so nothing
has to be kept in step. What is named for a dashboard, object by object, is in `inventory`.
"""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from igw_xds.fleet import SHORT_NAMES, Fleet
from igw_xds.publisher import Publisher

PROPAGATION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Seconds: from an Envoy on the same machine to clusters that warm up over minutes."""


class Metrics:
    """What the discovery server counts; each type is there from the start, so its first count is an increase."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register all in a registry, once."""
        self.proxies = Gauge("igw_xds_connected_proxies", "Open ADS streams.", registry=registry)
        self.responses = _counter("responses", "Discovery responses sent.", registry)
        self.resources = _counter("resources", "Resources sent, removals included.", registry)
        self.acks = _counter("acks", "Responses that a proxy accepted.", registry)
        self.nacks = _counter("nacks", "Responses that a proxy refused.", registry)
        self.propagation = Histogram(
            "igw_xds_propagation_seconds",
            "From a snapshot's publication to a proxy's ACK of a response made from it.",
            ["type"],
            registry=registry,
            buckets=PROPAGATION_BUCKETS,
        )
        for kind in SHORT_NAMES.values():
            self.propagation.labels(kind)


def _counter(name: str, text: str, registry: CollectorRegistry) -> Counter:
    counter = Counter(f"igw_xds_{name}", text, ["type"], registry=registry)
    for kind in SHORT_NAMES.values():
        counter.labels(kind)
    return counter


class ServedCollector(Collector):
    """What is served, how far the proxies are with it, and how many definitions are refused."""

    def __init__(self, publisher: Publisher, fleet: Fleet, errors: Callable[[], int]) -> None:
        """Read these whenever Prometheus asks."""
        self._publisher, self._fleet, self._errors = publisher, fleet, errors

    def collect(self) -> Iterator[Metric]:
        """Give the present state."""
        yield CounterMetricFamily(
            "igw_xds_snapshots", "Snapshots published, each unlike the last.", value=self._publisher.published
        )
        resources = GaugeMetricFamily(
            "igw_xds_snapshot_resources", "Resources served now, with those that linger.", labels=["type"]
        )
        for type_url, kind in SHORT_NAMES.items():
            current = self._publisher.current
            resources.add_metric([kind], 0 if current is None else len(current.of(type_url)))
        yield resources
        yield GaugeMetricFamily(
            "igw_xds_synced_proxies", "Proxies that have all they are to have.", value=self._fleet.synced
        )
        yield GaugeMetricFamily(
            "igw_xds_refusing_proxies", "Proxies that refuse something now.", value=self._fleet.refusing
        )
        yield GaugeMetricFamily(
            "igw_xds_definition_errors",
            "Errors in definition files; what was served before them is served.",
            value=self._errors(),
        )
