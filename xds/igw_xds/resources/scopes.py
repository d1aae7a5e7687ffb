"""Scopes: which host name leads to which gateway's routes. One gateway's change is one resource's change."""

from envoy.config.route.v3 import scoped_route_pb2

from igw_xds import names


def scope(host: str, gateway_id: str) -> scoped_route_pb2.ScopedRouteConfiguration:
    """Lead one host name, in its normal spelling, to a gateway."""
    configuration = scoped_route_pb2.ScopedRouteConfiguration
    return configuration(
        name=names.scope(host),
        route_configuration_name=names.routes(gateway_id),
        key=configuration.Key(fragments=[configuration.Key.Fragment(string_key=host)]),
    )
