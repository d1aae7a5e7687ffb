"""A snapshot is whole: what one resource names, another one is."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from envoy.extensions.clusters.aggregate.v3.cluster_pb2 import ClusterConfig
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from igw_model.deployment import Deployment
from igw_model.gateway import Gateway
from igw_xds.plan import plan
from igw_xds.resources.everything import snapshot_of
from igw_xds.settings import AuthTransport, DataPlane
from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SCOPE, Snapshot

from tests.builders import (
    DOMAIN,
    containers,
    deployment,
    deployment_id,
    gateway,
    gateway_id,
    planned,
    served,
)
from tests.unit.resources.plans import definitions

MESSAGES: dict[str, Any] = {
    CLUSTER: Cluster,
    ENDPOINTS: ClusterLoadAssignment,
    LISTENER: Listener,
    SCOPE: ScopedRouteConfiguration,
    ROUTES: RouteConfiguration,
}


def messages(snapshot: Snapshot, type_url: str) -> dict[str, Any]:
    """Give the messages of a type by the name that they are served under."""
    found = {}
    for name, resource in snapshot.of(type_url).items():
        found[name] = MESSAGES[type_url]()
        assert resource.body.Unpack(found[name])
    return found


def named_clusters(value: Any) -> Iterator[str]:
    """Give every cluster that a message names, at any depth, extensions included."""
    match value:
        case Mapping():
            for key, item in value.items():
                if key in {"cluster", "clusterName"} and isinstance(item, str):
                    yield item
                if key == "clusters" and all(isinstance(entry, str) for entry in item):
                    yield from item
                if key == "weightedClusters":
                    yield from (arm["name"] for arm in item["clusters"])
                yield from named_clusters(item)
        case list():
            for item in value:
                yield from named_clusters(item)


@given(definitions())
@settings(max_examples=60, deadline=None)
def test_any_plan_gives_a_consistent_snapshot(given_definitions: list[Gateway | Deployment]) -> None:
    """Nothing dangles: no cluster, no endpoints, no route configuration is named that is not there."""
    snapshot = served(*given_definitions)
    found = messages(snapshot, CLUSTER)
    eds = {name for name, cluster in found.items() if cluster.HasField("eds_cluster_config")}
    assert eds == set(snapshot.of(ENDPOINTS))
    for message in [
        *messages(snapshot, ROUTES).values(),
        *messages(snapshot, LISTENER).values(),
        *found.values(),
    ]:
        assert set(named_clusters(MessageToDict(message))) <= set(found)
    scoped = [scope.route_configuration_name for scope in messages(snapshot, SCOPE).values()]
    assert set(scoped) == set(snapshot.of(ROUTES))


@given(definitions())
@settings(max_examples=60, deadline=None)
def test_names_are_unique_and_their_own(given_definitions: list[Gateway | Deployment]) -> None:
    """No two resources of a type share a name, and each is served under the name inside it."""
    made, snapshot = planned(*given_definitions), served(*given_definitions)
    assert len(snapshot.of(ROUTES)) == len(made.gateways)
    keys = {scope.key.fragments[0].string_key for scope in messages(snapshot, SCOPE).values()}
    assert len(keys) == len(snapshot.of(SCOPE)) == sum(len(gateway.hosts) for gateway in made.gateways)
    for type_url in MESSAGES:
        for name, message in messages(snapshot, type_url).items():
            assert name == (message.cluster_name if type_url == ENDPOINTS else message.name)


@given(definitions())
@settings(max_examples=30, deadline=None)
def test_equal_definitions_give_equal_snapshots(given_definitions: list[Gateway | Deployment]) -> None:
    """Versions are made from content: the same definitions in any order give the same bytes."""
    snapshot, again = served(*given_definitions), served(*reversed(given_definitions))
    assert snapshot == again
    for type_url in MESSAGES:
        bodies = [{r.name: r.body.value for r in s.of(type_url).values()} for s in (snapshot, again)]
        assert bodies[0] == bodies[1]


@given(definitions())
@settings(max_examples=30, deadline=None)
def test_a_split_falls_back_on_every_other_share(given_definitions: list[Gateway | Deployment]) -> None:
    """An unready deployment's share goes to the others (section 4): each arm names all of the split."""
    snapshot = served(*given_definitions)
    found = messages(snapshot, CLUSTER)
    for configuration in messages(snapshot, ROUTES).values():
        for route in configuration.virtual_hosts[0].routes:
            arms = [arm.name for arm in route.route.weighted_clusters.clusters]
            members = [set(_members(found[arm])) for arm in arms]
            assert all(member == members[0] and len(member) == len(arms) for member in members)
            assert len({_members(found[arm])[0] for arm in arms}) == len(arms)


def _members(cluster: Cluster) -> list[str]:
    config = ClusterConfig()
    assert cluster.cluster_type.typed_config.Unpack(config)
    return list(config.clusters)


@pytest.mark.parametrize("transport", AuthTransport)
def test_the_services_are_always_there(transport: AuthTransport) -> None:
    """extauth, its log and extproc have their clusters, gateways or none, over either transport."""
    snapshot = served(data_plane=DataPlane(auth_transport=transport))
    assert set(snapshot.of(CLUSTER)) == {"igw-extauth", "igw-extauth-log", "igw-extproc"}
    assert set(snapshot.of(LISTENER)) == {"ingress"}
    assert not snapshot.of(SCOPE)
    assert not snapshot.of(ROUTES)


def test_a_deployment_without_backend_has_no_endpoints_yet() -> None:
    """Its cluster waits for endpoints, which are there and empty, so the model answers 503 and not 404."""
    unplaced: dict[str, Any] = {
        "model": {"name": "demo/small", "bucket": "b", "path": "p"},
        "runtime": {"engine": "vllm"},
        "resources": {"instanceType": "gd", "gpuCount": 1},
        "autoscaling": {"min": 1, "max": 1},
        "staticBackend": None,
    }
    snapshot = served(gateway(), deployment(1, **unplaced))
    [assignment] = messages(snapshot, ENDPOINTS).values()
    assert not assignment.endpoints


def test_containers_are_endpoints_that_are_asked_often_until_they_answer() -> None:
    """A container that starts waits for its first good answer: unlike one that answers, it is asked twice a second."""
    contained = deployment(1, dockerBackend={"port": 8000, "healthCheck": {"path": "/ready"}})
    found = {contained.id: containers(contained, "172.18.0.5", "172.18.0.4")}
    snapshot = snapshot_of(plan([gateway()], [contained], domain=DOMAIN, replicas=found), DataPlane())
    [assignment] = messages(snapshot, ENDPOINTS).values()
    [locality] = assignment.endpoints
    sockets = [entry.endpoint.address.socket_address for entry in locality.lb_endpoints]
    assert [(at.address, at.port_value) for at in sockets] == [("172.18.0.4", 8000), ("172.18.0.5", 8000)]
    [check] = messages(snapshot, CLUSTER)[f"deployment/{contained.id}"].health_checks
    assert MessageToDict(check) == {
        "timeout": "2s",
        "interval": "2s",
        "intervalJitter": "0.200s",
        "unhealthyInterval": "0.500s",
        "noTrafficInterval": "0.500s",
        "noTrafficHealthyInterval": "2s",
        "unhealthyThreshold": 2,
        "healthyThreshold": 1,
        "httpHealthCheck": {"host": "health-check.inference-gateway", "path": "/ready"},
    }
    [other] = messages(served(gateway(), deployment(1)), CLUSTER)[f"deployment/{contained.id}"].health_checks
    assert not other.HasField("unhealthy_interval")


def test_splits_with_the_same_first_share_are_told_apart() -> None:
    """One deployment in the splits of two gateways falls back on others in each: two clusters, two names."""
    snapshot = served(gateway(1), gateway(2), deployment(1, on=[1, 2]), deployment(2), deployment(3, on=[2]))
    assert len([name for name in snapshot.of(CLUSTER) if name.startswith("split/")]) == 4


def test_resources_name_the_clusters_that_they_need() -> None:
    """Routes need a lone deployment's cluster, or the clusters of their split, and those all of its members."""
    definitions: list[Gateway | Deployment] = [gateway(1), gateway(2), deployment(1), deployment(2)]
    snapshot = served(*definitions, deployment(3, on=[2]))
    clusters, routes = snapshot.of(CLUSTER), snapshot.of(ROUTES)
    lone, members = (f"deployment/{deployment_id(3)}", {f"deployment/{deployment_id(n)}" for n in (1, 2)})
    splits = {name for name in clusters if name.startswith("split/")}
    assert routes[f"gateway/{gateway_id(2)}"].needs == frozenset({lone})
    assert routes[f"gateway/{gateway_id(1)}"].needs == frozenset(splits)
    assert {name: clusters[name].needs for name in splits} == dict.fromkeys(splits, frozenset(members))
