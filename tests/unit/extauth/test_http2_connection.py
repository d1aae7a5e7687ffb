"""HTTP/2 over real sockets: which HTTP is spoken, look-ups under way, bounds of time, callers who go away, the end."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from igw_ops.http2 import frames, peer
from igw_ops.http2.frames import Frame, Http2Error

from tests.unit.extauth.http2_talk import AGREED, BEGINNING, Heard, check, said
from tests.unit.extauth.scene import Caller, Scene, on_both_loops, scene, until

MANY = 900
"""Within what one connection may ask at once."""


@asynccontextmanager
async def caller(at: Scene) -> AsyncIterator[tuple[Caller, Heard]]:
    """Connect and agree on the settings."""
    async with at.caller() as calling:
        await calling.says(BEGINNING + AGREED)
        yield calling, Heard(calling)


@on_both_loops
async def test_a_check_byte_by_byte() -> None:
    """The first bytes tell which HTTP is spoken, in any pieces; then it is HTTP/2 to the end."""
    async with scene() as at, at.caller() as calling:
        for octet in BEGINNING + check(1, "hello"):
            await calling.says(bytes([octet]))
            await asyncio.sleep(0)
        assert said(await Heard(calling).until(1)) == {1: "200 hello"}


@pytest.mark.parametrize("first", [b"P", b"PR", b"PO", b"PROPFIND / HTTP/1.1\r\nx"])
@on_both_loops
async def test_http1_begins_alike(first: bytes) -> None:
    """A method that begins as HTTP/2 does is HTTP/1.1 all the same."""
    rest = {b"P": b"UT / HTTP/1.1\r\n", b"PR": b"OPFIND / HTTP/1.1\r\n", b"PO": b"ST / HTTP/1.1\r\n"}
    async with scene() as at, at.caller() as calling:
        await calling.says(first)
        await asyncio.sleep(0.02)
        await calling.says(rest.get(first, b": y\r\n") + b"\r\n")
        assert (await calling.hears(12)) == "HTTP/1.1 404"


@pytest.mark.parametrize("first", [b"PRI / HTTP/1.1\r\n\r\n", frames.PREFACE[:-1] + b"x"])
@on_both_loops
async def test_a_wrong_preface_is_hung_up(first: bytes) -> None:
    """RFC 9113, 3.4: what begins as HTTP/2 and is not ends its connection."""
    async with scene() as at, at.caller() as calling:
        await calling.says(first)
        assert (await Heard(calling).all())[-1].type == frames.GOAWAY


@on_both_loops
async def test_a_lookup_holds_up_nobody() -> None:
    """Others of the connection are answered while one waits for its authority; it is answered in the end."""
    async with scene() as at, caller(at) as (calling, heard):
        await calling.says(check(1, "hslow") + check(3, "hello"))
        assert said(await heard.until(1)) == {3: "200 hello"}
        await calling.says(check(5, "hslow-2") + check(7, "hey"))
        assert said(await heard.until(2)) == {3: "200 hello", 7: "200 hey"}
        assert sorted(at.people.asked) == ["hslow", "hslow-2"]
        at.people.open.set()
        everybody = {1: "200 hslow", 3: "200 hello", 5: "200 hslow-2", 7: "200 hey"}
        assert said(await heard.until(4)) == everybody


@on_both_loops
async def test_a_check_that_is_taken_back_is_waited_for_no_more() -> None:
    """The wait ends with the stream, and the others go on."""
    async with scene() as at, caller(at) as (calling, heard):
        await calling.says(check(1, "hslow") + check(3, "hslow-2"))
        await until(lambda: len(at.people.asked) == 2)
        await calling.says(frames.reset(1, Http2Error.NO_ERROR))
        await asyncio.sleep(0.02)
        at.people.open.set()
        assert said(await heard.until(1)) == {3: "200 hslow-2"}
        assert at.people.answered == ["hslow-2"]


@pytest.mark.parametrize("ended", ["before the answer", "after it"])
@on_both_loops
async def test_a_body_is_read_past(ended: str) -> None:
    """A request that goes on behind its answer is told to stop, and its bytes hold up nobody."""
    async with scene() as at, caller(at) as (calling, heard):
        await calling.says(check(1, "hslow", end=False))
        await until(lambda: at.people.asked)
        body = frames.frame(frames.DATA, 0, 1, b"x" * 16_000)
        last = frames.frame(frames.DATA, frames.END_STREAM, 1)
        if ended == "before the answer":
            await calling.says(body + last)
            await asyncio.sleep(0.02)
        at.people.open.set()
        found = await heard.until(1)
        await calling.says(body * 4, last, check(3, "hello"))
        assert said(await heard.until(2)) == {1: "200 hslow", 3: "200 hello"}
        assert found[1].reset == (None if ended == "before the answer" else Http2Error.NO_ERROR)
        given = [frame.payload for frame in heard.frames if frame.type == frames.WINDOW_UPDATE][1:]
        assert sum(int.from_bytes(payload, "big") for payload in given) > 32_000


@on_both_loops
async def test_too_many_checks_at_once_are_refused() -> None:
    """RFC 9113, 5.1.2: REFUSED_STREAM, which Envoy asks again."""
    async with scene() as at, caller(at) as (calling, heard):
        await calling.says(b"".join(check(stream, "hslow") for stream in range(1, 2003, 2)))
        found = await heard.until(1)
        assert {stream: reply.reset for stream, reply in found.items()} == {2001: Http2Error.REFUSED_STREAM}


@on_both_loops
async def test_our_own_fault_ends_its_stream() -> None:
    """A look-up that fails by a fault of ours is an error to Envoy, and to nobody else."""
    async with scene() as at, caller(at) as (calling, heard):
        at.people.open.set()
        await calling.says(check(1, "slow-broken") + check(3, "hslow"))
        found = await heard.until(2)
        assert (found[1].reset, found[1].headers) == (Http2Error.INTERNAL_ERROR, {})
        assert found[3].said == "200 hslow"


@on_both_loops
async def test_our_own_fault_is_no_silence() -> None:
    """A fault of ours where nobody waits ends the connection at once."""
    async with scene() as at, caller(at) as (calling, heard):
        await calling.says(check(1, "broken"))
        assert 1 not in {frame.stream for frame in await heard.all()}


@on_both_loops
async def test_a_caller_who_goes_away_ends_nothing() -> None:
    """The look-up goes on, and the connection is forgotten."""
    async with scene() as at:
        async with caller(at) as (calling, _):
            await calling.says(check(1, "hslow") + check(3, "hslow-2"))
            await until(lambda: len(at.people.asked) == 2)
        await until(lambda: not at.connections)


@pytest.mark.parametrize("data", [b"PR", frames.PREFACE[:9], BEGINNING, BEGINNING + check(1, "hello")])
@on_both_loops
async def test_an_idle_connection_is_closed(data: bytes) -> None:
    """A connection that asks nothing in its time is closed."""
    began = time.monotonic()
    async with scene(idle_seconds=0.2) as at, at.caller() as calling:
        await calling.says(data)
        await Heard(calling).all()
        assert time.monotonic() - began > 0.19
        assert not at.connections


@on_both_loops
async def test_a_busy_connection_is_not_idle() -> None:
    """Each answer, a ping's too, gives the connection its whole time again, and a look-up is not idleness."""
    ping = frames.frame(frames.PING, 0, 0, b"12345678")
    async with scene(idle_seconds=1) as at, caller(at) as (calling, heard):
        for asked in ([check(1, "hello"), *[ping] * 11], [check(2 * n + 3, "hello") for n in range(12)]):
            for each in asked:
                await calling.says(each)
                await asyncio.sleep(0.1)
        await calling.says(check(27, "hslow"))
        await asyncio.sleep(1.2)
        at.people.open.set()
        assert said(await heard.until(14))[27] == "200 hslow"


@on_both_loops
async def test_who_does_not_read_is_not_answered_without_end() -> None:
    """Answers that are not read hold back the next, and after its time the connection is closed."""
    async with scene(idle_seconds=0.5) as at, caller(at) as (calling, _):
        await calling.says(frames.window_update(0, 10_000_000))
        calling.writer.write(b"".join(check(1 + 2 * number, "x") for number in range(MANY)))
        await until(lambda: any(not each._reading for each in at.connections))
        (connection,) = at.connections
        assert connection._transport.get_write_buffer_size() < 1_000_000
        await until(lambda: not at.connections)


@on_both_loops
async def test_who_reads_late_is_answered_in_full() -> None:
    """Held back answers come when the caller reads again and gives the window for them."""
    async with scene() as at, caller(at) as (calling, heard):
        await calling.says(frames.window_update(0, 10_000_000))
        calling.writer.write(b"".join(check(1 + 2 * number, "x") for number in range(MANY)))
        await until(lambda: any(not each._reading for each in at.connections))
        assert set(said(await heard.until(MANY)).values()) == {"401"}


@on_both_loops
async def test_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9113, 6.8: asked for no more checks, those under way are answered, and then the connection ends."""
    monkeypatch.setattr(peer, "LATE_STREAMS_SECONDS", 1)
    async with scene() as at, caller(at) as (_, idle_heard), caller(at) as (busy, busy_heard):
        await busy.says(check(1, "hslow"))
        await until(lambda: at.people.asked)
        stopping = asyncio.create_task(at.server.stop(10))
        await until(lambda: at.server._shared.finishing)
        await busy.says(check(3, "hello"))
        assert said(await busy_heard.until(1)) == {3: "200 hello"}
        with pytest.raises(ConnectionRefusedError):
            async with at.caller():
                pass
        assert _last_streams(await idle_heard.all()) == [2**31 - 1, 0]
        assert not stopping.done()
        at.people.open.set()
        assert said(await busy_heard.until(2)) == {1: "200 hslow", 3: "200 hello"}
        assert _last_streams(await busy_heard.all()) == [2**31 - 1, 3]
        await stopping


def _last_streams(heard: list[Frame]) -> list[int]:
    return [int.from_bytes(frame.payload[:4], "big") for frame in heard if frame.type == frames.GOAWAY]


@on_both_loops
async def test_a_caller_may_go_before_the_end_is_told() -> None:
    """Nothing is said to who hung up at the first word of the end."""
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    async with scene() as at, caller(at) as (calling, _):
        await until(lambda: at.connections)
        stopping = asyncio.create_task(at.server.stop(3))
        await asyncio.sleep(0.05)
        calling.writer.close()
        await asyncio.wait_for(stopping, 2)
        await asyncio.sleep(0.3)
    assert faults == []


@on_both_loops
async def test_the_end_does_not_wait_for_ever() -> None:
    """What is not answered within the grace is cut off."""
    async with scene() as at, caller(at) as (calling, heard):
        await calling.says(check(1, "hslow"))
        await until(lambda: at.people.asked)
        async with asyncio.timeout(1):
            await at.server.stop(0.3)
        assert 1 not in {frame.stream for frame in await heard.all()}
        assert at.people.answered == []


@on_both_loops
async def test_no_answer_waits_for_an_acknowledgement() -> None:
    """Nagle's algorithm is off."""
    async with scene() as at, caller(at):
        await until(lambda: at.connections)
        (connection,) = at.connections
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
