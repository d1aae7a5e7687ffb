"""What several processes count, added up: a registry's metrics as values, their sum, and its text. Pure."""

from collections.abc import Iterable, Iterator

import msgspec
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

_OF_ONE_PROCESS = {"process_start_time_seconds", "process_max_fds", "python_info"}
"""No sum of them says anything."""
_LEAST = {"igw_tls_not_after_seconds"}
"""Of these the least says it all: what ends first."""
_LASTING = {"counter", "histogram"}


class Family(msgspec.Struct, frozen=True, array_like=True):
    """One metric's samples: each with its name, its labels and its value."""

    name: str
    kind: str
    text: str
    samples: tuple[tuple[str, dict[str, str], float], ...]


Families = tuple[Family, ...]


def families(registry: Collector = REGISTRY) -> Families:
    """Give all that a process counts; the times at which its counters began are left out."""
    return tuple(_family(metric) for metric in registry.collect())


def _family(metric: Metric) -> Family:
    samples = ((s.name, s.labels, s.value) for s in metric.samples if not s.name.endswith("_created"))
    return Family(metric.name, metric.type, metric.documentation, tuple(samples))


def summable(given: Families) -> Families:
    """Give those whose sum over several processes says something."""
    return tuple(family for family in given if family.name not in _OF_ONE_PROCESS)


def lasting(given: Families) -> Families:
    """Give what stays when its process is gone: what was counted, not how things stood."""
    return tuple(family for family in given if family.kind in _LASTING)


def added(parts: Iterable[Families]) -> Families:
    """Add up what several processes count, or take the least, in the order in which names and labels come first."""
    first: dict[str, Family] = {}
    sums: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for family in (family for part in parts for family in part):
        first.setdefault(family.name, family)
        values = sums.setdefault(family.name, {})
        for name, labels, value in family.samples:
            key = (name, tuple(sorted(labels.items())))
            values[key] = (
                min(values.get(key, value), value) if family.name in _LEAST else values.get(key, 0) + value
            )
    return tuple(
        Family(name, family.kind, family.text, tuple((n, dict(ls), v) for (n, ls), v in sums[name].items()))
        for name, family in first.items()
    )


class _Given(Collector):
    def __init__(self, given: Families) -> None:
        self._given = given

    def collect(self) -> Iterator[Metric]:
        for family in self._given:
            metric = Metric(family.name, family.text, family.kind)
            for name, labels, value in family.samples:
                metric.add_sample(name, labels, value)
            yield metric


def exposition(given: Families) -> bytes:
    """Give families in Prometheus' text format."""
    return generate_latest(_Given(given))
