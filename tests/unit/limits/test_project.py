"""One project against its limits: the pure machine."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from igw_extauth.keeper import Admitted, Exceeded, Held, Level, Levels
from igw_extauth.limits.admission import admission, month_end
from igw_extauth.limits.project import MINUTE, Numbers, Project, Standing, month

from tests.unit.limits.history import (
    LEASE_SECONDS,
    START,
    Ask,
    End,
    Go,
    Step,
    Wait,
    histories,
    numbers,
    one_for_all,
)

CONCURRENT = Numbers(concurrency=2)


def project() -> Project:
    """Make a project that did nothing yet."""
    return Project(LEASE_SECONDS)


def exceeded(of: Project, limits: Numbers, lease: str = "a", now: float = START) -> Exceeded | None:
    """Ask to be let in; give the limit that was met."""
    return of.admit(now, limits, lease).exceeded


def test_slots_are_held_and_freed() -> None:
    """As many requests as the limit are let in at once, and each that ends makes room for one."""
    busy = project()
    assert [exceeded(busy, CONCURRENT, lease) for lease in "abc"] == [None, None, Exceeded.CONCURRENCY]
    busy.ended(START, "a", 0)
    assert [exceeded(busy, CONCURRENT, lease) for lease in "cd"] == [None, Exceeded.CONCURRENCY]
    busy.ended(START, "a", 0)
    assert exceeded(busy, CONCURRENT, "d") is Exceeded.CONCURRENCY


def test_a_lease_expires_unless_it_is_renewed() -> None:
    """A request that is not heard of for `lease_seconds` holds its slot no more; one that is heard of does."""
    busy = project()
    busy.admit(START, CONCURRENT, "a")
    busy.admit(START, CONCURRENT, "b")
    busy.running(START + LEASE_SECONDS - 1, "a")
    assert busy.leases(START + LEASE_SECONDS - 0.1) == ("b", "a")
    assert busy.leases(START + LEASE_SECONDS) == ("a",)
    assert exceeded(busy, CONCURRENT, "c", START + LEASE_SECONDS) is None
    assert busy.leases(START + 2 * LEASE_SECONDS - 1) == ("c",)


def test_a_lease_that_is_not_known_is_taken_up() -> None:
    """Requests from before a keeper's start are counted once they are heard of, also above the limit."""
    new = project()
    for lease in "abc":
        new.running(START, lease)
    assert exceeded(new, CONCURRENT, "d") is Exceeded.CONCURRENCY
    new.ended(START, "a", 0)
    assert exceeded(new, CONCURRENT, "d") is Exceeded.CONCURRENCY
    new.ended(START, "b", 0)
    assert exceeded(new, CONCURRENT, "d") is None


def test_requests_in_a_minute() -> None:
    """A full bucket lets a minute's requests in at once, then as many as come back with time."""
    limits = Numbers(requests_per_minute=3)
    busy = project()
    assert [exceeded(busy, limits, lease) for lease in "abcd"] == [None, None, None, Exceeded.REQUESTS]
    assert exceeded(busy, limits, "d", START + 19.9) is Exceeded.REQUESTS
    assert exceeded(busy, limits, "d", START + 20) is None


def test_tokens_are_charged_afterwards() -> None:
    """What a response used may be more than was left; nobody is let in until that is made up for."""
    limits = Numbers(tokens_per_minute=60)
    busy = project()
    assert exceeded(busy, limits, "a") is None
    busy.ended(START, "a", 100)
    assert busy.admit(START, limits, "b") == Standing(Exceeded.TOKENS, None, -40)
    assert exceeded(busy, limits, "b", START + 40.5) is Exceeded.TOKENS
    assert exceeded(busy, limits, "b", START + 41) is None


def test_a_long_response_is_charged_to_the_minute_of_its_end() -> None:
    """The bucket is filled up first: what comes back while a response runs does not pay for it."""
    limits = Numbers(tokens_per_minute=60)
    busy = project()
    busy.admit(START, limits, "a")
    busy.ended(START + 600, "a", 60)
    assert exceeded(busy, limits, "b", START + 600) is Exceeded.TOKENS
    busy.ended(START + 630, "a", 10)
    assert busy.admit(START + 630, limits, "b").tokens == 20


def test_the_quota_is_a_months() -> None:
    """Once it is used up nobody is let in until the month ends, UTC."""
    limits = Numbers(quota_tokens=100)
    busy = project()
    busy.ended(START, "a", 99)
    assert exceeded(busy, limits, "b") is None
    busy.ended(START, "b", 1)
    assert exceeded(busy, limits, "c") is Exceeded.QUOTA
    assert exceeded(busy, limits, "c", month_end(START) - 0.001) is Exceeded.QUOTA
    assert exceeded(busy, limits, "c", month_end(START)) is None


def test_a_quota_of_nothing_is_used_up() -> None:
    """That is how a quota is told that somebody else counts."""
    assert exceeded(project(), Numbers(quota_tokens=0)) is Exceeded.QUOTA


def test_who_is_held_is_not_counted() -> None:
    """A request that meets one limit uses up nothing of the others."""
    limits = Numbers(concurrency=1, requests_per_minute=60)
    busy = project()
    assert busy.admit(START, limits, "a") == Standing(None, 59)
    assert busy.admit(START, limits, "b") == Standing(Exceeded.CONCURRENCY, 59)
    assert busy.admit(START, limits, "b") == Standing(Exceeded.CONCURRENCY, 59)


def test_limits_change() -> None:
    """A lower limit holds at once, a higher one is filled up to, and one that was not there begins full."""
    busy = project()
    assert busy.admit(START, Numbers(requests_per_minute=100), "a").requests == 99
    assert busy.admit(START, Numbers(requests_per_minute=10), "b").requests == 9
    assert busy.admit(START, Numbers(requests_per_minute=100), "c").requests == 8
    assert busy.admit(START, Numbers(), "d").requests is None
    assert busy.admit(START, Numbers(requests_per_minute=5), "e").requests == 4


def test_months() -> None:
    """Months are calendar months, UTC."""
    assert month(START) == "2026-07"
    assert month(month_end(START)) == "2026-08"
    assert month_end(month_end(START)) - month_end(START) == 31 * 86400


def test_what_is_told_of_an_admission() -> None:
    """Levels are whole requests and tokens, with the time until the bucket is full."""
    limits = Numbers(requests_per_minute=60, tokens_per_minute=600)
    levels = Levels(Level(60, 58, 1.5), Level(600, 300, 30))
    assert admission(Standing(None, 58.5, 300), START, limits, "a") == Admitted("a", levels)


def test_what_is_told_of_a_debt() -> None:
    """Nothing is left where more was used than was there, and the way back to full is longer than a minute."""
    limits = Numbers(tokens_per_minute=60)
    levels = Levels(tokens=Level(60, 0, 100))
    told = admission(Standing(Exceeded.TOKENS, None, -40), START, limits, "a")
    assert told == Held(Exceeded.TOKENS, 41.001, levels)


def test_when_to_ask_again() -> None:
    """Each limit says when; a quota within a day, as it may be raised."""
    retry = {
        limit: held.retry_seconds
        for limit in Exceeded
        if isinstance(held := admission(Standing(limit), START, Numbers(), ""), Held)
    }
    assert retry == {
        Exceeded.CONCURRENCY: 1,
        Exceeded.REQUESTS: 60.001,
        Exceeded.TOKENS: 60.001,
        Exceeded.QUOTA: 2400,
        Exceeded.UNKNOWN_PROJECT: 10,
        Exceeded.UNAVAILABLE: 1,
    }
    held = admission(Standing(Exceeded.QUOTA), month_end(START), Numbers(), "")
    assert held == Held(Exceeded.QUOTA, 86400, Levels())


class Played:
    """A history played to a project."""

    def __init__(self, history: Sequence[Step]) -> None:
        self.project = project()
        self.now = START
        self.asked = 0
        self.open: set[str] = set()
        for step in history:
            self.play(step)

    def play(self, step: Step) -> Standing | None:
        """Play one step; a lease that was not given is never reported."""
        match step:
            case Wait(seconds):
                self.now += seconds
            case Ask(limits):
                self.asked += 1
                standing = self.project.admit(self.now, limits, str(self.asked))
                self.open |= {str(self.asked)} if standing.exceeded is None else set()
                return standing
            case Go(number) if str(number) in self.open:
                self.project.running(self.now, str(number))
            case End(number, tokens) if str(number) in self.open:
                self.open.discard(str(number))
                self.project.ended(self.now, str(number), tokens)
            case Go() | End():
                pass
        return None


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 5).flatmap(
        lambda most: histories(st.just(Numbers(concurrency=most))).map(lambda h: (most, h))
    )
)
def test_never_more_leases_than_the_limit(given_: tuple[int, Sequence[Step]]) -> None:
    """Whatever happens, no more are held than may be, while no request outlives its lease unheard of."""
    most, history = given_
    played = Played([])
    for step in history:
        if isinstance(step, Go) and str(step.number) not in played.project.leases(played.now):
            continue
        played.play(step)
        assert len(played.project.leases(played.now)) <= most


@settings(max_examples=60, deadline=None)
@given(one_for_all(numbers))
def test_buckets_conserve(history: Sequence[Step]) -> None:
    """A bucket never holds more than its limit, and what was taken is at most what was in it and came back."""
    played = Played([])
    let_in = used = 0
    for step in history:
        was_open = isinstance(step, End) and str(step.number) in played.open
        standing = played.play(step)
        used += step.tokens if isinstance(step, End) and was_open else 0
        if standing is None or not isinstance(step, Ask):
            continue
        let_in += standing.exceeded is None
        passed = (played.now - START) / MINUTE
        if (limit := step.numbers.requests_per_minute) is not None and standing.requests is not None:
            assert standing.requests <= limit
            assert let_in + standing.requests <= limit * (1 + passed) + 1e-6
        if (limit := step.numbers.tokens_per_minute) is not None and standing.tokens is not None:
            assert standing.tokens <= limit
            # The first request makes the bucket: nothing was used before.
            assert used + standing.tokens <= limit * (1 + passed) + 1e-6


@settings(max_examples=60, deadline=None)
@given(one_for_all(numbers))
def test_an_end_frees_exactly_one(history: Sequence[Step]) -> None:
    """Of the leases that are held, the end of one takes that one away and no other, once."""
    played = Played(history)
    held = played.project.leases(played.now)
    for lease in held[:1]:
        for _ in range(2):
            played.project.ended(played.now, lease, 0)
            assert played.project.leases(played.now) == held[1:]


@settings(max_examples=60, deadline=None)
@given(one_for_all(numbers))
def test_everything_comes_back(history: Sequence[Step]) -> None:
    """When nothing is heard any more all slots are free after a lease's time."""
    played = Played(history)
    assert played.project.leases(played.now + LEASE_SECONDS) == ()


@settings(max_examples=60, deadline=None)
@given(one_for_all(numbers))
def test_who_waits_as_told_is_let_in(history: Sequence[Step]) -> None:
    """Who met a limit of the minute and asks again after `retry_seconds` does not meet it again."""
    played = Played([])
    for step in history:
        standing = played.play(step)
        if not isinstance(step, Ask) or standing is None or standing.exceeded is None:
            continue
        told = admission(standing, played.now, step.numbers, "")
        limit = {
            Exceeded.REQUESTS: step.numbers.requests_per_minute,
            Exceeded.TOKENS: step.numbers.tokens_per_minute,
        }.get(standing.exceeded)
        if limit and isinstance(told, Held):
            later = played.now + told.retry_seconds
            assert played.project.admit(later, step.numbers, "later").exceeded is not standing.exceeded
            return
