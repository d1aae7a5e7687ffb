"""Any history of a store: objects that come, change, move, are handed over, break, are deleted, and go."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from igw_model.record import Kind, Record, Replica
from igw_store.store import Change

from tests.builders import (
    NOW,
    deployment_id,
    deployment_spec,
    gateway_id,
    gateway_spec,
    record,
    static,
)

Key = tuple[Kind, str]
GATEWAYS = range(1, 4)
DEPLOYMENTS = range(1, 5)
ZONES = ("US-EAST-04A", "us-east-04a", "EU-NORTH-01", "ELSEWHERE")
HOST = "shared.example.com"
ROUTINGS: list[dict[str, Any]] = [{"bodyBasedRouting": {"apiType": 1}}, {"pathBasedRouting": {}}]
UNPLACED: dict[str, Any] = {
    "model": {"name": "demo/small", "bucket": "b", "path": "p"},
    "runtime": {"engine": "vllm"},
    "resources": {"instanceType": "gd", "gpuCount": 1},
    "autoscaling": {"min": 1, "max": 1},
    "staticBackend": None,
}


@dataclass(frozen=True)
class Moment:
    """What a store holds."""

    records: Mapping[Key, Record] = field(default_factory=dict)
    replicas: Mapping[str, tuple[Replica, ...]] = field(default_factory=dict)

    @property
    def whole(self) -> Change:
        """All of it, as a watcher that comes now is told."""
        return Change(True, self.records, {key: found for key, found in self.replicas.items() if found})

    def after(self, step: Change) -> "Moment":
        """Give what the store holds after a change."""
        before = Moment() if step.whole else self
        records = {**before.records, **step.records}
        kept = {key: found for key, found in records.items() if found is not None}
        return Moment(kept, {**before.replicas, **step.replicas})


ON_BOTH = {"gatewayIds": [gateway_id(1), gateway_id(2)]}
_STARTED = [
    *(record(Kind.GATEWAY, gateway_spec(n)) for n in (1, 2)),
    *(record(Kind.DEPLOYMENT, deployment_spec(n, **ON_BOTH)) for n in (1, 2, 3)),
]
STARTED = Moment({(r.kind, r.id): r for r in _STARTED})
"""Two gateways of one zone that split alike: their split clusters are the same."""


@st.composite
def gateway_records(draw: st.DrawFn, number: int) -> Record:
    """Give any gateway: in any zone, whole or broken, being deleted or not, perhaps with the host name of all."""
    hosts = draw(st.sampled_from([[], [], [f"g{number}.example.com"], [HOST], [HOST]]))
    spec = gateway_spec(
        number,
        name=draw(st.sampled_from(["a", "b"])),
        zones=draw(st.sampled_from([[zone] for zone in (*ZONES[:1] * 4, *ZONES)] + [[]])),
        endpointConfiguration={"additionalDns": hosts},
        **draw(st.sampled_from(ROUTINGS)),
    )
    return record(Kind.GATEWAY, spec, deleting=draw(st.sampled_from([False, False, False, True])))


@st.composite
def deployment_records(draw: st.DrawFn, number: int) -> Record:
    """Give any deployment, on gateways that there are and one that there never is."""
    backends: list[dict[str, Any]] = [
        {"staticBackend": static(draw(st.integers(9000, 9002)))},
        {"dnsBackend": {"hostname": "models.example.com", "port": 8000}},
        {"dockerBackend": {"port": 8000}},
        UNPLACED,
    ]
    model = {"name": draw(st.sampled_from(["demo/small"] * 4 + ["demo-large", ""]))}
    on = draw(st.sampled_from([[1], [2], [1, 2], [1, 2], [2, 1], [3, 1, 2], [9], [9, 2]]))
    spec = {
        "name": draw(st.sampled_from(["a", "b"])),
        "gatewayIds": [gateway_id(n) for n in on],
        "traffic": {"weight": draw(st.integers(0, 2))},
        "disabled": draw(st.sampled_from([False] * 4 + [True])),
        "model": model,
        **draw(st.sampled_from(backends)),
    }
    deleting = draw(st.sampled_from([False, False, False, True]))
    return record(Kind.DEPLOYMENT, deployment_spec(number, **spec), deleting=deleting)


@st.composite
def steps(draw: st.DrawFn, before: Moment) -> Change:
    """Give any change after which no two gateways have one host name: the store sees to that."""
    records: dict[Key, Record | None] = {}
    for number in draw(st.lists(st.sampled_from(DEPLOYMENTS), unique=True, max_size=3)):
        records[Kind.DEPLOYMENT, deployment_id(number)] = draw(st.none() | deployment_records(number))
    for number in draw(st.lists(st.sampled_from(GATEWAYS), unique=True, max_size=3)):
        key = (Kind.GATEWAY, gateway_id(number))
        records[key] = draw(st.none() | gateway_records(number))
        if sum(map(_has_host, before.after(Change(False, records)).records.values())) > 1:
            _yield_host(records, before, keep=key)
    ordered = draw(st.permutations(list(records)))
    return Change(False, {key: records[key] for key in ordered}, draw(replicas()))


@st.composite
def replicas(draw: st.DrawFn) -> dict[str, tuple[Replica, ...]]:
    """Give replicas of some deployments, or that they have none."""
    return {
        deployment_id(number): tuple(
            Replica(deployment_id(number), address, address, 8000, NOW)
            for address in draw(st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2"]), unique=True))
        )
        for number in draw(st.lists(st.sampled_from(DEPLOYMENTS), unique=True, max_size=2))
    }


@st.composite
def histories(draw: st.DrawFn) -> list[Change]:
    """Give some changes, the first of them whole, and perhaps a later one that tells all anew."""
    moment = draw(st.sampled_from([Moment(), STARTED]))
    found = [moment.whole]
    for _ in range(draw(st.integers(1, 6))):
        step = draw(steps(moment))
        moment = moment.after(step)
        found.append(moment.whole if draw(st.integers(0, 9)) == 0 else step)
    return found


def _has_host(record: Record) -> bool:
    configuration = record.spec.get("endpointConfiguration", {})
    return not record.deleting and HOST in configuration.get("additionalDns", [])


def _yield_host(records: dict[Key, Record | None], before: Moment, keep: Key) -> None:
    """Let the other gateway that has the host name go without it in the same change."""
    for key, found in before.after(Change(False, records)).records.items():
        if key != keep and _has_host(found):
            spec = {**found.spec, "endpointConfiguration": {"additionalDns": []}}
            records[key] = record(Kind.GATEWAY, spec)
