"""What is served by name, for Prometheus: what turns the ids in Envoy's cluster names into names people gave.

Read from what is planned at each scrape: what is gone is gone, and nothing is kept. At most `SHOWN` objects of a
kind are told, in order of id, so that a fleet of ten thousand does not drown Prometheus; the rest is counted.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from igw_model.deployment import Deployment
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from igw_xds.plan import PlannedDeployment, PlannedGateway
from igw_xds.table import Table
from igw_xds.world import Defined

SHOWN = 1000
GATEWAY, DEPLOYMENT, SHARE = "gateway", "deployment", "share"


@dataclass(frozen=True, slots=True)
class Inventory:
    """What is planned, and what is defined, by id: a disabled deployment has no share that tells its model."""

    gateways: Table[PlannedGateway] = field(default_factory=Table)
    deployments: Table[PlannedDeployment] = field(default_factory=Table)
    defined: Table[Defined[Deployment]] = field(default_factory=Table)


class InventoryCollector(Collector):
    """Gives the present inventory to Prometheus."""

    def __init__(self, current: Callable[[], Inventory], shown: int = SHOWN) -> None:
        """Tell of at most `shown` objects of each kind."""
        self._current, self._shown = current, shown

    def collect(self) -> Iterator[Metric]:
        """Give a series for each gateway, deployment and share, and how many were left out."""
        found = self._current()
        gateways = [(key, found.gateways[key].name) for key in heapq.nsmallest(self._shown, found.gateways)]
        deployments = [
            (key, found.deployments[key].name, found.defined[key].definition.model.name)
            for key in heapq.nsmallest(self._shown, found.deployments)
            if key in found.defined  # the one may have been read before a change and the other after it
        ]
        yield _infos(
            "igw_gateway_info", "A gateway that is served; always 1.", ["gateway_id", "gateway"], gateways
        )
        yield _infos(
            "igw_deployment_info",
            "A deployment that is served; always 1.",
            ["deployment_id", "deployment", "model"],
            deployments,
        )
        yield from self._shares(found)

    def _shares(self, found: Inventory) -> Iterator[Metric]:
        shares = GaugeMetricFamily(
            "igw_traffic_share_ratio",
            "A deployment's configured share of a model's requests at a gateway, 0 to 1.",
            labels=["gateway_id", "gateway", "model", "deployment_id"],
        )
        every = {key: count for key, gateway in found.gateways.items() if (count := _count(gateway))}
        first = (found.gateways[key] for key in heapq.nsmallest(self._shown, every))
        told = list(islice(_ratios(first), self._shown))
        for labels, ratio in told:
            shares.add_metric(labels, ratio)
        yield shares
        omitted = GaugeMetricFamily(
            "igw_inventory_omitted",
            "Objects that the igw_*_info and share metrics leave out, by kind.",
            labels=["kind"],
        )
        omitted.add_metric([GATEWAY], max(0, len(found.gateways) - self._shown))
        omitted.add_metric([DEPLOYMENT], max(0, len(found.deployments) - self._shown))
        omitted.add_metric([SHARE], sum(every.values()) - len(told))
        yield omitted


def _infos(name: str, text: str, labels: Sequence[str], rows: Sequence[Sequence[str]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for row in rows:
        family.add_metric(row, 1)
    return family


def _count(gateway: PlannedGateway) -> int:
    return sum(len(model.shares) for model in gateway.models)


def _ratios(gateways: Iterable[PlannedGateway]) -> Iterator[tuple[Sequence[str], float]]:
    for gateway in gateways:
        for model in gateway.models:
            whole = sum(share.weight for share in model.shares)
            for share in model.shares:
                labels = (gateway.id, gateway.name, model.name, share.deployment_id)
                yield labels, share.weight / whole
