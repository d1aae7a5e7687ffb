"""What is served: the newest snapshot, and for a while what vanished from it."""

import asyncio

from igw_xds.publisher import Publisher, Served, lingering
from igw_xds.snapshot import CLUSTER, ENDPOINTS, ROUTES, Snapshot

from tests.unit.xds_stream.builders import world

BOTH = world(clusters=["a", "b"], endpoints=["a", "b"], scopes=["s", "t"], routes=["q", "r"])
ONE = world(clusters=["a"], endpoints=["a"], scopes=["s"], routes=["r"])


def test_clusters_and_endpoints_linger() -> None:
    """What vanished is served until its deadline; routes and scopes go at once."""
    served = lingering(Served(BOTH), ONE, now=100, grace_seconds=30)
    expected = world(clusters=["a", "b"], endpoints=["a", "b"], scopes=["s"], routes=["r"])
    assert served == Served(expected, {(CLUSTER, "b"): 130, (ENDPOINTS, "b"): 130})
    assert served.snapshot.of(ROUTES).keys() == {"r"}


def test_after_the_deadline_only_the_newest_is_served() -> None:
    """At the deadline what lingers goes."""
    served = lingering(Served(BOTH), ONE, now=100, grace_seconds=30)
    assert lingering(served, ONE, now=130, grace_seconds=30) == Served(ONE)


def test_later_publishes_do_not_move_a_deadline() -> None:
    """A cluster goes when its own grace ends, however often is published meanwhile."""
    served = lingering(Served(BOTH), ONE, now=100, grace_seconds=30)
    newer = world(clusters={"a": 2}, endpoints=["a"], scopes=["s"], routes=["r"])
    served = lingering(served, newer, now=129, grace_seconds=30)
    assert served.next_deadline == 130
    both = {"a": 2, "b": 1}
    expected = world(clusters=both, endpoints=["a", "b"], scopes=["s"], routes=["r"])
    assert served.snapshot == expected
    assert lingering(served, newer, now=129.5, grace_seconds=30) == served
    assert lingering(served, newer, now=130, grace_seconds=30) == Served(newer)


def test_what_comes_back_stays() -> None:
    """A resource that comes back, with its new content, has no deadline."""
    served = lingering(Served(BOTH), ONE, now=100, grace_seconds=30)
    again = world(clusters={"a": 1, "b": 2}, endpoints=["a", "b"], scopes=["s"], routes=["r"])
    assert lingering(served, again, now=110, grace_seconds=30) == Served(again)


def test_without_grace_nothing_lingers() -> None:
    """Zero seconds of grace serve just the newest."""
    assert lingering(Served(BOTH), ONE, now=100, grace_seconds=0) == Served(ONE)


def test_equal_parts_are_the_same_objects() -> None:
    """Streams compare by identity first, so what did not change keeps its objects."""
    newer = world(clusters={"a": 1, "b": 2}, endpoints=["a", "b"], scopes=["s", "t"], routes=["q", "r"])
    served = lingering(Served(BOTH), newer, now=0, grace_seconds=30).snapshot
    assert served.of(ENDPOINTS) is BOTH.of(ENDPOINTS)
    assert served.of(CLUSTER)["a"] is BOTH.of(CLUSTER)["a"]


async def test_the_timer_removes_what_lingers() -> None:
    """Watchers hear of the removal when the grace is over."""
    publisher = Publisher(grace_seconds=0.05)
    publisher.publish(BOTH)
    publisher.publish(ONE)
    seen: list[Snapshot] = []
    async with asyncio.timeout(2):
        async for snapshot in publisher.watch():
            seen.append(snapshot)
            if snapshot == ONE:
                break
    assert [sorted(s.of(CLUSTER)) for s in seen] == [["a", "b"], ["a"]]


async def test_a_watch_begins_with_the_whole_state_and_coalesces() -> None:
    """A slow watcher gets what is served now, then only the newest."""
    publisher = Publisher()
    publisher.publish(world(clusters={"a": 1}))
    watch = publisher.watch()
    first = await anext(watch)
    for number in (2, 3, 4):
        publisher.publish(world(clusters={"a": number}))
    assert [first, await anext(watch)] == [world(clusters={"a": 1}), world(clusters={"a": 4})]


async def test_a_watch_waits_for_the_first_snapshot() -> None:
    """Nothing is served before the first publish: an empty world would take everything from an Envoy."""
    publisher = Publisher()
    waiting = asyncio.ensure_future(anext(publisher.watch()))
    await asyncio.sleep(0)
    assert (publisher.current, waiting.done()) == (None, False)
    publisher.publish(ONE)
    assert await waiting == ONE


async def test_an_equal_snapshot_changes_nothing() -> None:
    """Publishing the same content again wakes nobody and keeps the deadline."""
    publisher = Publisher(grace_seconds=60)
    publisher.publish(BOTH)
    publisher.publish(ONE)
    before = publisher.current
    publisher.publish(world(clusters=["a"], endpoints=["a"], scopes=["s"], routes=["r"]))
    assert publisher.current is before
    publisher.close()
