"""Content in, messages out."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from igw_ops.grpc.inbox import Inbox, RefusedError
from igw_ops.grpc.wire import GrpcStatus

from tests.unit.grpc.talk import message


def taken(inbox: Inbox, piece: bytes) -> list[bytes]:
    """What a connection takes: one short message as it is, else in pieces."""
    whole = inbox.whole(piece)
    return list(inbox.take(piece)) if whole is None else [whole]


@given(st.lists(st.binary(max_size=40), max_size=5), st.data())
def test_any_cutting_gives_the_same_messages(messages: list[bytes], draw: st.DataObject) -> None:
    """Messages have nothing to do with frames: none, one or many are in a frame, or parts of them."""
    content = b"".join(map(message, messages))
    cuts = draw.draw(st.lists(st.integers(0, len(content)), max_size=8))
    inbox = Inbox(100)
    found = [
        found
        for start, end in itertools.pairwise([0, *sorted(cuts), len(content)])
        for found in taken(inbox, content[start:end])
    ]
    assert (found, inbox.held, inbox.due) == (messages, 0, 0)


def test_it_says_what_is_due() -> None:
    """Who gives the window must know how much more of a message there is."""
    inbox = Inbox(100)
    assert (taken(inbox, message(b"x" * 50)[:4]), inbox.held, inbox.due) == ([], 4, 0)
    assert (taken(inbox, message(b"x" * 50)[4:30]), inbox.held, inbox.due) == ([], 30, 55)


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        (message(b"x" * 101), GrpcStatus.RESOURCE_EXHAUSTED),
        (b"\x00\xff\xff\xff\xff", GrpcStatus.RESOURCE_EXHAUSTED),
        (b"\x01\x00\x00\x00\x01x", GrpcStatus.UNIMPLEMENTED),
    ],
)
@pytest.mark.parametrize("before", [b"", message(b"good")])
def test_what_is_refused(wrong: bytes, status: GrpcStatus, before: bytes) -> None:
    """Too long, as soon as the length is known, or compressed; the messages before it count."""
    inbox = Inbox(100)
    found: list[bytes] = []
    assert inbox.whole(before + wrong) is None
    with pytest.raises(RefusedError) as error:
        found.extend(inbox.take(before + wrong))
    assert error.value.status is status
    assert found == ([b"good"] if before else [])
