"""What is counted of an engine and its containers, in the registry given; no labels."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class Metrics:
    """Gauges and counters of one follower."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.connected = Gauge(
            "igw_containers_engine_connected", "1 while the Docker engine answers.", registry=registry
        )
        self.replicas = Gauge(
            "igw_containers_replicas",
            "Replicas that containers make, over all deployments.",
            registry=registry,
        )
        self.left_out = Gauge(
            "igw_containers_left_out", "Labelled containers that are no replica.", registry=registry
        )
        self.listings = Counter(
            "igw_containers_listings", "Times that the engine listed its containers.", registry=registry
        )
