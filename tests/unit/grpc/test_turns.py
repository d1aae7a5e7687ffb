"""Turns of what is large."""

from hypothesis import given
from hypothesis import strategies as st
from igw_ops.grpc.turns import Turns


def test_a_conversation() -> None:
    """So many have their turn; the next has it as soon as one is given back, in the order they asked."""
    turns: Turns[str] = Turns(2, 30, 9)
    assert [turns.ask(claim, 0) for claim in "abcd"] == [True, True, False, False]
    assert turns.release("c", 1) is None  # did not wait for it
    assert turns.release("a", 2) == "d"
    assert turns.release("a", 3) is None
    assert (turns.late(29), turns.late(30), turns.late(32)) == ([], ["b"], ["b", "d"])
    assert turns.release("b", 40) is None
    assert turns.ask("e", 40)


def test_so_many_wait_and_no_more() -> None:
    """Nobody else is to ask then, until one has its turn or gives up."""
    turns: Turns[str] = Turns(1, 30, 2)
    asked = [(turns.ask(claim, 0), turns.full) for claim in "abc"]
    assert asked == [(True, False), (False, False), (False, True)]
    assert (turns.release("a", 1), turns.full) == ("b", False)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5))), st.integers(1, 3))
def test_turns_are_bounded_and_nobody_is_forgotten(steps: list[tuple[bool, int]], at_once: int) -> None:
    """Whatever comes and goes, never more than so many have a turn, and nobody waits while one is free."""
    turns: Turns[int] = Turns(at_once, 30, 9)
    held: set[int] = set()
    waiting: list[int] = []
    for asks, claim in steps:
        if not asks:
            following = turns.release(claim, 0)
            waiting = [other for other in waiting if other not in {claim, following}]
            held = (held - {claim}) | ({following} if following is not None else set())
        elif claim not in held and claim not in waiting:
            (held.add if turns.ask(claim, 0) else waiting.append)(claim)
        assert len(held) <= at_once
        assert not waiting or len(held) == at_once
