"""Names for ids: what is served now, bounded, and nothing of what is gone."""

from typing import Any

from igw_xds.inventory import Inventory, InventoryCollector
from igw_xds.plan import plan
from igw_xds.table import Table
from igw_xds.world import Defined
from prometheus_client import CollectorRegistry

from tests.builders import DOMAIN, deployment, deployment_id, gateway, gateway_id


def inventory(gateways: int, *deployments: dict[str, Any]) -> Inventory:
    """Give an inventory of so many gateways, and deployments by number with these fields."""
    made = [deployment(number, **fields) for number, fields in enumerate(deployments, start=1)]
    planned = plan([gateway(number) for number in range(1, gateways + 1)], made, domain=DOMAIN)
    return Inventory(
        Table({g.id: g for g in planned.gateways}),
        Table({d.id: d for d in planned.deployments}),
        Table({d.id: Defined(d, 1) for d in made}),
    )


def told(found: Inventory, shown: int = 10) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Give what Prometheus is told: labels and value by metric."""
    collector = InventoryCollector(lambda: found, shown)
    return {
        family.name: [(dict(sample.labels), sample.value) for sample in family.samples]
        for family in collector.collect()
    }


def test_gateways_deployments_and_shares() -> None:
    """Names, the model, and the configured share in a gateway."""
    metrics = told(inventory(1, {"traffic": {"weight": 300}}, {"traffic": {"weight": 100}}))
    assert metrics["igw_gateway_info"] == [({"gateway_id": gateway_id(1), "gateway": "gateway-1"}, 1)]
    assert metrics["igw_deployment_info"][0] == (
        {"deployment_id": deployment_id(1), "deployment": "deployment-1", "model": "demo/small"},
        1.0,
    )
    shares = {labels["deployment_id"]: value for labels, value in metrics["igw_traffic_share_ratio"]}
    assert shares == {deployment_id(1): 0.75, deployment_id(2): 0.25}
    assert {value for _, value in metrics["igw_inventory_omitted"]} == {0}


def test_a_disabled_deployment_is_named_and_has_no_share() -> None:
    """So nobody is woken for want of its replicas."""
    metrics = told(inventory(1, {"disabled": True}))
    assert [labels["model"] for labels, _ in metrics["igw_deployment_info"]] == ["demo/small"]
    assert metrics["igw_traffic_share_ratio"] == []


def test_it_is_bounded_and_says_what_it_leaves_out() -> None:
    """At most so many of each kind, in order of id; the rest is a number."""
    metrics = told(inventory(5, *({} for _ in range(4))), shown=3)
    assert [labels["gateway_id"] for labels, _ in metrics["igw_gateway_info"]] == [
        gateway_id(n) for n in (1, 2, 3)
    ]
    assert len(metrics["igw_deployment_info"]) == 3
    omitted = {labels["kind"]: value for labels, value in metrics["igw_inventory_omitted"]}
    assert omitted == {"gateway": 2, "deployment": 1, "share": 1}


def test_what_is_gone_is_not_told() -> None:
    """A series of an object that is no more ends with the next scrape, and is no label that stays for ever."""
    current = [inventory(2)]
    registry = CollectorRegistry()
    registry.register(InventoryCollector(lambda: current[0]))

    def gateways() -> set[str]:
        return {
            s.labels["gateway"]
            for family in registry.collect()
            for s in family.samples
            if "gateway" in s.labels
        }

    assert gateways() == {"gateway-1", "gateway-2"}
    current[0] = inventory(1)
    assert gateways() == {"gateway-1"}
