"""All gateways and deployments in, what an operator sees of them at one look out: how many are how, and what is wrong.

Objects of every organisation are counted; of those that are not well the first few are named, with the reasons. Pure.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from operator import itemgetter
from typing import Any

from igw_model.deployment import Deployment
from igw_model.gateway import Gateway
from igw_model.record import Kind
from igw_model.status import Condition, Observed, Status, Truth, phase

from igw_xds.subjects import Subjects
from igw_xds.world import Defined, Key, Unreadable

SHOWN = 20
"""Objects of a kind that are named."""
REASONS = 3
"""Conditions of one that are told."""
_BY_RANK = (Status.ERROR, Status.CREATING, Status.UPDATING, Status.READY)
_RANKS = {status: rank for rank, status in enumerate(_BY_RANK)}


def overview(subjects: Subjects, said: Callable[[Key], Observed | None]) -> dict[str, Any]:
    """Give ``gateways`` and ``deployments``; `said` gives what was last observed of an object.

    Those that only other control planes serve are not among them: these know how they are.
    """
    world, lost = subjects.world, subjects.world.unreadable
    foreign = None if subjects.zoning.only is None else subjects.foreign

    def described(
        kind: Kind, objects: Mapping[str, Defined[Gateway]] | Mapping[str, Defined[Deployment]]
    ) -> dict[str, Any]:
        unreadable = {object_id: found for (of, object_id), found in lost.items() if of is kind}
        every: Iterable[tuple[str, _Found]] = chain(objects.items(), unreadable.items())
        return _described(
            (object_id, found, said((kind, object_id)))
            for object_id, found in every
            if foreign is None or not foreign((kind, object_id))
        )

    return {
        "gateways": described(Kind.GATEWAY, world.gateways),
        "deployments": described(Kind.DEPLOYMENT, world.deployments),
    }


_Found = Defined[Gateway] | Defined[Deployment] | Unreadable


def _described(objects: Iterable[tuple[str, _Found, Observed | None]]) -> dict[str, Any]:
    counts, unwell = Counter[Status](), list[tuple[int, str, _Found, Observed | None]]()
    for object_id, found, observed in objects:
        status = phase(found.generation, observed, deleting=found.deleting)
        counts[status] += 1
        if status is not Status.DELETING and (status is not Status.READY or _troubles(found, observed)):
            unwell.append((_RANKS[status], object_id, found, observed))
    return {
        "total": counts.total(),
        "byStatus": {_word(status): count for status, count in sorted(counts.items())},
        "unwell": len(unwell),
        "items": [_shown(*one) for one in heapq.nsmallest(SHOWN, unwell, key=itemgetter(0, 1))],
    }


def _troubles(found: _Found, observed: Observed | None) -> list[Condition]:
    """Give the conditions of the newest generation that do not hold, but for those that somebody wants so."""
    if observed is None or observed.generation != found.generation:
        return []
    return [one for one in observed.conditions if one.truth is not Truth.TRUE and not _wanted(one, found)]


def _wanted(one: Condition, found: _Found) -> bool:
    if isinstance(found, Unreadable):
        return False
    disabled = isinstance(found.definition, Deployment) and found.definition.disabled
    return one.reason == "AnyKeyAccepted" or (one.type == "Ready" and disabled)


def _word(status: Status) -> str:
    return status.removeprefix("STATUS_")


def _shown(rank: int, object_id: str, found: _Found, observed: Observed | None) -> dict[str, Any]:
    """Give an object's document; of one that cannot be read its id is all that is known."""
    name, organization = object_id, ""
    if not isinstance(found, Unreadable):
        name, organization = found.definition.name, found.definition.organization_id
    troubles = _troubles(found, observed)[:REASONS]
    return {
        "id": object_id,
        "name": name,
        "organizationId": organization,
        "status": _word(_BY_RANK[rank]),
        "reasons": [f"{trouble.reason}: {trouble.message}" for trouble in troubles],
    }
