"""The listeners that all gateways share."""

import pytest
from igw_xds.resources.listener import redirecting


@pytest.mark.parametrize(("port", "named"), [(443, 0), (8443, 8443)])
def test_a_redirect_names_the_port_that_clients_use(port: int, named: int) -> None:
    """Unless it is that of https URLs: 0 leaves it out."""
    [host] = redirecting(port).route_config.virtual_hosts
    assert host.routes[0].redirect.port_redirect == named
