"""What a client has, as how it differs from what is served: the same content whatever the base."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from igw_xds.snapshot import NOTHING, Resource
from igw_xds.stream.overlay import Differences, Names, Overlay
from igw_xds.table import Table

from tests.unit.xds_stream.builders import content

NAMES = st.sampled_from("abcdefgh")
BASES = st.lists(st.dictionaries(NAMES, st.integers(1, 3), max_size=8), min_size=1, max_size=4)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), NAMES, st.integers(1, 3)),
        st.tuples(st.just("drop"), NAMES, st.just(0)),
        st.tuples(st.just("move"), st.just(""), st.integers(0, 3)),
    ),
    max_size=40,
)


def resources(numbers: dict[str, int]) -> Table[Resource]:
    """Give resources by name."""
    return Table({name: content(name, number) for name, number in numbers.items()})


@given(bases=BASES, steps=STEPS)
@settings(max_examples=300, deadline=None)
def test_an_overlay_is_a_mapping(bases: list[dict[str, int]], steps: list[tuple[str, str, int]]) -> None:
    """Whatever is put, dropped and moved to another base, it holds what a dictionary would."""
    bases_now = [resources(base) for base in bases]
    overlay, expected, differences = Overlay(), dict[str, Resource](), Differences()
    base: Any = NOTHING
    for step, name, number in steps:
        match step:
            case "put":
                overlay[name] = expected[name] = content(name, number)
            case "drop":
                assert overlay.pop(name, None) == expected.pop(name, None)
            case _:
                base = bases_now[number % len(bases)]
                overlay.move(base, differences)
        assert dict(overlay) == expected
        assert len(overlay) == len(expected)
        assert all((name in overlay) == (name in expected) for name in "abcdefgh")
        if (differing := overlay.differing(base)) is not None:
            assert set(differing) == {n for n in "abcdefgh" if base.get(n) != expected.get(n)}


@given(bases=BASES, steps=STEPS)
@settings(max_examples=300, deadline=None)
def test_names_are_a_set(bases: list[dict[str, int]], steps: list[tuple[str, str, int]]) -> None:
    """The same of names."""
    bases_now = [resources(base) for base in bases]
    names, expected, differences = Names(), set[str](), Differences()
    for step, name, number in steps:
        match step:
            case "put":
                names, expected = names.changed([name], []), expected | {name}
            case "drop":
                names, expected = names.changed([], [name]), expected - {name}
            case _:
                names = names.moved(bases_now[number % len(bases)], differences)
        assert (set(names), bool(names)) == (expected, bool(expected))
        assert all((name in names) == (name in expected) for name in "abcdefgh")


def test_a_client_in_step_holds_nothing_of_its_own() -> None:
    """Ten thousand resources that it was told of one by one become a reference to what is served."""
    base = resources({str(number): 1 for number in range(10_000)})
    overlay, differences = Overlay(), Differences()
    overlay.update(base)
    overlay.move(base, differences)
    assert (overlay.differing(base), overlay._own) == ({}.keys(), {})
    newer = base.changed({"5": content("5", 2)})
    overlay.move(newer, differences)
    assert set(overlay.differing(newer) or ()) == {"5"}


def test_a_client_that_asks_for_little_stays_small() -> None:
    """One of ten thousand is not said as all but the others."""
    base = resources({str(number): 1 for number in range(10_000)})
    overlay, differences = Overlay(), Differences()
    overlay["5"] = base["5"]
    overlay.move(base, differences)
    assert len(overlay._own) == 1
    assert len(Names().changed(["5"], []).moved(base, differences).own) == 1


def test_a_pair_of_bases_is_compared_once() -> None:
    """A thousand clients that move together cost one comparison."""
    old, new = resources({"a": 1, "b": 1, "c": 1}), resources({"a": 1, "b": 2, "d": 1})
    differences = Differences()
    found = differences.between(old, new)
    assert found == {"b", "c", "d"}
    assert differences.between(old, new) is found
