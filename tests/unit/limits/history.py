"""Histories of one project, for properties that hold of any."""

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st
from igw_extauth.limits.project import Numbers

START = 1_785_540_000.0
"""2026-07-31 23:20 UTC: a month ends soon."""
LEASE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Wait:
    """Time passes."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Ask:
    """A request would begin."""

    numbers: Numbers


@dataclass(frozen=True, slots=True)
class Go:
    """The request of a lease, by its place among all that were asked for, goes on."""

    number: int


@dataclass(frozen=True, slots=True)
class End:
    """The request of a lease ends."""

    number: int
    tokens: int


Step = Wait | Ask | Go | End

small = st.none() | st.integers(0, 5)
numbers = st.builds(
    Numbers, small, st.none() | st.integers(0, 90), st.none() | st.integers(0, 700), st.none() | st.just(5000)
)
waits = st.builds(
    Wait, st.sampled_from([0.0, 1 / 3, 7.7, LEASE_SECONDS, LEASE_SECONDS, 3600.0]) | st.floats(0, 30)
)
goes = st.builds(Go, st.integers(0, 12))
ends = st.builds(End, st.integers(0, 12), st.integers(0, 100) | st.integers(0, 1000))


def histories(asked: st.SearchStrategy[Numbers]) -> st.SearchStrategy[Sequence[Step]]:
    """Give histories whose requests ask under these numbers."""
    asks = st.builds(Ask, asked)
    # Most steps a request: else few limits are met. Long enough for some of each kind.
    return st.integers(0, 40).flatmap(
        lambda size: st.lists(st.one_of(asks, asks, asks, waits, goes, ends), min_size=size, max_size=size)
    )


def one_for_all(strategy: st.SearchStrategy[Numbers]) -> st.SearchStrategy[Sequence[Step]]:
    """Give histories in which the limits stay as they are."""
    return strategy.flatmap(lambda chosen: histories(st.just(chosen)))
