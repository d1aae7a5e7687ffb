"""What an installation decides for the API: how gateways are reached, and where backends may be. Pure."""

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from igw_model.definitions import gateway_host
from igw_model.text import normal_host
from igw_ops.urls import http_url

from igw_api.parameters import Parameters

Network = IPv4Network | IPv6Network
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Endpoints:
    """How clients reach gateways: `https://api.<GATEWAY-ID>.<domain>`, with the port where it is not the usual one."""

    scheme: str = "https"
    domain: str = "gw.localhost"
    port: int = 443

    def of(self, gateway_id: str, additional_dns: tuple[str, ...]) -> list[str]:
        """Give a gateway's endpoints, its generated name first."""
        port = "" if _PORTS.get(self.scheme) == self.port else f":{self.port}"
        hosts = (gateway_host(gateway_id, self.domain), *map(normal_host, additional_dns))
        return [f"{self.scheme}://{host}{port}" for host in dict.fromkeys(hosts)]


@dataclass(frozen=True, slots=True)
class Backends:
    """Where model servers may be: a caller must not point a gateway at an address that is only ours to reach."""

    networks: tuple[Network, ...] = ()
    dns: bool = False
    """Whether `dnsBackend` may be used: what a name resolves to cannot be held to `networks`."""
    docker: bool = False
    """Whether `dockerBackend` may be used: nor can the addresses of containers, which are the host's to choose."""

    def allow(self, address: str) -> bool:
        """Say whether an IP address is in one of the networks; an IPv4 address mapped into IPv6 counts as IPv4."""
        found = ip_address(address)
        if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return any(found in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class Settings:
    """All that an installation decides for the operations."""

    parameters: Parameters = field(default_factory=Parameters)
    endpoints: Endpoints = field(default_factory=Endpoints)
    backends: Backends = field(default_factory=Backends)
    usage_url: str | None = None
    """The usage collector's operations port; None: there is none to ask."""

    def __post_init__(self) -> None:
        """Refuse what is no URL. Raises ValueError."""
        if self.usage_url is not None and not _is_http(self.usage_url):
            raise ValueError(f"the usage collector must be an http:// or https:// URL: {self.usage_url!r}")


def _is_http(text: str) -> bool:
    try:
        return not urlsplit(http_url(text)).query
    except ValueError:
        return False
