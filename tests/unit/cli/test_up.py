"""`igw up`: what it lets callers of its API do."""

from pathlib import Path

from igw_cli.up import LOOPBACK_NETWORKS, backend_networks

ROLES = Path("roles.yaml")


def test_where_model_servers_may_be() -> None:
    """On loopback for who is alone there; others, who would reach the admin interface so, only where it is said."""
    assert backend_networks(None, None) == LOOPBACK_NETWORKS
    assert backend_networks(None, ROLES) == []
    assert backend_networks([], ROLES) == []
    assert backend_networks(["192.0.2.0/24"], ROLES) == ["192.0.2.0/24"]
    assert backend_networks(["192.0.2.0/24"], None) == ["192.0.2.0/24"]
