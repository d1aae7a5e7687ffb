"""Definitions in, the plan out: hosts, policies, and each model's normalised shares. Pure.

The plan says what is to be served in the problem's words; nothing of Envoy is in it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from igw_model.definitions import gateway_host
from igw_model.deployment import Backend, Deployment
from igw_model.gateway import CoreWeaveAuth, Gateway, Routing, WeightsAndBiasesAuth
from igw_model.policy import Policy, Provider
from igw_model.text import normal_host


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


@dataclass(frozen=True, slots=True)
class PlannedDeployment:
    """Where a deployment's replicas are; None while nothing says so."""

    id: str
    name: str
    backend: Backend | None


@dataclass(frozen=True, slots=True)
class Plan:
    """All that one zone serves, sorted by id."""

    gateways: tuple[PlannedGateway, ...] = ()
    deployments: tuple[PlannedDeployment, ...] = ()


def plan(
    gateways: Iterable[Gateway], deployments: Sequence[Deployment], *, domain: str, zone: str | None = None
) -> Plan:
    """Plan the gateways of a zone (of every zone, without one) and the deployments attached to them."""
    served = sorted((g for g in gateways if serves(g, zone)), key=lambda g: g.id)
    attached: dict[str, list[Deployment]] = {gateway.id: [] for gateway in served}
    for deployment in deployments:
        for gateway_id in deployment.gateway_ids:
            if gateway_id in attached:
                attached[gateway_id].append(deployment)
    wanted = {d.id: PlannedDeployment(d.id, d.name, d.backend) for ds in attached.values() for d in ds}
    return Plan(
        tuple(_planned(gateway, attached[gateway.id], domain) for gateway in served),
        tuple(wanted[key] for key in sorted(wanted)),
    )


def serves(gateway: Gateway, zone: str | None) -> bool:
    """Tell whether a zone serves a gateway; zones are compared without regard to case."""
    return zone is None or gateway.zone.casefold() == zone.casefold()


def _planned(gateway: Gateway, deployments: Iterable[Deployment], domain: str) -> PlannedGateway:
    names = (gateway_host(gateway.id, domain), *gateway.endpoint_configuration.additional_dns)
    by_model: dict[str, list[Deployment]] = {}
    for deployment in deployments:
        by_model.setdefault(deployment.model.name, []).append(deployment)
    return PlannedGateway(
        id=gateway.id,
        name=gateway.name,
        hosts=tuple(dict.fromkeys(normal_host(name) for name in names)),
        policy=Policy(_provider(gateway), gateway.organization_id, gateway.id),
        routing=gateway.routing,
        source_ranges=gateway.endpoint_configuration.allowed_source_ip_ranges,
        models=tuple(PlannedModel(name, shares(by_model[name])) for name in sorted(by_model)),
    )


def _provider(gateway: Gateway) -> Provider:
    match gateway.auth:
        case CoreWeaveAuth():
            return Provider.COREWEAVE
        case WeightsAndBiasesAuth():
            return Provider.WANDB
        case other:
            assert_never(other)


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
