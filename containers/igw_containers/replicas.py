"""Containers and deployments in, the replicas of each deployment out, and which containers are none and why. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from igw_model.deployment import Deployment, DockerBackend
from igw_model.record import NEVER, Replica

from igw_containers.container import ORGANIZATION_LABEL, Container, shown

MOST = 1000
"""Replicas of one deployment, as for those that register."""
MOST_NAMED = 5
"""Networks that a reason names."""
UNDEFINED = "no deployment of that name has a dockerBackend"
"""The reason of one whose deployment is perhaps still to come."""
AMBIGUOUS = f"several organizations have a deployment of that name: set label {ORGANIZATION_LABEL}"


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment whose replicas are in containers."""

    id: str
    name: str
    organization_id: str
    backend: DockerBackend


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A container that is no replica, and the reason in words."""

    container: str
    deployment: str
    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    """What the containers make: replicas by deployment id, by name; and what they do not."""

    replicas: Mapping[str, tuple[Replica, ...]]
    left_out: tuple[LeftOut, ...] = ()


def target(deployment: Deployment) -> Target | None:
    """Give the deployment as a target; None where its replicas are elsewhere."""
    if not isinstance(deployment.backend, DockerBackend):
        return None
    return Target(deployment.id, deployment.name, deployment.organization_id, deployment.backend)


def found(containers: Iterable[Container], targets: Iterable[Target]) -> Found:
    """Give the replicas of every target, none for some perhaps."""
    named: defaultdict[str, list[Target]] = defaultdict(list)
    for each in targets:
        named[each.name].append(each)
    replicas: dict[str, dict[str, Replica]] = {each.id: {} for same in named.values() for each in same}
    left_out = []
    for container in containers:
        meant = _meant(container, named.get(container.deployment, ()))
        if isinstance(meant, str):
            left_out.append(_left_out(container, meant))
            continue
        for each in meant:
            made = _fitting(_replica(container, each), replicas[each.id])
            if isinstance(made, Replica):
                replicas[each.id][made.name] = made
            else:
                left_out.append(_left_out(container, made))
    ordered = {key: tuple(sorted(some.values(), key=lambda r: r.name)) for key, some in replicas.items()}
    return Found(ordered, tuple(dict.fromkeys(left_out)))


def _meant(container: Container, same_name: Sequence[Target]) -> Sequence[Target] | str:
    """Give the deployments that a container's labels mean, or why there are none."""
    if not same_name:
        return UNDEFINED
    if container.organization is None:
        # Or whoever takes a name that another organization has would take its replicas too.
        return same_name if len({each.organization_id for each in same_name}) == 1 else AMBIGUOUS
    meant = [each for each in same_name if each.organization_id == container.organization]
    return meant or (
        f"label {ORGANIZATION_LABEL} says {shown(container.organization)!r}: "
        "the deployment of that name is another organization's"
    )


def _fitting(made: Replica | str, beside: Mapping[str, Replica]) -> Replica | str:
    """Give a replica that fits beside others, or why there is none. A row's name is its own: two would take turns."""
    if isinstance(made, str):
        return made
    if made.name in beside:
        return "another container has that name"
    if len(beside) >= MOST:
        return f"deployment has {MOST} replicas, the most there may be"
    return made


def _replica(container: Container, meant: Target) -> Replica | str:
    """Give the replica that a container is, or why it is none."""
    network = _network(container, meant.backend.network)
    if isinstance(network, _Reason):
        return network.text
    address = container.addresses[network]
    try:
        ip_address(address)
    except ValueError:
        return f"it has no address of its own on network {shown(network)!r}"
    return Replica(meant.id, container.name, address, meant.backend.port, NEVER)


@dataclass(frozen=True, slots=True)
class _Reason:
    text: str


def _network(container: Container, wanted: str | None) -> str | _Reason:
    """Give the network at which to reach a container. Another Compose project's is meant by its full name alone."""
    names = list(container.addresses)
    if wanted is not None:
        short = container.project is not None and not container.foreign
        meant = (wanted, f"{container.project}_{wanted}" if short else wanted)
        fitting = next((name for name in meant if name in container.addresses), None)
        return fitting or _Reason(
            f"it is not on network {wanted!r} (dockerBackend.network) but on {_list(names)}"
        )
    if container.foreign:
        return _Reason(
            f"it is in another Compose project: name its network, {_list(names)}, in dockerBackend.network"
        )
    if len(names) == 1:
        return names[0]
    if not names:
        return _Reason("it is on no network")
    return _Reason(f"it is on several networks, {_list(names)}: name one in dockerBackend.network")


def _list(names: Sequence[str]) -> str:
    some = ", ".join(shown(name) for name in names[:MOST_NAMED])
    more = len(names) - MOST_NAMED
    return f"{some} and {more} more" if more > 0 else some or "none"


def _left_out(container: Container, reason: str) -> LeftOut:
    return LeftOut(shown(container.name), shown(container.deployment), reason)
