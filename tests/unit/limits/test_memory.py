"""The table of projects that a host counts."""

from igw_extauth.keeper import Ended, Exceeded, Running
from igw_extauth.limits.memory import Memory
from igw_extauth.limits.project import Numbers, Standing

from tests.unit.limits.history import LEASE_SECONDS, START

LIMITS = Numbers(concurrency=1, requests_per_minute=60)


def memory() -> Memory:
    """Make a memory of three projects."""
    return Memory(LEASE_SECONDS, projects=3)


def test_projects_do_not_share() -> None:
    """What one project does is nothing to another."""
    table = memory()
    assert [table.admit(START, name, LIMITS, name).exceeded for name in ("e/a", "e/b")] == [None, None]
    assert table.admit(START, "e/a", LIMITS, "2").exceeded is Exceeded.CONCURRENCY
    assert table.leases(START) == 2


def test_events() -> None:
    """A request that goes on keeps its slot, one that ends frees it and is charged."""
    table = memory()
    table.admit(START, "e/a", LIMITS, "1")
    table.note(START + 15, Running("e/a", "1"))
    assert table.leases(START + 30) == 1
    table.note(START + 30, Ended("e/a", "1", 5))
    assert table.leases(START + 30) == 0
    assert table.admit(START, "e/a", Numbers(quota_tokens=5), "2").exceeded is Exceeded.QUOTA


def test_what_redis_let_in_is_counted_along() -> None:
    """When Redis fails, the host knows how many requests it has let in."""
    table = memory()
    table.take(START, "e/a", LIMITS)
    assert table.admit(START, "e/a", LIMITS, "2") == Standing(None, 58)


def test_beside_redis_no_slot_is_held() -> None:
    """Neither who is let in nor who is told of holds one; a limit of nothing holds, as do the others."""
    table = Memory(0, projects=3)
    assert [table.admit(START, "e/a", LIMITS, lease).exceeded for lease in "123"] == [None, None, None]
    table.note(START, Running("e/a", "1"))
    assert table.leases(START) == 0
    assert table.admit(START, "e/a", Numbers(concurrency=0), "4").exceeded is Exceeded.CONCURRENCY
    assert table.admit(START, "e/a", Numbers(requests_per_minute=0), "4").exceeded is Exceeded.REQUESTS


def test_who_has_nothing_to_lose_makes_room() -> None:
    """A full table forgets first whom forgetting costs nothing, though others were not heard of for longer."""
    table = memory()
    table.note(START, Ended("e/used", "", 5))
    table.admit(START, "e/busy", LIMITS, "1")
    table.admit(START, "e/idle", Numbers(), "1")
    table.note(START, Ended("e/idle", "1"))
    assert table.admit(START, "e/new", LIMITS, "1").exceeded is None
    assert len(table) == 3
    assert table.admit(START, "e/used", Numbers(quota_tokens=5), "1").exceeded is Exceeded.QUOTA
    assert table.admit(START, "e/busy", LIMITS, "2").exceeded is Exceeded.CONCURRENCY


def test_who_was_heard_of_last_stays() -> None:
    """Where each would lose something, it is the one that has been silent for longest."""
    table = memory()
    for name in ("e/a", "e/b", "e/c", "e/a"):
        table.note(START, Ended(name, "", 5))
    assert table.admit(START, "e/new", Numbers(), "1").exceeded is None
    assert table.admit(START, "e/a", Numbers(quota_tokens=10), "1").exceeded is Exceeded.QUOTA


def test_who_is_busy_makes_no_room() -> None:
    """When all have requests under way a project more cannot be counted; when they end, it can."""
    table = memory()
    for name in ("e/a", "e/b", "e/c"):
        table.admit(START, name, LIMITS, "1")
    assert table.admit(START, "e/d", LIMITS, "1") == Standing(Exceeded.UNAVAILABLE)
    table.take(START, "e/d", LIMITS)
    table.note(START, Running("e/d", "1"))
    assert len(table) == 3
    assert table.admit(START + LEASE_SECONDS, "e/d", LIMITS, "1").exceeded is None
    assert len(table) == 3
