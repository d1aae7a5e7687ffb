"""Replicas that registered themselves and were not heard of again."""

from collections.abc import Callable, Sequence
from datetime import datetime

from igw_model.record import Replica

from igw_store.store import Writing


def expire(now: datetime, spared: frozenset[Replica] = frozenset()) -> Callable[[Writing], Sequence[Replica]]:
    """Give the transaction that forgets the replicas whose time has passed, and says which they were.

    Those in `spared` stay; one that was heard of since is no longer the same. Where nothing goes, nothing is
    written and no disk waited for; `Reading.expired` tells without a turn to write.
    """

    def change(store: Writing) -> Sequence[Replica]:
        gone = [replica for replica in store.expired(now) if replica not in spared]
        for replica in gone:
            store.remove_replica(replica.deployment_id, replica.name)
        return gone

    return change
