"""The listeners that all gateways share."""

import pytest
from envoy.extensions.filters.http.ext_proc.v3.ext_proc_pb2 import ExternalProcessor
from igw_xds.resources.filters import http_filters
from igw_xds.resources.listener import redirecting
from igw_xds.settings import MIB, BodyRouting, DataPlane


@pytest.mark.parametrize(("port", "named"), [(443, 0), (8443, 8443)])
def test_a_redirect_names_the_port_that_clients_use(port: int, named: int) -> None:
    """Unless it is that of https URLs: 0 leaves it out."""
    [host] = redirecting(port).route_config.virtual_hosts
    assert host.routes[0].redirect.port_redirect == named


@pytest.mark.parametrize(("mebibytes", "seconds"), [(1, 5), (16, 5), (64, 20)])
def test_extproc_has_time_for_the_largest_body(mebibytes: int, seconds: int) -> None:
    """More where larger ones are let in, for several come at once."""
    chain = http_filters(DataPlane(body_routing=BodyRouting.EXTPROC, max_body_bytes=mebibytes * MIB))
    config = ExternalProcessor()
    assert [one.typed_config.Unpack(config) for one in chain].count(True) == 1
    assert config.message_timeout.seconds == seconds
