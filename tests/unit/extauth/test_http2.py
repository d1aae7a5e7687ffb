"""HTTP/2 without a socket: bytes in, answers out; header blocks, bodies, trailers, what is remembered."""

import gc
import itertools
import pickle
from dataclasses import dataclass

import pytest
from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st
from igw_extauth.check import Check, Settled
from igw_extauth.decision import Deny
from igw_extauth.remembered import Remembered
from igw_extauth.secret import BearerToken
from igw_extauth.wire.conversation import Shared
from igw_extauth.wire.http2 import MAX_STREAMS, Http2
from igw_extauth.wire.memo import Asked, Memo
from igw_model.policy import Provider
from igw_ops.http2 import frames
from igw_ops.http2.frames import Frame, Http2Error

from tests.unit.extauth.http2_talk import (
    AGREED,
    BEGINNING,
    POLICY,
    Reply,
    block,
    check,
    in_pieces,
    replies,
    said,
)
from tests.unit.extauth.scene import Counter, People


@dataclass
class Wire:
    """A link that keeps what is written."""

    written: bytes = b""
    writes: int = 0

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.written += data
        self.writes += 1

    def close(self) -> None:
        """Note the end."""
        self.write(b"")

    abort = close

    def read(self, *, reading: bool) -> None:
        """Nothing is held back here."""

    def sent(self) -> list[Frame]:
        """What was written."""
        return [frame for frame, _ in frames.split(self.written)]


def conversation(remembered: Remembered | None = None) -> tuple[Http2, Wire, Shared]:
    """A conversation without a socket."""
    wire, shared = Wire(), Shared(Check(remembered or People(), Counter()))
    return Http2(wire, shared), wire, shared


def told(*pieces: bytes) -> dict[int, Reply]:
    """What is answered to bytes that come so."""
    spoken, wire, _ = conversation()
    for piece in pieces:
        spoken.receive(piece)
    return replies(wire.sent())


def test_our_settings_come_first() -> None:
    """RFC 9113, 3.4 and 6.5.2: no table, and bounds for streams and headers."""
    _, wire, _ = conversation()
    first, *_ = wire.sent()
    assert frames.settings_values(first.payload) == {1: 0, 3: MAX_STREAMS, 6: 65_536}


def test_one_read_is_answered_by_one_write() -> None:
    """Many checks of one read cost one write."""
    spoken, wire, _ = conversation()
    spoken.receive(BEGINNING + AGREED)
    before = wire.writes
    spoken.receive(b"".join(check(stream, "hello") for stream in range(1, 64, 2)))
    assert wire.writes == before + 1
    assert said(replies(wire.sent())) == dict.fromkeys(range(1, 64, 2), "200 hello")


def test_an_answer_in_full() -> None:
    """The answer's headers, its length and its body, as over HTTP/1.1."""
    found = told(BEGINNING, check(1, "hello"), check(3, "x"))
    assert found[1] == Reply(
        {
            ":status": "200",
            "x-igw-principal": "hello",
            "x-igw-organization": "org-1",
            "x-igw-token": b"hell".hex(),
            "content-length": "0",
        },
        ended=True,
    )
    assert found[3].headers == {
        ":status": "401",
        "content-type": "application/json",
        "www-authenticate": "Bearer",
        "content-length": str(len(found[3].body)),
    }
    assert b"invalid_api_key" in found[3].body


def test_the_answer_to_head_has_no_body() -> None:
    """Its headers are those of the answer to GET, its length too; remembered or not."""
    found = told(BEGINNING + AGREED, *(check(stream, "x", method="HEAD") for stream in (1, 3)), check(5, "x"))
    assert [found[stream].headers == found[5].headers for stream in (1, 3)] == [True, True]
    assert [found[stream].body for stream in (1, 3)] == [b"", b""]
    assert all(found[stream].ended for stream in (1, 3))


@pytest.mark.parametrize("agreed", [b"", AGREED], ids=["before SETTINGS are agreed", "after"])
@pytest.mark.parametrize(
    ("names", "policies", "status", "code"),
    [
        (("hello", "hello"), (POLICY,), "401", "missing_api_key"),
        ((), (POLICY,), "401", "missing_api_key"),
        (("nobody",), (POLICY,), "401", "invalid_api_key"),
        (("hello",), (POLICY, POLICY), "404", "unknown_gateway"),
        (("hello",), (), "404", "unknown_gateway"),
        (("hello",), ("coreweave/org-2/gw-1",), "403", "organization_mismatch"),
    ],
)
def test_what_is_not_one_policy_and_one_token_is_refused(
    agreed: bytes, names: tuple[str, ...], policies: tuple[str, ...], status: str, code: str
) -> None:
    """The rules of HTTP/1.1 hold, the first time and from memory."""
    found = told(BEGINNING + agreed, *(check(stream, *names, policies=policies) for stream in (1, 3)))
    for reply in found.values():
        assert (reply.headers[":status"], code.encode() in reply.body) == (status, True)
    assert len(found) == 2


TABLE = Encoder()
NO_TABLE = Encoder()
NO_TABLE.header_table_size = 0
TALK = (
    BEGINNING
    + frames.frame(frames.HEADERS, 0x5, 1, block("hello", encoder=TABLE))
    + frames.frame(frames.HEADERS, 0x4, 3, block("hey", encoder=TABLE))
    + frames.frame(frames.DATA, frames.PADDED, 3, b"\x01body\x00")
    + frames.frame(frames.HEADERS, 0x5, 3, TABLE.encode([("authorization", "Bearer trailer")]))
    + frames.frame(frames.HEADERS, 0x5, 5, block("hello", encoder=TABLE))
    + AGREED
    + frames.frame(frames.HEADERS, 0x5, 7, block("hello", encoder=NO_TABLE))
    + in_pieces(9, block("hello", encoder=NO_TABLE), [0, 5, 9, 30])
    + frames.frame(frames.HEADERS, 0x5, 11, block("hello", encoder=NO_TABLE))
    + frames.frame(frames.PING, 0, 0, b"12345678")
    + check(13, "x")
    + check(15, "hi", end=False)
    + frames.frame(frames.DATA, frames.END_STREAM, 15, b"late")
)
TALKED = {
    1: "200 hello",
    3: "200 hey",
    5: "200 hello",
    7: "200 hello",
    9: "200 hello",
    11: "200 hello",
    13: "401",
    15: "200 hi",
}


@given(st.lists(st.integers(0, len(TALK))))
def test_any_chunking_gives_the_same_answers(cuts: list[int]) -> None:
    """TCP may cut anywhere; blocks that share a table, blocks that do not, bodies and trailers are read."""
    edges = [0, *sorted(cuts), len(TALK)]
    found = told(*(TALK[start:end] for start, end in itertools.pairwise(edges)))
    assert said(found) == TALKED
    assert all(reply.ended for reply in found.values())
    assert {stream for stream, reply in found.items() if reply.reset == Http2Error.NO_ERROR} <= {3, 15}


@given(st.lists(st.integers(0, 200)), st.lists(st.integers(0, 200)))
def test_any_frames_of_a_block_give_the_same_answer(first: list[int], second: list[int]) -> None:
    """A header block says the same in however many frames it comes."""
    whole = block("hello")
    found = told(BEGINNING + AGREED, in_pieces(1, whole, first), in_pieces(3, whole, second))
    assert said(found) == {1: "200 hello", 3: "200 hello"}


@given(st.binary(), st.booleans())
def test_any_block_is_answered_or_breaks_the_connection(noise: bytes, agreed: bool) -> None:  # noqa: FBT001
    """No header block is a fault of ours, and none that cannot be read is let through."""
    spoken, wire, _ = conversation()
    spoken.receive(BEGINNING + (AGREED if agreed else b"") + frames.frame(frames.HEADERS, 0x5, 1, noise))
    found = replies(wire.sent())
    gone = [frame.payload[4:] for frame in wire.sent() if frame.type == frames.GOAWAY]
    assert gone == [b"\0\0\0\x09"] if 1 not in found else found[1].headers[":status"] == "404"


def test_a_table_after_it_was_given_up_breaks_the_connection() -> None:
    """RFC 7541, 4.2: who agreed to keep no table refers to none; what we remember rests on that."""
    encoder = Encoder()
    filling, referring = (block("hello", encoder=encoder) for _ in range(2))
    spoken, wire, _ = conversation()
    spoken.receive(BEGINNING + AGREED + frames.frame(frames.HEADERS, 0x5, 1, filling))
    assert said(replies(wire.sent())) == {1: "200 hello"}
    spoken.receive(frames.frame(frames.HEADERS, 0x5, 3, referring))
    assert wire.sent()[-1] == Frame(frames.GOAWAY, 0, 0, b"\0\0\0\3\0\0\0\x09")


def test_the_same_bytes_may_be_another_caller() -> None:
    """Before a table is given up a block's bytes say nothing by themselves: nothing is remembered of them."""
    shared = conversation()[2]
    for name in ("hello", "hey"):
        wire, encoder = Wire(), Encoder()
        spoken = Http2(wire, shared)
        blocks = [block(name, encoder=encoder) for _ in range(2)]
        sent = [
            frames.frame(frames.HEADERS, 0x5, stream, each)
            for stream, each in zip((1, 3), blocks, strict=True)
        ]
        spoken.receive(BEGINNING + b"".join(sent))
        assert said(replies(wire.sent())) == {1: f"200 {name}", 3: f"200 {name}"}
        assert len(blocks[1]) < 10, "the second block refers to the table"


def test_headers_do_not_grow_without_end() -> None:
    """One byte can stand for a header; what they all come to is bounded."""
    spoken, wire, _ = conversation()
    spoken.receive(BEGINNING + AGREED + frames.frame(frames.HEADERS, 0x5, 1, b"\x82" * 16_000))
    assert wire.sent()[-1].type == frames.GOAWAY


def test_a_check_that_was_taken_back_is_not_answered() -> None:
    """RFC 9113, 5.1: nothing is sent on a stream that the caller reset, in the same packet too."""
    reset = frames.reset(1, Http2Error.NO_ERROR)
    assert set(told(BEGINNING, check(1, "hello") + reset + check(3, "hello"))) == {3}


async def test_the_memory_of_blocks_holds_no_token() -> None:
    """Neither a block nor a token can be found in the memory, in no spelling, though it answers."""
    token = "CW-SECRET-0123456789abcdef"
    spoken, wire, shared = conversation(await _remembering(token))
    spoken.receive(BEGINNING + AGREED + check(1, token) + check(3, token) + check(5, "nobody"))
    assert said(replies(wire.sent())) == {1: "200 ann", 3: "200 ann", 5: "401"}
    asked = shared.memo._asked
    assert len(asked) == 2
    kept = [pickle.dumps(list(asked.items())), repr(asked).encode(), *map(_bytes, _reachable(asked))]
    for secret in (token.encode(), Encoder().huffman_coder.encode(token.encode())[2:-2], block(token)):
        assert not [piece for piece in kept if secret in piece]
    other = Memo(secret=b"another process's", entries=1)
    assert other.key(block(token)) not in asked


async def _remembering(token: str) -> Remembered:
    keeper = Counter()
    keeper.open.set()
    remembered = Remembered(keeper, b"0123456789abcdef", 10)
    key = remembered.key(Provider.COREWEAVE, BearerToken(token))
    assert key is not None
    await remembered.identify(Provider.COREWEAVE, key, BearerToken(token))
    return remembered


def test_the_memory_of_blocks_is_bounded() -> None:
    """What was asked least lately is forgotten."""
    memo = Memo(secret=b"0123456789abcdef", entries=3)
    asked = Asked(Settled(None, Deny.UNKNOWN_GATEWAY), bodiless=False)
    for each in b"abcad":
        memo.put(memo.key(b"%c" % each), asked)
        memo.asked(memo.key(b"a"))
    assert [memo.asked(memo.key(b"%c" % each)) is not None for each in b"abcd"] == [True, False, True, True]


def _reachable(start: object) -> list[object]:
    """Everything that hangs on an object, classes aside."""
    seen: dict[int, object] = {}
    waiting = [start]
    while waiting:
        each = waiting.pop()
        if id(each) not in seen and not isinstance(each, type):
            seen[id(each)] = each
            waiting += gc.get_referents(each)
    return list(seen.values())


def _bytes(each: object) -> bytes:
    return each if isinstance(each, bytes) else each.encode() if isinstance(each, str) else b""
