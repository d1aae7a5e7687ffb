"""Messages on their way that need no turn."""

from igw_ops.grpc.unfinished import Unfinished


def test_a_conversation() -> None:
    """They are late in the order in which they began; what is whole is forgotten."""
    unfinished: Unfinished[str] = Unfinished(100, 30)
    for now, claim in enumerate("abcd"):
        unfinished.begin(claim, now)
    unfinished.release("b")
    unfinished.release("nobody")
    assert (unfinished.late(29), unfinished.late(30), unfinished.late(32)) == ([], ["a"], ["a", "c"])
    unfinished.release("a")
    assert unfinished.late(32) == ["c"]


def test_which_has_to_go() -> None:
    """The one that began first, while more is held than may be, and there is one."""
    unfinished: Unfinished[str] = Unfinished(100, 30)
    unfinished.begin("a", 0)
    unfinished.begin("b", 0)
    unfinished.held = 100
    assert unfinished.excess() is None
    unfinished.held = 101
    assert unfinished.excess() == "a"
    unfinished.release("a")
    assert unfinished.excess() == "b"
    unfinished.release("b")
    assert unfinished.excess() is None
