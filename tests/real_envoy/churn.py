"""Random changes of a zone through the API that its clients must not notice: much the same ones for the same seed.

Gateways that clients use stay, and each keeps a deployment of the model that is not disabled and of which one replica
is no news to Envoy; all else may change. Replicas that replace all others at once wait for their first health check.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from tests.real_envoy.fleet import Document, Zone, backend

T = TypeVar("T")
WEIGHTS = (0, 1, 100, 500, 1000)
MOST = 6
"""Gateways beside those that are kept, and deployments."""
SETTLED_SECONDS = 2.0
"""After which Envoy has heard of a replica and asked it for its health. It waits for those that a deployment is made
with before it uses the deployment."""


@dataclass
class Churn:
    """What there is now in a zone, and how often each kind of change was made."""

    zone: Zone
    random: Random
    kept: Sequence[Document]
    deployments: dict[str, Document] = field(default_factory=dict)
    gateways: dict[str, Document] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    _made: int = 0
    _since: dict[tuple[str, int], float] = field(default_factory=dict)
    """When each deployment got each of its replicas; 0 for those that it was made with."""

    def __post_init__(self) -> None:
        """Make a deployment for the gateways that are kept."""
        self._make([gateway["id"] for gateway in self.kept])

    def change(self) -> None:
        """Make one change that may be made now."""
        kinds: Sequence[Callable[[], bool]] = (
            self._weigh,
            self._disable_or_enable,
            self._move_replicas,
            self._attach,
            self._add_deployment,
            self._remove_deployment,
            self._add_gateway,
            self._remove_gateway,
            self._rename_hosts,
        )
        while not (kind := self.random.choice(kinds))():
            pass
        self.done[kind.__name__.strip("_")] += 1

    def _weigh(self) -> bool:
        return self._update(self._any_deployment(), traffic={"weight": self.random.choice(WEIGHTS)})

    def _disable_or_enable(self) -> bool:
        deployment = self._any_deployment()
        return self._update(deployment, disabled=not deployment.get("disabled", False))

    def _move_replicas(self) -> bool:
        return self._update(self._any_deployment(), staticBackend=backend(*self._some_replicas()))

    def _attach(self) -> bool:
        return self._update(self._any_deployment(), gatewayIds=self._some_gateways())

    def _add_deployment(self) -> bool:
        if len(self.deployments) >= MOST:
            return False
        self._make(self._some_gateways())
        return True

    def _make(self, gateway_ids: Sequence[str]) -> None:
        made = self.zone.deployment(
            self._name(),
            gatewayIds=gateway_ids,
            traffic={"weight": self.random.choice(WEIGHTS)},
            staticBackend=backend(*self._some_replicas()),
        )
        self.deployments[made["id"]] = made
        self._since.update({(made["id"], port): 0 for port in replicas(made)})

    def _remove_deployment(self) -> bool:
        deployment = self._any_deployment()
        left = {key: found for key, found in self.deployments.items() if key != deployment["id"]}
        if not self._serves(left):
            return False
        self._delete("deployment", deployment)
        self.deployments = left
        return True

    def _add_gateway(self) -> bool:
        if len(self.gateways) >= MOST:
            return False
        made = self.zone.gateway(self._name(), self.random.choice(("body", "header", "path")))
        self.gateways[made["id"]] = made
        return True

    def _remove_gateway(self) -> bool:
        """Remove one; one that deployments name, those on their way out too, may not be removed yet."""
        named = {key for found in self.deployments.values() for key in found["gatewayIds"]}
        free = [gateway for key, gateway in self.gateways.items() if key not in named]
        if not free:
            return False
        gateway = self.random.choice(free)
        answer = self.zone.plane.call("DELETE", f"gateways/{gateway['id']}")
        assert answer.status_code in {200, 412}, answer.text
        if answer.status_code == 200:
            del self.gateways[gateway["id"]]
        return answer.status_code == 200

    def _rename_hosts(self) -> bool:
        """Give a gateway other names beside its own, which clients use."""
        gateway = self.random.choice([*self.kept, *self.gateways.values()])
        names = [f"{self._name()}.localhost" for _ in range(self.random.randrange(3))]
        fields = {key: value for key, value in gateway.items() if key != "endpointConfiguration"}
        if names:
            fields["endpointConfiguration"] = {"additionalDns": names}
        if fields == gateway:
            return False
        self.zone.plane.put("gateway", fields)
        gateway.clear()
        gateway.update(fields)
        return True

    def _update(self, deployment: Document, **fields: object) -> bool:
        changed = {**deployment, **fields}
        after = {**self.deployments, changed["id"]: changed}
        if changed == deployment or not self._serves(after):
            return False
        self.zone.plane.put("deployment", changed)
        self.deployments = after
        for port in replicas(changed) ^ replicas(deployment):
            self._since.pop((changed["id"], port), None)
        for port in replicas(changed) - replicas(deployment):
            self._since[changed["id"], port] = time.monotonic()
        return True

    def _delete(self, kind: str, spec: Document) -> None:
        answer = self.zone.plane.call("DELETE", f"{kind}s/{spec['id']}")
        assert answer.status_code == 200, answer.text

    def _serves(self, deployments: dict[str, Document]) -> bool:
        """Say whether each gateway that is kept has a deployment that serves it through such a change."""
        serving = {key for found in deployments.values() if self._stays(found) for key in found["gatewayIds"]}
        return all(gateway["id"] in serving for gateway in self.kept)

    def _stays(self, deployment: Document) -> bool:
        """Say whether it is not disabled, and has a replica that is no news."""
        latest, key = time.monotonic() - SETTLED_SECONDS, deployment["id"]
        known = {port for port in replicas(deployment) if self._since.get((key, port), latest) < latest}
        return bool(known) and not deployment.get("disabled", False)

    def _any_deployment(self) -> Document:
        return self.random.choice(list(self.deployments.values()))

    def _some_replicas(self) -> list[int]:
        return self._some(self.zone.plane.replicas)

    def _some_gateways(self) -> list[str]:
        ids = [gateway["id"] for gateway in (*self.kept, *self.gateways.values())]
        return self._some(ids)

    def _some(self, of: Sequence[T]) -> list[T]:
        return self.random.sample(list(of), self.random.randint(1, len(of)))

    def _name(self) -> str:
        self._made += 1
        return f"churn-{self._made}"


def replicas(deployment: Document) -> set[int]:
    """Give the ports of a deployment's replicas."""
    return {endpoint["port"] for endpoint in deployment["staticBackend"]["endpoints"]}
