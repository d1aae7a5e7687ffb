"""What answers to a report mean, and how long to wait."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from igw_usage.delivery import Verdict, pause, retry_after, verdict


@pytest.mark.parametrize(
    ("expected", "statuses"),
    [
        (Verdict.DELIVERED, [200, 201, 202, 204, 299]),
        (
            Verdict.FAILED,
            [100, 301, 302, 307, 308, 401, 403, 404, 405, 407, 408, 421, 425, 429, 500, 502, 503, 504, 599],
        ),
        (Verdict.REFUSED, [400, 402, 406, 409, 410, 413, 415, 422, 451, 499]),
    ],
)
def test_statuses(expected: Verdict, statuses: list[int]) -> None:
    """Only what says that the report itself is wrong sets it aside."""
    assert {status: verdict(status) for status in statuses} == dict.fromkeys(statuses, expected)


def test_it_waits_twice_as_long_each_time() -> None:
    """From a second to five minutes."""
    waits = [pause(failures, 0) for failures in range(1, 12)]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert pause(10_000, 0) == 300


@given(st.integers(1, 1000), st.floats(0, 1), st.floats(0, 1e9))
def test_within_bounds(failures: int, chance: float, asked: float) -> None:
    """Chance halves it at most; what is asked for is waited, up to an hour."""
    waited = pause(failures, chance, asked)
    assert pause(failures, 1) <= waited
    assert min(asked, 3600) <= waited <= 3600


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("120", 120),
        (" 5 ", 5),
        ("-5", 0),
        ("1.5", 0),
        ("soon", 0),
        ("٣", 0),
        ("9" * 400, 999_999_999),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10),
        ("Tue, 14 Nov 2023 22:13:10 GMT", 0),
        ("Tue, 14 Nov 99999 22:13:10 GMT", 0),
    ],
)
def test_retry_after(value: str | None, seconds: float) -> None:
    """Seconds or a date; what is neither, or past, is nothing."""
    assert retry_after(value, 1_700_000_000) == seconds
