"""Definitions in, the plan out: hosts, policies, and each model's normalised shares. Pure.

The plan says what is to be served in the problem's words; nothing of Envoy is in it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import assert_never

from igw_model.definitions import gateway_host
from igw_model.deployment import Deployment, DnsBackend, DockerBackend, HealthCheck, StaticBackend
from igw_model.gateway import Gateway, Routing, WeightsAndBiasesAuth
from igw_model.policy import Policy
from igw_model.record import NEVER, Replica
from igw_model.text import normal_host

from igw_xds.access import KeyOwner, policy
from igw_xds.settings import HostPort


@dataclass(frozen=True, slots=True)
class Share:
    """A deployment's part of a model's traffic: `weight` of the sum over the model's shares."""

    deployment_id: str
    weight: int


@dataclass(frozen=True, slots=True)
class PlannedModel:
    """A model of a gateway; without shares it is known, but nothing serves it now."""

    name: str
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class PlannedGateway:
    """One gateway as it is served."""

    id: str
    name: str
    hosts: tuple[str, ...]
    policy: Policy
    routing: Routing
    source_ranges: tuple[str, ...]
    models: tuple[PlannedModel, ...]
    reports_usage: bool = False
    """What its requests used is reported to W&B."""


@dataclass(frozen=True, slots=True)
class Registered:
    """Replicas that registered themselves, sorted; none yet is a state like others."""

    replicas: tuple[HostPort, ...] = ()


@dataclass(frozen=True, slots=True)
class Containers:
    """Replicas found in containers, sorted, and how they are asked for their health; none yet is a state, too."""

    replicas: tuple[HostPort, ...]
    health_check: HealthCheck


Location = StaticBackend | DnsBackend | Registered | Containers
"""Where a deployment's replicas are."""


@dataclass(frozen=True, slots=True)
class PlannedDeployment:
    """A deployment as it is served."""

    id: str
    name: str
    backend: Location


@dataclass(frozen=True, slots=True)
class Plan:
    """All that one zone serves, sorted by id."""

    gateways: tuple[PlannedGateway, ...] = ()
    deployments: tuple[PlannedDeployment, ...] = ()


NO_REPLICAS: Mapping[str, Sequence[Replica]] = MappingProxyType({})
NO_OWNERS: Mapping[str, KeyOwner] = MappingProxyType({})


def plan(  # noqa: PLR0913 - all that it is made of
    gateways: Iterable[Gateway],
    deployments: Iterable[Deployment],
    *,
    domain: str,
    zone: str | None = None,
    replicas: Mapping[str, Sequence[Replica]] = NO_REPLICAS,
    owners: Mapping[str, KeyOwner] = NO_OWNERS,
) -> Plan:
    """Plan the gateways of a zone (of every zone, without one) and the deployments attached to them.

    `replicas` are those that registered themselves or were found in containers, by deployment; `owners` says of
    gateways with a key of their own whose that is.
    """
    served = sorted((g for g in gateways if serves(g, zone)), key=lambda g: g.id)
    attached: dict[str, list[Deployment]] = {gateway.id: [] for gateway in served}
    wanted: dict[str, Deployment] = {}
    for deployment in deployments:
        for gateway_id in deployment.gateway_ids:
            if gateway_id in attached:
                attached[gateway_id].append(deployment)
                wanted[deployment.id] = deployment
    return Plan(
        tuple([planned_gateway(g, attached[g.id], domain, owners.get(g.id)) for g in served]),
        tuple([planned_deployment(wanted[key], replicas.get(key, ())) for key in sorted(wanted)]),
    )


def planned_deployment(deployment: Deployment, replicas: Iterable[Replica]) -> PlannedDeployment:
    """Plan one deployment; `replicas` are those that are kept of it."""
    return PlannedDeployment(deployment.id, deployment.name, location(deployment, replicas))


def location(deployment: Deployment, replicas: Iterable[Replica]) -> Location:
    """Give where a deployment's replicas are; `replicas` are those that are kept of it, of whatever origin."""
    match deployment.backend:
        case StaticBackend() | DnsBackend() as backend:
            return backend
        case DockerBackend(health_check=check):
            return Containers(_addresses(r for r in replicas if not registered(r)), check)
        case None:
            return Registered(_addresses(r for r in replicas if registered(r)))
        case other:
            assert_never(other)


def registered(replica: Replica) -> bool:
    """Tell whether a replica registered itself: a container's may be left of an earlier spec, and the reverse."""
    return replica.expires_at != NEVER


def _addresses(replicas: Iterable[Replica]) -> tuple[HostPort, ...]:
    found = sorted({(replica.address, replica.port) for replica in replicas})
    return tuple(HostPort(*address) for address in found)


@dataclass(frozen=True, slots=True)
class Zoning:
    """Which proxies get which gateways: each those of the zone that it names; or, `together`, all get all.

    `only` is the one zone that is served at all, where it is one.
    """

    only: str | None = None
    together: bool = False

    def place(self, gateway: Gateway) -> str | None:
        """Give the key of the zone where a gateway is served; None for nowhere here."""
        return self.key(gateway.zone) if serves(gateway, self.only) else None

    def key(self, zone: str) -> str:
        """Give the key of a zone that a definition or a proxy names."""
        return "" if self.together else zone_key(zone)


def serves(gateway: Gateway, zone: str | None) -> bool:
    """Tell whether a zone serves a gateway; zones are compared without regard to case."""
    return zone is None or zone_key(gateway.zone) == zone_key(zone)


def zone_key(zone: str) -> str:
    """Give what is equal for all spellings of a zone."""
    return zone.casefold()


def planned_gateway(
    gateway: Gateway, deployments: Iterable[Deployment], domain: str, owner: KeyOwner | None = None
) -> PlannedGateway:
    """Plan one gateway; `deployments` are those that are attached to it, in any order.

    `owner` says whose the gateway's own key is, if it has one.
    """
    names = (gateway_host(gateway.id, domain), *gateway.endpoint_configuration.additional_dns)
    by_model: dict[str, list[Deployment]] = {}
    for deployment in deployments:
        by_model.setdefault(deployment.model.name, []).append(deployment)
    return PlannedGateway(
        id=gateway.id,
        name=gateway.name,
        hosts=tuple(dict.fromkeys(normal_host(name) for name in names)),
        policy=policy(gateway, owner),
        routing=gateway.routing,
        source_ranges=gateway.endpoint_configuration.allowed_source_ip_ranges,
        models=tuple(PlannedModel(name, shares(by_model[name])) for name in sorted(by_model)),
        reports_usage=isinstance(gateway.auth, WeightsAndBiasesAuth) and gateway.auth.enable_usage_reports,
    )


def shares(deployments: Iterable[Deployment]) -> tuple[Share, ...]:
    """Normalise the weights of one model's deployments (docs/inference-api.md, section 4).

    A disabled deployment gets nothing, nor does weight 0 beside a positive one; all zero share equally.
    """
    weights = {d.id: d.traffic.weight for d in deployments if not d.disabled}
    if not any(weights.values()):
        weights = dict.fromkeys(weights, 1)
    return _lowest_terms({key: weight for key, weight in weights.items() if weight})


def _lowest_terms(weights: Mapping[str, int]) -> tuple[Share, ...]:
    divisor = math.gcd(*weights.values())
    return tuple(Share(key, weights[key] // divisor) for key in sorted(weights))
