"""Endpoints: where the replicas of a deployment listen."""

from collections.abc import Iterable
from typing import assert_never

from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from google.protobuf import wrappers_pb2
from igw_model.deployment import DnsBackend, StaticBackend

from igw_xds import names
from igw_xds.plan import Containers, PlannedDeployment, Registered
from igw_xds.resources.messages import socket_address
from igw_xds.resources.metadata import metadata
from igw_xds.settings import HostPort

ONE_OF_THEM = wrappers_pb2.UInt32Value(value=100_000)
"""A deployment keeps all of its share while one of 1,000 replicas is ready (percent, as Envoy multiplies it by the
ready ones' part). By default the others get some of it below 72 %: with each replica that starts, and for as long."""


def deployment_endpoints(deployment: PlannedDeployment) -> endpoint_pb2.ClusterLoadAssignment | None:
    """Give a deployment's endpoints; None for a name, which Envoy resolves."""
    match deployment.backend:
        case StaticBackend(endpoints=addresses):
            return of_deployment(deployment.id, (HostPort(at.address, at.port) for at in addresses))
        case Registered(replicas) | Containers(replicas):
            return of_deployment(deployment.id, replicas)
        case DnsBackend():
            return None
        case other:
            assert_never(other)


def of_deployment(deployment_id: str, addresses: Iterable[HostPort]) -> endpoint_pb2.ClusterLoadAssignment:
    """Give the endpoints of a deployment, each of which says whose it is."""
    cluster = names.deployment_cluster(deployment_id)
    assignment = load_assignment(cluster, addresses, metadata(deployment=deployment_id))
    assignment.policy.overprovisioning_factor.CopyFrom(ONE_OF_THEM)
    return assignment


def load_assignment(
    cluster: str, addresses: Iterable[HostPort], said: base_pb2.Metadata | None = None
) -> endpoint_pb2.ClusterLoadAssignment:
    """Give a cluster's endpoints, all of one locality and priority; `said` is the metadata of each."""
    lb_endpoints = [
        endpoint_components_pb2.LbEndpoint(
            endpoint=endpoint_components_pb2.Endpoint(address=socket_address(at)), metadata=said
        )
        for at in addresses
    ]
    localities = (
        [endpoint_components_pb2.LocalityLbEndpoints(lb_endpoints=lb_endpoints)] if lb_endpoints else []
    )
    return endpoint_pb2.ClusterLoadAssignment(cluster_name=cluster, endpoints=localities)
