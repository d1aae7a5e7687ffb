"""When an authority that fails is left alone, and when it is asked again: the breaker and the bucket."""

from hypothesis import given, settings
from hypothesis import strategies as st
from igw_extauth.authority.breaker import Breaker, Permit, State, Tolerance
from igw_extauth.authority.bucket import Bucket


def call(breaker: Breaker, now: float, *, failed: bool) -> bool:
    """Make a call that ends at once; say whether it was allowed."""
    permit = breaker.begin(now)
    if permit is not None:
        breaker.end(permit, now, failed=failed)
    return permit is not None


def opened(now: float = 0) -> Breaker:
    """Give a breaker that opened just now."""
    breaker = Breaker(Tolerance())
    assert [call(breaker, now, failed=True) for _ in range(5)] == [True] * 5
    assert breaker.state(now) is State.OPEN
    return breaker


def probe(breaker: Breaker, now: float) -> Permit:
    """Begin a call that must be allowed."""
    permit = breaker.begin(now)
    assert permit is not None
    return permit


def test_five_failures_in_a_row_open_it() -> None:
    """Four do not, nor do more with a success between."""
    breaker = Breaker(Tolerance())
    for failed in [True] * 4 + [False] + [True] * 4:
        assert call(breaker, 0, failed=failed)
    assert breaker.state(0) is State.CLOSED
    call(breaker, 0, failed=True)
    assert breaker.state(0) is State.OPEN
    assert not breaker.allows(0.99)


def test_an_answer_to_others_is_time_for_a_probe() -> None:
    """One, whose success closes it; a breaker that is closed is not touched."""
    breaker = opened()
    breaker.encourage(0.5)
    first = probe(breaker, 0.5)
    assert breaker.begin(0.5) is None
    breaker.end(first, 0.5, failed=False)
    assert breaker.state(0.5) is State.CLOSED
    breaker.encourage(0.6)
    assert breaker.state(0.6) is State.CLOSED


def test_half_of_the_last_seconds_calls_open_it() -> None:
    """Twenty calls of which each second fails are enough; nineteen are not."""
    breaker = Breaker(Tolerance())
    for i in range(19):
        call(breaker, i / 4, failed=i % 2 == 1)
    assert breaker.state(5) is State.CLOSED
    call(breaker, 5, failed=True)
    assert breaker.state(5) is State.OPEN


def test_old_calls_are_forgotten() -> None:
    """Failures of more than ten seconds ago do not count."""
    breaker = Breaker(Tolerance())
    for i in range(16):
        call(breaker, 0, failed=i % 2 == 1)
    for i in range(18):
        call(breaker, 11, failed=i % 9 == 8)
    assert breaker.state(11) is State.CLOSED


def test_it_waits_twice_as_long_each_time_until_half_a_minute() -> None:
    """1, 2, 4, … 30, 30 s; a success begins anew."""
    breaker, now, waits = opened(), 0.0, []
    for _ in range(7):
        wait = next(s for s in range(1, 60) if breaker.allows(now + s))
        waits.append(wait)
        now += wait
        assert call(breaker, now, failed=True)
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    assert call(breaker, now + 30, failed=False)
    assert breaker.state(now + 30) is State.CLOSED
    for _ in range(5):
        call(breaker, now + 31, failed=True)
    assert breaker.allows(now + 32)


def test_half_open_it_lets_one_probe_through_at_a_time() -> None:
    """While a probe is under way nobody else goes; its success lets all go."""
    breaker = opened()
    permit = probe(breaker, 1)
    assert breaker.state(1) is State.HALF_OPEN
    assert breaker.begin(1) is None
    breaker.end(permit, 1.5, failed=False)
    assert [call(breaker, 1.5, failed=False) for _ in range(3)] == [True] * 3


def test_calls_of_before_are_no_evidence() -> None:
    """A slow call that began before it opened neither closes it nor opens it for longer."""
    breaker = Breaker(Tolerance())
    slow = [probe(breaker, 0) for _ in range(2)]
    for _ in range(5):
        call(breaker, 0, failed=True)
    breaker.end(slow[0], 0.5, failed=False)
    assert breaker.state(0.5) is State.OPEN
    permit = probe(breaker, 1)
    breaker.end(slow[1], 1, failed=True)
    assert breaker.state(1) is State.HALF_OPEN
    breaker.end(permit, 1, failed=False)
    assert breaker.state(1) is State.CLOSED


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 40), st.booleans()), max_size=60))
def test_an_open_breaker_always_opens_again_and_a_success_always_closes_it(
    calls: list[tuple[float, bool]],
) -> None:
    """Whatever happened, after thirty seconds one call goes, and if it succeeds all do."""
    breaker, now = Breaker(Tolerance()), 0.0
    for wait, failed in calls:
        now += wait
        call(breaker, now, failed=failed)
    assert call(breaker, now + 30, failed=False)
    assert breaker.state(now + 30) is State.CLOSED


@settings(max_examples=60)
@given(st.floats(0.1, 50), st.lists(st.floats(0, 3), max_size=200))
def test_a_bucket_gives_no_more_than_its_rate_and_one_seconds_worth(rate: float, waits: list[float]) -> None:
    """Over any time, no more are taken than the rate times the time, and the burst."""
    bucket, now, taken = Bucket(rate), 0.0, 0
    for wait in waits:
        now += wait
        taken += sum(bucket.take(now) for _ in range(3))
        assert taken <= rate * now + max(1, rate) + 1e-6


def test_a_bucket_fills_again() -> None:
    """Two a second: two at once, and one more after half a second."""
    bucket = Bucket(2)
    assert [bucket.take(0) for _ in range(3)] == [True, True, False]
    assert [bucket.take(0.5) for _ in range(2)] == [True, False]
