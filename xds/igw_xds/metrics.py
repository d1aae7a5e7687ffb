"""What the discovery server measures, and what is served and to whom, for Prometheus; docs/metrics.md explains each.

Labels are few: the short names of the resource types. Gauges of state are read when Prometheus asks, so nothing
has to be kept in step. What is named for a dashboard, object by object, is in `inventory`.
"""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from igw_xds.distribution import Distributions
from igw_xds.fleet import Fleet
from igw_xds.snapshot import SHORT_NAMES

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
        self.bytes = _counter("sent_bytes", "Bytes of responses sent.", registry)
        propagation = Histogram(
            "igw_xds_propagation_seconds",
            "From a change's publication to a proxy's ACK of a response made from it.",
            ["type"],
            registry=registry,
            buckets=PROPAGATION_BUCKETS,
        )
        self.propagation: Mapping[str, Histogram] = {
            type_url: propagation.labels(kind) for type_url, kind in SHORT_NAMES.items()
        }


def _counter(name: str, text: str, registry: CollectorRegistry) -> Mapping[str, Counter]:
    """Give a counter for each type, by type URL: to look a label up costs more than to count."""
    counter = Counter(f"igw_xds_{name}", text, ["type"], registry=registry)
    return {type_url: counter.labels(kind) for type_url, kind in SHORT_NAMES.items()}


class ServedCollector(Collector):
    """What is served, how far the proxies are with it, and how many definitions are refused."""

    def __init__(self, zones: Distributions, fleet: Fleet, errors: Callable[[], int]) -> None:
        """Read these whenever Prometheus asks."""
        self._zones, self._fleet, self._errors = zones, fleet, errors

    def collect(self) -> Iterator[Metric]:
        """Give the present state."""
        zones, proxies = list(self._zones), list(self._fleet)
        for name, text, count in (
            ("snapshots", "Changes of what is served, in any zone.", self._zones.published),
            (
                "canary_timeouts",
                "Changes that went on before their canary accepted them.",
                sum(zone.rollout.timeouts for zone in zones),
            ),
        ):
            yield CounterMetricFamily(f"igw_xds_{name}", text, value=count)
        resources = GaugeMetricFamily(
            "igw_xds_snapshot_resources",
            "Resources served now, in all zones, with those that linger.",
            labels=["type"],
        )
        for type_url, kind in SHORT_NAMES.items():
            served = [zone.rollout.served for zone in zones if zone.rollout.served is not None]
            resources.add_metric([kind], sum(len(snapshot.of(type_url)) for snapshot in served))
        yield resources
        yield from (
            GaugeMetricFamily(f"igw_xds_{name}", text, value=count)
            for name, text, count in (
                ("zones", "Zones that have gateways, or proxies.", len(zones)),
                ("synced_proxies", "Proxies that have all they are to have.", sum(p.synced for p in proxies)),
                (
                    "refusing_proxies",
                    "Proxies that refuse something now.",
                    sum(bool(p.rejections) for p in proxies),
                ),
                (
                    "stray_proxies",
                    "Proxies of a zone that is not one of ours: they get nothing.",
                    sum(p.stray for p in proxies),
                ),
                (
                    "contained_resources",
                    "Refused resources that no proxy is given.",
                    sum(len(zone.rollout.refused) for zone in zones),
                ),
                (
                    "definition_errors",
                    "Errors in definition files; what was served before them is served.",
                    self._errors(),
                ),
            )
        )
