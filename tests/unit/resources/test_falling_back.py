"""Orders of falling back: whom each names, and that many deployments of one model cost no more than their number."""

from functools import cache

import pytest
from igw_xds.plan import PlannedModel, Share
from igw_xds.resources.clusters import MOST_IN_ORDER, fallback_orders
from igw_xds.snapshot import CLUSTER, Resource

from tests.builders import deployment, deployment_id, gateway, served

MANY = 1000
BYTES_OF_ONE = 1000


def orders(*ids: str) -> list[tuple[str, ...]]:
    """Give the orders of a model whose shares are these."""
    return fallback_orders(PlannedModel("demo/small", tuple(Share(each, 1) for each in ids)))


@cache
def splits(*numbers: int) -> dict[str, Resource]:
    """Give the clusters of the orders of one model's deployments."""
    found = served(gateway(), *(deployment(number) for number in numbers)).of(CLUSTER)
    return {name: found[name] for name in found if name.startswith("split/")}


def numbered(count: int) -> tuple[int, ...]:
    return tuple(range(1, count + 1))


def test_a_small_set_is_a_circle() -> None:
    """Each deployment first, then all others in the sequence of their ids; a lone one has nobody."""
    assert orders("a", "b", "c") == [("a", "b", "c"), ("b", "c", "a"), ("c", "a", "b")]
    assert orders("a") == orders() == []
    assert [len(order) for order in orders(*"abcdefgh")] == [8] * 8


def test_a_large_set_names_the_next_ones() -> None:
    """In the same sequence, from the end on to the beginning, and so many at most."""
    found = orders(*"abcdefghij")
    assert ["".join(order) for order in found] == [
        *("abcdefgh", "bcdefghi", "cdefghij", "defghija", "efghijab"),
        *("fghijabc", "ghijabcd", "hijabcde", "ijabcdef", "jabcdefg"),
    ]
    assert MOST_IN_ORDER == 8


def test_their_size_is_linear() -> None:
    """A thousand deployments of one model are a thousand small clusters: they were 49 MB with all in each."""
    found = splits(*numbered(MANY))
    assert len(found) == MANY
    assert sum(len(resource.encoded) for resource in found.values()) < MANY * BYTES_OF_ONE


@pytest.mark.parametrize("count", [9, MANY])
@pytest.mark.parametrize("gone", [1, 5, 9])
def test_a_change_replaces_the_orders_that_it_is_in(count: int, gone: int) -> None:
    """One that goes is in its own order and in those of the seven before it; all other clusters stay as they are."""
    before = splits(*numbered(count))
    after = splits(*(number for number in numbered(count) if number != gone))
    with_it = {
        name for name, found in before.items() if f"deployment/{deployment_id(gone)}" in (found.needs or ())
    }
    assert before.keys() - after.keys() == with_it
    assert len(with_it) == MOST_IN_ORDER
    assert len(after.keys() - before.keys()) == MOST_IN_ORDER - 1
    assert all(before[name] == after[name] for name in before.keys() & after.keys())
