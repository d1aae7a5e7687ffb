"""Scopes: which host name leads to which gateway's routes. One gateway's change is one resource's change."""

from envoy.config.route.v3 import scoped_route_pb2

from igw_xds import names
from igw_xds.plan import Plan


def scopes(plan: Plan) -> list[scoped_route_pb2.ScopedRouteConfiguration]:
    """Give a scope for each host name of each gateway."""
    return [scope(host, gateway.id) for gateway in plan.gateways for host in gateway.hosts]


def scope(host: str, gateway_id: str) -> scoped_route_pb2.ScopedRouteConfiguration:
    """Lead one host name, in its normal spelling, to a gateway."""
    configuration = scoped_route_pb2.ScopedRouteConfiguration
    return configuration(
        name=names.scope(host),
        route_configuration_name=names.routes(gateway_id),
        key=configuration.Key(fragments=[configuration.Key.Fragment(string_key=host)]),
    )
