"""What Redis is not told yet."""

import pytest
from igw_extauth.keeper import Ended, Running
from igw_extauth.limits import untold as subject
from igw_extauth.limits.shared import Tell
from igw_extauth.limits.untold import Untold


def test_news_add_up() -> None:
    """One piece of news for each project: who goes on, who ended, and all tokens."""
    untold = Untold()
    for event in (
        Running("e/a", "1"),
        Running("e/a", "1"),
        Running("e/a", "2"),
        Ended("e/a", "1", 5),
        Ended("e/b", "3", 1),
        Ended("e/a", "4", 6),
    ):
        assert untold.note(event) == 0
    assert untold.take(9) == [Tell("e/a", 0, ("2",), ("1", "4"), 11), Tell("e/b", 1, (), ("3",), 1)]
    assert not untold


def test_news_are_taken_in_order_and_numbered_upward() -> None:
    """A project's next news have a higher number, so none is taken for one that was told."""
    untold = Untold()
    for project in ("e/a", "e/b", "e/c"):
        untold.note(Ended(project, "1"))
    assert [(told.project, told.number) for told in untold.take(2)] == [("e/a", 0), ("e/b", 1)]
    untold.note(Ended("e/a", "1"))
    assert [(told.project, told.number) for told in untold.take(2)] == [("e/c", 2), ("e/a", 3)]


def test_news_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bounds leases expire by themselves; tokens that are not told of are counted as lost."""
    monkeypatch.setattr(subject, "PROJECTS", 1)
    monkeypatch.setattr(subject, "LEASES", 2)
    untold = Untold()
    assert [untold.note(Ended("e/a", lease, 5)) for lease in "123"] == [0, 0, 0]
    assert [untold.note(event) for event in (Ended("e/b", "1", 7), Running("e/b", "2"))] == [7, 0]
    assert untold.take(9) == [Tell("e/a", 0, (), ("1", "2"), 15)]
