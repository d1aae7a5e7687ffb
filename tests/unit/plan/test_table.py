"""A table is a mapping that stays as it was, and of which a changed copy shares what did not change."""

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st
from igw_xds.table import Table

NAMES = st.integers(0, 300).map(str)
VALUES = st.integers(0, 3)
CHANGES = st.tuples(
    st.one_of(
        st.dictionaries(NAMES, VALUES, max_size=4),
        st.builds(
            lambda first, value: {str(n): value for n in range(first, first + 120)},
            st.integers(0, 180),
            VALUES,
        ),
    ),
    st.one_of(
        st.lists(NAMES, max_size=4),
        st.integers(0, 200).map(lambda first: [str(n) for n in range(first, first + 100)]),
    ),
)


def changed(content: Mapping[str, int], put: Mapping[str, int], drop: list[str]) -> dict[str, int]:
    """Change a plain dictionary: what is put and dropped is dropped."""
    return {name: value for name, value in {**content, **put}.items() if name not in drop}


@given(st.lists(CHANGES, max_size=8))
@settings(deadline=None)
def test_any_changes_give_what_a_dictionary_gives(changes: list[tuple[dict[str, int], list[str]]]) -> None:
    """Few names or many, put again, dropped twice: the content is a dictionary's, and older tables keep theirs."""
    tables, plain = [Table[int]()], [dict[str, int]()]
    for put, drop in changes:
        tables.append(tables[-1].changed(put, drop))
        plain.append(changed(plain[-1], put, drop))
    for table, content in zip(tables, plain, strict=True):
        assert (dict(table), len(table), sorted(table)) == (content, len(content), sorted(content))
        assert all(
            (str(n) in table, table.get(str(n))) == (str(n) in content, content.get(str(n)))
            for n in range(301)
        )


@given(st.lists(CHANGES, max_size=8), st.integers(0, 8), st.integers(0, 8))
@settings(deadline=None)
def test_tables_differ_where_dictionaries_do(
    changes: list[tuple[dict[str, int], list[str]]], one: int, other: int
) -> None:
    """Between any two moments of a history, and from a table that was made of the same content at once."""
    tables = [Table[int]()]
    for put, drop in changes:
        tables.append(tables[-1].changed(put, drop))
    here, there = tables[one % len(tables)], tables[other % len(tables)]
    expected = {name for name in {*here, *there} if here.get(name) != there.get(name)}
    assert here.differing(there) == there.differing(here) == expected
    assert Table(dict(here)).differing(there) == expected


@given(st.dictionaries(NAMES, VALUES, max_size=200), st.lists(NAMES, max_size=4))
@settings(deadline=None)
def test_no_change_is_the_same_table(content: dict[str, int], names: list[str]) -> None:
    """What is there is put again, what is not there is dropped: by identity nothing happened."""
    table = Table(content)
    put = {name: content[name] for name in names if name in content}
    assert table.changed(put, [name for name in names if name not in content]) is table


def test_what_is_put_and_equal_leaves_the_object_that_is_there() -> None:
    """So that what did not change is known by identity further on."""
    there, equal = tuple("ab"), tuple("ab")
    assert there is not equal
    assert Table({"a": there}).changed({"a": equal, "b": equal})["a"] is there


def test_a_change_leaves_nearly_all_as_it_is() -> None:
    """Of ten thousand values a change copies a part, not all: that is what the table is for."""
    before = Table({str(n): n for n in range(10_000)})
    after = before.changed({"5000": -1})
    copied = [part for part, old in zip(after._parts, before._parts, strict=True) if part is not old]
    assert len(copied) == 1
    assert len(copied[0]) < 200
    assert len(before._parts) < 200
