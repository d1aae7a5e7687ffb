"""Each deployment's share of a model's traffic: docs/inference-api.md, section 4."""

from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from igw_model.deployment import Deployment
from igw_xds.plan import Share, shares

from tests.builders import deployment, deployment_id

OFF = -1
"""Stands in a list of weights for a deployment that is disabled (and has a weight of 500)."""


def deployments(weights: list[int]) -> list[Deployment]:
    """Give numbered deployments with these weights."""
    return [
        deployment(n, weight=500 if weight == OFF else weight, disabled=weight == OFF)
        for n, weight in enumerate(weights, 1)
    ]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([], {}),
        ([0], {1: 1}),
        ([1], {1: 1}),
        ([1000], {1: 1}),
        ([900, 100], {1: 9, 2: 1}),
        ([100, 900], {1: 1, 2: 9}),
        ([1, 1], {1: 1, 2: 1}),
        ([1000, 999], {1: 1000, 2: 999}),
        ([0, 0], {1: 1, 2: 1}),
        ([0, 0, 0], {1: 1, 2: 1, 3: 1}),
        ([5, 0], {1: 1}),
        ([0, 5, 5], {2: 1, 3: 1}),
        ([600, 300, OFF], {1: 2, 2: 1}),
        ([600, OFF], {1: 1}),
        ([0, OFF], {1: 1}),
        ([0, 0, OFF], {1: 1, 2: 1}),
        ([OFF], {}),
        ([OFF, OFF], {}),
    ],
)
def test_the_table_of_weights(weights: list[int], expected: dict[int, int]) -> None:
    """Normalised; a lone one gets everything; 0 beside a positive one and disabled ones get nothing."""
    assert shares(deployments(weights)) == tuple(Share(deployment_id(n), w) for n, w in expected.items())


WEIGHTS = st.lists(st.sampled_from([OFF, 0, 1, 2, 1000]) | st.integers(0, 1000), max_size=8)


@given(WEIGHTS)
def test_shares_are_exactly_the_weights(weights: list[int]) -> None:
    """Every part is its weight's exact fraction of the enabled weights; the parts add up to one."""
    parts = shares(deployments(weights))
    total = sum(part.weight for part in parts)
    enabled = {deployment_id(n): w for n, w in enumerate(weights, 1) if w != OFF}
    if not any(enabled.values()):
        enabled = dict.fromkeys(enabled, 1)
    expected = {key: Fraction(w, sum(enabled.values())) for key, w in enabled.items() if w}
    assert {part.deployment_id: Fraction(part.weight, total) for part in parts} == expected
    assert all(0 < part.weight <= 1000 for part in parts)


@given(WEIGHTS, st.randoms())
def test_order_does_not_matter(weights: list[int], random: Random) -> None:
    """Equal definitions give equal shares, in whatever order they are read."""
    ordered = deployments(weights)
    shuffled = random.sample(ordered, len(ordered))
    assert shares(shuffled) == shares(ordered)


@given(WEIGHTS, st.integers(1, 5))
def test_only_proportions_count(weights: list[int], factor: int) -> None:
    """Weights in the same proportion are the same split, so rewriting them changes nothing that is served."""
    if all(weight * factor <= 1000 for weight in weights):
        larger = [weight if weight == OFF else weight * factor for weight in weights]
        assert shares(deployments(larger)) == shares(deployments(weights))
