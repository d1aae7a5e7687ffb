"""How long an authority's answer is good for, and for how long operators' revocations hold."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from igw_extauth.identities.freshness import Entry, Freshness, Standing, vouched
from igw_extauth.identities.revocations import Revocations, revoked_seconds
from igw_extauth.identity import Known, Principal, Unavailable, Unknown
from igw_extauth.keeper import Vouched

ANN = Known(Principal("ann", frozenset({"org-1"})))
RULE = Freshness(60, 600, 10)
KEY = bytes(32)
LATE_KEY = b"\xff" * 32


@pytest.mark.parametrize(
    ("key", "age", "standing", "seconds", "refresh"),
    [
        (KEY, 0, Standing.FRESH, 60, 48),
        (KEY, 47, Standing.FRESH, 13, 1),
        (KEY, 48, Standing.DUE, 12, 6),
        (LATE_KEY, 53, Standing.FRESH, 7, 1),
        (LATE_KEY, 54, Standing.DUE, 6, 3),
        (KEY, 59.96, Standing.DUE, 0.04, 0.04),
        (KEY, 60, Standing.STALE, 2, 1),
        (KEY, 659, Standing.STALE, 1, 0.5),
        (KEY, 660, Standing.GONE, 0, 0),
        (KEY, -1, Standing.GONE, 0, 0),
    ],
)
def test_the_ages_of_an_answer(
    key: bytes, age: float, standing: Standing, seconds: float, refresh: float
) -> None:
    """Fresh for its time, asked for anew in the last fifth of it, stale for the allowance, then gone."""
    entry = Entry(ANN, 1000)
    assert RULE.standing(key, entry, 1000 + age) is standing
    told = RULE.vouched(key, entry, 1000 + age)
    assert [told.seconds, told.refresh_seconds] == pytest.approx([seconds, refresh])


@settings(max_examples=60)
@given(
    fresh=st.floats(0.01, 3600),
    stale=st.floats(0, 3600),
    age=st.floats(0, 8000),
    key=st.binary(min_size=32, max_size=32),
)
def test_no_worker_remembers_beyond_the_bound(fresh: float, stale: float, age: float, key: bytes) -> None:
    """What a worker is told ends with the answer's time: fresh, or at the latest with the allowance."""
    told = Freshness(fresh, stale, 10).vouched(key, Entry(ANN, 0), age)
    assert 0 <= told.refresh_seconds <= told.seconds
    if told.seconds:
        assert age + told.seconds <= (fresh if age < fresh else fresh + stale) + 1e-6


def test_failures_are_remembered_for_their_own_time() -> None:
    """A refusal for 10 s; a silence for less than ``Retry-After: 1``."""
    unknown, silent = RULE.failure(Unknown(), 5), RULE.failure(Unavailable("timeout"), 5)
    assert vouched(unknown, 7) == Vouched(Unknown(), 8, 8)
    assert vouched(unknown, 16) == Vouched(Unknown(), 0, 0)
    assert vouched(silent, 5).seconds == pytest.approx(0.9)
    assert Freshness(60, 600, 0.5).failure(Unavailable("timeout"), 0).until == 0.5


def table(most: int = 10) -> Revocations:
    """Give a table in which a digest has two keys."""
    return Revocations(lambda digest: frozenset({b"a" + digest, b"b" + digest}), most)


def test_a_revocation_holds_for_all_keys_until_it_lapses() -> None:
    """And is news once; after it lapsed it may come again."""
    revocations = table()
    assert revocations.add(b"1", 100, 0) == {b"a1", b"b1"}
    assert revocations.add(b"1", 50, 0) == frozenset()
    assert [revocations.revoked(key, 99) for key in (b"a1", b"b1", b"a2")] == [True, True, False]
    assert not revocations.revoked(b"a1", 100)
    assert revocations.add(b"1", 200, 100) == {b"a1", b"b1"}
    assert revocations.standing(150) == {b"1": 200}
    assert revocations.standing(200) == {}


def test_revocations_are_bounded() -> None:
    """The oldest goes; nothing of it stays."""
    revocations = table(most=2)
    for digest in (b"1", b"2", b"3"):
        revocations.add(digest, 100, 0)
    assert revocations.standing(0) == {b"2": 100, b"3": 100}
    assert set(revocations._digests) == {b"a2", b"b2", b"a3", b"b3"}


def test_a_revocation_outlives_all_that_was_said_before() -> None:
    """An hour, or as long as an answer may be remembered."""
    assert revoked_seconds(RULE) == 3600
    assert revoked_seconds(Freshness(3600, 3600, 10)) == 7200
