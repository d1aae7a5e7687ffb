"""Replicas that registered themselves and were not heard of again."""

from collections.abc import Callable, Sequence
from datetime import datetime

from igw_model.record import Replica

from igw_store.store import Writing


def expire(now: datetime) -> Callable[[Writing], Sequence[Replica]]:
    """Give the transaction that forgets the replicas whose time has passed, and says which they were.

    Where there are none it writes nothing and waits for no disk; `Reading.expired` tells without a turn to write.
    """

    def change(store: Writing) -> Sequence[Replica]:
        gone = store.expired(now)
        for replica in gone:
            store.remove_replica(replica.deployment_id, replica.name)
        return gone

    return change
