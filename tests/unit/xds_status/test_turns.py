"""Whose turn it is to be asked for its health: told by a clock that counts questions, a hundred a second."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from igw_xds.turns import Turns

PER_SECOND = 100
ROUND = 2.0
LARGE = 300
"""Replicas of the one that changes: three seconds' worth of questions."""


class Asking:
    """Asks as `health` does: a turn takes as long as its questions; who had it is due again after a round."""

    def __init__(self, *victims: str) -> None:
        self.turns = Turns()
        self.now = 0.0
        self.sizes = dict.fromkeys(victims, 1)
        self.had: Counter[str] = Counter()
        for victim in victims:
            self.come(victim, 1)

    def come(self, key: str, size: int) -> None:
        """Have one come, or change."""
        self.sizes[key] = size
        self.turns.put(key, self.now, size)

    def ask(self) -> str | None:
        """Give one its turn; let a tenth of a second go by when nobody is due."""
        key = self.turns.take(self.now)
        self.now += self.sizes[key] / PER_SECOND if key else 0.1
        if key:
            self.had[key] += 1
            self.turns.put(key, self.now + ROUND, self.sizes[key])
        return key


def test_who_was_never_asked_comes_first() -> None:
    """Before those that wait for their next round already."""
    turns = Turns()
    turns.put("old", 0, 1)
    assert [turns.take(0), turns.take(0)] == ["old", None]
    turns.put("old", 2, 1)
    turns.put("new", 5, 1)
    assert [turns.take(5), turns.take(5), turns.take(5)] == ["new", "old", None]


def test_nobody_is_asked_early() -> None:
    """Who is due later waits, and it is told until when."""
    turns = Turns()
    assert (turns.take(1), turns.next_due()) == (None, None)
    turns.put("a", 3, 1)
    assert (turns.take(2.9), turns.next_due()) == (None, 3)
    assert [turns.take(3), turns.take(3), turns.next_due()] == ["a", None, None]


def test_a_change_is_asked_now_and_once() -> None:
    """Who waits for its next round and changes is due at once, instead of later."""
    turns = Turns()
    turns.put("a", 0, 1)
    turns.take(0)
    turns.put("a", 2, 1)
    turns.put("a", 1, 1)
    assert [turns.take(1), turns.take(1), turns.take(2)] == ["a", None, None]


def test_who_changes_keeps_its_place() -> None:
    """Or one that changes faster than its turn comes would never have one."""
    turns = Turns()
    for key in ("a", "b"):
        turns.put(key, 0, 1)
    turns.put("a", 1, 1)
    assert [turns.take(1), turns.take(1)] == ["a", "b"]


def test_one_that_changes_each_second_starves_nobody() -> None:
    """Each of the others has its turn before the large one has its next."""
    asking = Asking("a", "b", "c")
    changes = 0
    while asking.now < 60:
        if changes <= asking.now:
            changes += 1
            asking.come("large", LARGE)
        asking.ask()
    assert min(asking.had[victim] for victim in "abc") >= asking.had["large"] > 15


def test_new_ones_without_end_starve_nobody() -> None:
    """One that goes and comes anew each time is new each time: others have half of the questions all the same."""
    asking = Asking(*(victims := [str(number) for number in range(500)]))
    for _ in victims:
        asking.ask()
    asking.had.clear()
    while asking.now < 60:
        asking.turns.drop("large")
        asking.come("large", LARGE)
        asking.ask()
    questions = sum(asking.had[victim] for victim in victims)
    assert questions >= 0.4 * 60 * PER_SECOND
    assert min(asking.had[victim] for victim in victims) >= 4


def test_who_is_dropped_has_no_turn() -> None:
    """Nor does it keep its place for when it comes back."""
    turns = Turns()
    turns.put("a", 0, 1)
    turns.put("b", 0, 1)
    turns.drop("a")
    turns.drop("unknown")
    turns.put("a", 1, 1)
    assert [turns.take(1), turns.take(1), turns.take(1)] == ["b", "a", None]


@given(
    st.lists(st.tuples(st.sampled_from(["put", "drop", "take"]), st.sampled_from("abc"), st.integers(0, 3)))
)
def test_who_waits_has_one_turn(history: list[tuple[str, str, int]]) -> None:
    """Whatever happened before: everybody who waits is given once, and nobody else."""
    turns, waiting = Turns(), set[str]()
    for what, key, number in history:
        if what == "put":
            turns.put(key, number, number)
            waiting.add(key)
        elif what == "drop":
            turns.drop(key)
            waiting.discard(key)
        else:
            waiting.discard(turns.take(number) or "")
    given = [turns.take(9) for _ in waiting]
    assert (set(given), turns.take(9)) == (waiting, None)
