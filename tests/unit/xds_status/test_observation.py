"""What Envoys and replicas said becomes a status and conditions."""

from datetime import UTC, datetime
from typing import Any

import pytest
from igw_model.status import Condition, Observed, Status, Truth
from igw_xds.access import KeyOwner, NotChecked, NotValid, OwnedBy
from igw_xds.observation import (
    Client,
    NotServed,
    Past,
    Programmed,
    Replicas,
    deployment_observed,
    gateway_observed,
    holds,
    leads,
    programmed,
)
from igw_xds.snapshot import ROUTES, SCOPE, Resource
from igw_xds.stream import Holds, Lacks, Refuses, Standing

from tests.builders import gateway
from tests.unit.xds_stream.builders import content

THEN, NOW = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
ZONE = "EU-NORTH-04A"
COREWEAVE = gateway(zones=[ZONE])
NEW, OTHER = content("r", 2), content("s", 1)
ALL = Programmed(3, 3)
PENDING = Programmed(2, 3)
NONE = Programmed(0, 0)
REFUSED = Programmed(2, 3, "envoy-2", "no such filter")
READY = Replicas(4, 4)


def client(name: str = "envoy-1", **standings: Standing) -> Client:
    """Give an Envoy with these standings by resource name."""
    return Client(name, lambda _type_url, resource: standings.get(resource, Lacks()))


def past(
    status: Status | None = None, *, generation: int = 1, before: int | None = None, **fields: Any
) -> Past:
    """Give what went before: this status of this generation, or of generation `before`."""
    observed = None if status is None else Observed(before or generation, status, **fields)
    return Past(generation, observed, NOW)


def told(observed: Observed) -> list[tuple[str, Truth, str, str]]:
    """Give the conditions without their zone and time."""
    return [(c.type, c.truth, c.reason, c.message) for c in observed.conditions]


def test_an_envoy_has_an_object_once_it_has_all_of_it() -> None:
    """Each resource counts, and in the version that is wanted."""
    needs = [(ROUTES, NEW), (SCOPE, OTHER)]
    has = client(r=Holds(NEW), s=Holds(OTHER))
    older = client(r=Holds(content("r", 1)), s=Holds(OTHER))
    assert programmed(needs, [], [has, older, client()]) == Programmed(1, 3)
    assert programmed(needs[:1], needs[1:], [has, client(r=Holds(NEW))]) == Programmed(1, 2)


def test_a_refusal_counts_for_the_version_it_is_about() -> None:
    """A refusal of what is no longer wanted says nothing; one of the object's own comes before one of others'."""
    refuses = Refuses(NEW, "no", None)
    old = Refuses(content("r", 1), "old", None)
    assert programmed([(ROUTES, NEW)], [], [client(r=old)]) == Programmed(0, 1)
    assert programmed([(ROUTES, NEW)], [], [client(r=refuses)]) == Programmed(0, 1, "envoy-1", "no", own=True)
    other = client("a", r=Holds(NEW), s=Refuses(OTHER, "other", None))
    assert programmed([(ROUTES, NEW)], [(SCOPE, OTHER)], [other]) == Programmed(0, 1, "a", "other", own=False)
    both = [other, client("b", r=refuses)]
    assert programmed([(ROUTES, NEW)], [(SCOPE, OTHER)], both) == Programmed(0, 2, "b", "no", own=True)


@pytest.mark.parametrize(
    ("standing", "held"),
    [
        (Holds(NEW), True),
        (Lacks(), False),
        (Refuses(NEW, "no", OTHER), True),
        (Refuses(None, "not removed", OTHER), True),
        (Refuses(NEW, "no", None), False),
    ],
)
def test_an_envoy_holds_what_it_accepted_and_kept(standing: Standing, *, held: bool) -> None:
    """A deleted object is gone when no Envoy has any version of it."""
    assert holds(ROUTES, "r", [client(), client(r=standing)]) is held


@pytest.mark.parametrize(
    ("routes", "split", "led"),
    [
        (content("r", needs=["deployment/1", "deployment/2"]), None, True),
        (content("r", needs=["deployment/2"]), None, False),
        (content("r", needs=["split/2/x"]), content("split/2/x", needs=["deployment/1"]), True),
        (content("r", needs=["split/2/x"]), content("split/2/x", needs=["deployment/2"]), False),
        (Resource("r", "older", needs=None), None, True),
        (None, None, False),
    ],
)
def test_an_envoy_leads_to_the_clusters_that_its_routes_name(
    routes: Resource | None, split: Resource | None, *, led: bool
) -> None:
    """Directly, or through a split; of routes that we do not know it is assumed. What it kept counts as well."""
    has = {r.name: r for r in (routes, split) if r}
    holding = Client("a", lambda _, name: Holds(has[name]) if name in has else Lacks())
    keeping = Client("b", lambda _, name: Refuses(NEW, "no", has.get(name)))
    assert [leads(ROUTES, "r", "deployment/1", envoy) for envoy in (holding, keeping)] == [led, led]


@pytest.mark.parametrize(
    ("seen", "status", "condition"),
    [
        (ALL, Status.READY, (Truth.TRUE, "Programmed", "Programmed proxies: 3/3")),
        (PENDING, Status.CREATING, (Truth.FALSE, "Pending", "Programmed proxies: 2/3")),
        (
            REFUSED,
            Status.ERROR,
            (Truth.FALSE, "Rejected", "Programmed proxies: 2/3. envoy-2: no such filter"),
        ),
        (
            NONE,
            Status.CREATING,
            (Truth.FALSE, "NoProxy", f"Programmed proxies: 0/0. No Envoy of zone {ZONE} is connected"),
        ),
        (
            NotServed("US-EAST-04A"),
            Status.CREATING,
            (
                Truth.FALSE,
                "NoProxy",
                "Programmed proxies: 0/0. This control plane serves zone US-EAST-04A only",
            ),
        ),
    ],
)
def test_a_new_gateway(
    seen: Programmed | NotServed, status: Status, condition: tuple[Truth, str, str]
) -> None:
    """READY means that Envoys accepted it; else it says how many did, or why not."""
    assert gateway_observed(past(), COREWEAVE, None, seen) == Observed(
        1, status, (Condition("Programmed", *condition, ZONE, NOW),)
    )


@pytest.mark.parametrize(
    ("before", "seen", "status"),
    [
        (past(Status.READY), PENDING, Status.READY),
        (past(Status.READY), NONE, Status.READY),
        (past(Status.READY), REFUSED, Status.ERROR),
        (past(Status.ERROR), PENDING, Status.ERROR),
        (past(Status.ERROR), ALL, Status.READY),
        (past(Status.CREATING), ALL, Status.READY),
        (past(Status.CREATING, generation=2, before=1), PENDING, Status.CREATING),
        (past(Status.READY, generation=2, before=1), PENDING, Status.UPDATING),
        (past(Status.ERROR, generation=2, before=1), PENDING, Status.UPDATING),
        (past(Status.READY, generation=2, before=1), NONE, Status.UPDATING),
        (past(Status.READY, generation=2, before=1), REFUSED, Status.ERROR),
    ],
)
def test_what_was_ready_stays_so_while_envoys_come_and_go(
    before: Past, seen: Programmed, status: Status
) -> None:
    """At one generation only a refusal takes READY away; a new one is CREATING or UPDATING until Envoys have it."""
    assert gateway_observed(before, COREWEAVE, None, seen).status is status


@pytest.mark.parametrize(
    ("auth", "owner", "truth", "reason"),
    [
        ({}, None, Truth.FALSE, "AnyKeyAccepted"),
        ({"allowedEntities": ["research"]}, None, Truth.TRUE, "Entities"),
        ({}, NotChecked(), Truth.UNKNOWN, "KeyNotChecked"),
        ({"allowedEntities": ["research"]}, NotChecked(), Truth.UNKNOWN, "KeyNotChecked"),
        ({}, NotValid(), Truth.FALSE, "KeyInvalid"),
        ({}, OwnedBy(frozenset({"research", "ops"})), Truth.TRUE, "Entities"),
        ({"allowedEntities": ["vision"]}, OwnedBy(frozenset({"research"})), Truth.FALSE, "NoEntities"),
    ],
)
def test_whose_wandb_keys_may_use_a_gateway(
    auth: dict[str, Any], owner: KeyOwner | None, truth: Truth, reason: str
) -> None:
    """A condition says it, loudly where anybody's may; the gateway is READY all the same."""
    it = gateway(zones=[ZONE], coreWeaveAuth=None, weightsAndBiasesAuth=auth)
    observed = gateway_observed(past(), it, owner, ALL)
    assert observed.status is Status.READY
    [_, condition] = observed.conditions
    assert (condition.type, condition.truth, condition.reason) == ("AccessRestricted", truth, reason)


def test_nobody_knows_of_what_was_ready_without_an_envoy() -> None:
    """With every Envoy gone a gateway that was READY may serve or not: UNKNOWN."""
    [condition] = gateway_observed(past(Status.READY), COREWEAVE, None, NONE).conditions
    assert (condition.truth, condition.reason) == (Truth.UNKNOWN, "NoProxy")


def test_a_condition_is_as_old_as_its_content() -> None:
    """`since` moves when truth, reason or message change, and with nothing else."""
    same = Condition("Programmed", Truth.TRUE, "Programmed", "Programmed proxies: 3/3", ZONE, THEN)
    before = past(Status.READY, generation=2, before=1, conditions=(same,))
    assert gateway_observed(before, COREWEAVE, None, ALL) == Observed(2, Status.READY, (same,))
    assert gateway_observed(before, COREWEAVE, None, PENDING).conditions[0].since == NOW


def deployed(before: Past, seen: Programmed, replicas: Replicas, *, disabled: bool = False) -> Observed:
    """Give what is said of a deployment in one zone."""
    return deployment_observed(before, {ZONE: seen}, replicas, disabled=disabled)


@pytest.mark.parametrize(
    ("before", "seen", "replicas", "status"),
    [
        (past(), ALL, READY, Status.READY),
        (past(), ALL, Replicas(1, 2), Status.READY),
        (past(), ALL, Replicas(0, 2), Status.CREATING),
        (past(), PENDING, READY, Status.CREATING),
        (past(), REFUSED, READY, Status.ERROR),
        (past(), NONE, READY, Status.CREATING),
        (past(Status.READY), ALL, Replicas(0, 2), Status.ERROR),
        (past(Status.ERROR), ALL, Replicas(0, 2), Status.ERROR),
        (past(Status.ERROR), ALL, Replicas(1, 2), Status.READY),
        (past(Status.READY), NONE, Replicas(0, 2), Status.ERROR),
        (past(Status.READY, generation=2, before=1), ALL, Replicas(0, 2, asked=False), Status.UPDATING),
        (past(Status.READY, generation=2, before=1), ALL, Replicas(0, 2), Status.ERROR),
        (past(Status.UPDATING, generation=2), ALL, Replicas(0, 2), Status.ERROR),
        (past(Status.READY), ALL, Replicas(0, 2, asked=False), Status.READY),
        (past(), ALL, Replicas(0, 2, asked=False), Status.CREATING),
        (past(), Programmed(0, 1, "envoy-1", "no", own=False), READY, Status.ERROR),
        (past(Status.READY), Programmed(0, 1, "envoy-1", "no", own=False), READY, Status.READY),
        (past(Status.READY), Programmed(0, 1, "envoy-1", "no"), READY, Status.ERROR),
    ],
)
def test_a_deployment_is_held_to_envoys_and_replicas(
    before: Past, seen: Programmed, replicas: Replicas, status: Status
) -> None:
    """READY: Envoys have it and a replica is ready. Without one it is CREATING, or ERROR once it was more.

    Routes that are refused are an ERROR of what was not READY with them before.
    """
    assert deployed(before, seen, replicas).status is status


@pytest.mark.parametrize("replicas", [READY, Replicas(0, 2), Replicas(0, 1, asked=False)])
def test_a_disabled_deployment_is_ready_whatever_its_replicas_say(replicas: Replicas) -> None:
    """It has no traffic, and is READY once Envoys have it."""
    assert deployed(past(), ALL, replicas, disabled=True).status is Status.READY
    assert deployed(past(), PENDING, replicas, disabled=True).status is Status.CREATING


@pytest.mark.parametrize(
    ("replicas", "truth", "reason", "message"),
    [
        (READY, Truth.TRUE, "Ready", "Ready replicas: 4/4. All resources are ready"),
        (Replicas(1, 2), Truth.FALSE, "NotReady", "Ready replicas: 1/2"),
        (Replicas(0, 2), Truth.FALSE, "NotReady", "Ready replicas: 0/2"),
        (
            Replicas(0, 2, asked=False),
            Truth.UNKNOWN,
            "Pending",
            "Ready replicas: 0/2. Not every replica was asked yet",
        ),
    ],
)
def test_the_ready_condition_counts_replicas(
    replicas: Replicas, truth: Truth, reason: str, message: str
) -> None:
    """All conditions are told truly, whatever the status is."""
    assert told(deployed(past(), ALL, replicas))[1] == ("Ready", truth, reason, message)


def test_what_was_known_of_replicas_stays_until_they_were_asked() -> None:
    """A control plane that starts does not forget what the one before it saw."""
    known = Condition(
        "Ready", Truth.TRUE, "Ready", "Ready replicas: 2/2. All resources are ready", ZONE, THEN
    )
    before = past(Status.READY, conditions=(known,))
    assert known in deployed(before, ALL, Replicas(0, 2, asked=False)).conditions


def test_each_zone_has_its_conditions_and_the_worst_counts() -> None:
    """A deployment of gateways in two zones is READY when it is in both."""
    observed = deployment_observed(past(), {"A": ALL, "B": PENDING}, READY, disabled=False)
    assert observed.status is Status.CREATING
    assert [(c.type, c.zone) for c in observed.conditions] == [
        ("Programmed", "A"),
        ("Ready", "A"),
        ("Programmed", "B"),
        ("Ready", "B"),
    ]
