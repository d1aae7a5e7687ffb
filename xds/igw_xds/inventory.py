"""The plan's objects by name, for Prometheus: what turns the ids in Envoy's cluster names into names people gave.

Read from the present plan at each scrape: what is gone is gone, and nothing is kept. At most `SHOWN` objects of a
kind are told, in order of id, so that a fleet of ten thousand does not drown Prometheus; the rest is counted.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from igw_model.deployment import Deployment
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from igw_xds.plan import Plan
from igw_xds.world import Defined

SHOWN = 1000
GATEWAY, DEPLOYMENT, SHARE = "gateway", "deployment", "share"


@dataclass(frozen=True, slots=True)
class Inventory:
    """A plan, and the definitions it was made of by id: a disabled deployment has no share that tells its model."""

    plan: Plan = field(default_factory=Plan)
    deployments: Mapping[str, Defined[Deployment]] = field(default_factory=dict)


class InventoryCollector(Collector):
    """Gives the present inventory to Prometheus."""

    def __init__(self, current: Callable[[], Inventory], shown: int = SHOWN) -> None:
        """Tell of at most `shown` objects of each kind."""
        self._current, self._shown = current, shown

    def collect(self) -> Iterator[Metric]:
        """Give a series for each gateway, deployment and share, and how many were left out."""
        found = self._current()
        gateways = [(g.id, g.name) for g in islice(found.plan.gateways, self._shown)]
        deployments = [
            (d.id, d.name, found.deployments[d.id].definition.model.name)
            for d in islice(found.plan.deployments, self._shown)
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
        told = list(islice(_ratios(found.plan), self._shown))
        for labels, ratio in told:
            shares.add_metric(labels, ratio)
        yield shares
        omitted = GaugeMetricFamily(
            "igw_inventory_omitted",
            "Objects that the igw_*_info and share metrics leave out, by kind.",
            labels=["kind"],
        )
        every = sum(len(model.shares) for gateway in found.plan.gateways for model in gateway.models)
        omitted.add_metric([GATEWAY], max(0, len(found.plan.gateways) - self._shown))
        omitted.add_metric([DEPLOYMENT], max(0, len(found.plan.deployments) - self._shown))
        omitted.add_metric([SHARE], every - len(told))
        yield omitted


def _infos(name: str, text: str, labels: Sequence[str], rows: Sequence[Sequence[str]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for row in rows:
        family.add_metric(row, 1)
    return family


def _ratios(plan: Plan) -> Iterator[tuple[Sequence[str], float]]:
    for gateway in plan.gateways:
        for model in gateway.models:
            whole = sum(share.weight for share in model.shares)
            for share in model.shares:
                labels = (gateway.id, gateway.name, model.name, share.deployment_id)
                yield labels, share.weight / whole
