"""What clients may do, and what becomes of those that do more; spoken byte for byte over real connections."""

import asyncio
import contextlib
from typing import Any

import pytest
import structlog
import uvloop
from igw_ops.grpc.server import GrpcStatus
from igw_ops.http2 import frames
from igw_ops.http2.frames import Http2Error

from tests.unit.grpc.scene import ECHO, Raw, Scene, scene
from tests.unit.grpc.talk import BEGINNING, begin, data, headers, message

LARGE = message(b"x" * 200_000)


async def held_upload(it: Scene, number: int) -> Raw:
    """A client whose large message stops at the end of its first window."""
    raw = await it.raw(BEGINNING + begin(1, path=ECHO) + data(1, LARGE[:65_535]))
    await it.call(number)
    await settled(raw)
    return raw


async def settled(raw: Raw) -> None:
    """Wait until the server has read all that was sent."""
    raw.writer.write(frames.frame(frames.PING, 0, 0, b"settled?"))
    await raw.reader.readuntil(b"settled?")


async def admitted(raw: Raw) -> bool:
    """Whether the rest of the message may come."""
    raw.writer.write(frames.frame(frames.PING, 0, 0, b"admitted"))
    update = frames.window_update(1, len(LARGE) - 65_535)
    return update in await raw.reader.readuntil(b"admitted")


async def test_large_messages_take_turns() -> None:
    """Four are on their way, the fifth waits; it has its turn when one is whole, the sixth when one is given up."""
    async with scene(large_at_once=4) as it:
        raws = []
        for number in range(6):
            raws.append(await it.raw(BEGINNING + begin(1, path=ECHO) + data(1, LARGE[:65_535])))
            await it.call(number)
            assert await admitted(raws[-1]) is (number < 4)
        raws[0].writer.write(data(1, LARGE[65_535:]))
        await it.calls[0].until("200000 bytes")
        assert [await admitted(raw) for raw in raws[4:]] == [True, False]
        raws[1].writer.write(frames.reset(1, Http2Error.CANCEL))
        await it.calls[1].until("ended")
        assert await admitted(raws[5])
        for number in (2, 3, 4, 5):
            raws[number].writer.write(data(1, LARGE[65_535:]))
            await it.calls[number].until("200000 bytes")
        for raw in raws:
            raw.writer.close()


async def test_a_turn_ends_in_time() -> None:
    """Who holds a turn and sends nothing loses it and its stream; its connection lives, and the next has its turn."""
    async with scene(large_at_once=1, large_seconds=0.2) as it:
        first, second = await held_upload(it, 0), await held_upload(it, 1)
        await it.calls[0].until("ended")
        trailers = headers(await first.frame(frames.HEADERS))
        assert trailers["grpc-status"] == "4"
        assert await admitted(second)
        first.writer.write(begin(3, path=ECHO) + data(3, message(b"again")))
        await (await it.call(2)).until("5 bytes")
        for raw in (first, second):
            raw.writer.close()


async def test_a_hung_up_client_gives_its_turn_back() -> None:
    """Also when it only waited for it."""
    async with scene(large_at_once=1) as it:
        one, two, three = [await held_upload(it, number) for number in range(3)]
        two.writer.close()
        await it.calls[1].until("ended")
        one.writer.close()
        await it.calls[0].until("ended")
        assert await admitted(three)
        three.writer.close()


async def test_a_call_that_the_service_ends_gives_its_turn_back() -> None:
    """Whoever ends a stream, its turn is another's."""
    async with scene(large_at_once=1) as it:
        one, two = await held_upload(it, 0), await held_upload(it, 1)
        it.calls[0].stream.end(GrpcStatus.ABORTED)
        assert await admitted(two)
        for raw in (one, two):
            raw.writer.close()


@pytest.mark.parametrize("path", ["/test.Echo/None", "/test.Echo/Busy"])
async def test_a_call_that_is_over_takes_no_turn(path: str) -> None:
    """Its large message came in the same read as what ended it: nobody would give the turn back."""
    async with scene(large_at_once=1) as it:
        over = await it.raw(BEGINNING + begin(1, path=path) + data(1, LARGE[:10_000]))
        await settled(over)
        other = await it.raw(BEGINNING + begin(1, path=ECHO) + data(1, LARGE[:65_535]))
        await it.call()
        assert await admitted(other)
        for raw in (over, other):
            raw.writer.close()


async def test_how_many_wait_for_their_turn() -> None:
    """Who asks when so many wait is refused, and holds nothing; the turns go on."""
    async with scene(large_at_once=1, large_waiting=2) as it:
        raws = [await held_upload(it, number) for number in range(3)]
        late = await it.raw(BEGINNING + begin(1, path=ECHO) + data(1, LARGE[:65_535]))
        assert headers(await late.frame(frames.HEADERS))["grpc-status"] == "8"
        assert it.calls[3].told == ["ended"]
        raws[0].writer.close()
        await it.calls[0].until("ended")
        assert await admitted(raws[1])
        for raw in (*raws, late):
            raw.writer.close()


UNFINISHED = message(b"x" * 65_000)[:64_000]
STREAMS = range(1, 200, 2)
HOLDING = BEGINNING + b"".join(begin(n, path=ECHO) + data(n, UNFINISHED) for n in STREAMS)
"""A hundred messages, each short enough to need no turn, and none of them whole."""


@pytest.mark.parametrize("connections", [1, 5])
async def test_what_is_held_of_messages_that_are_not_whole(connections: int) -> None:
    """Over all connections it is bounded: those that began first are refused. Who ends what it begins is served."""
    most = 1_000_000
    async with scene(unfinished_bytes=most) as it:
        honest = await it.raw(BEGINNING + begin(1, path=ECHO))
        echo, part = await it.call(), message(b"honest" * 1_000)
        raws = []
        for number in range(connections):
            raws.append(await it.raw(HOLDING))
            await settled(raws[-1])
            honest.writer.write(data(1, part[:3_000]))
            await settled(honest)
            honest.writer.write(data(1, part[3_000:]))
            await settled(honest)
            assert echo.told == ["6000 bytes"] * (number + 1)
            assert most - 2 * len(UNFINISHED) < held(it) <= most
        told = [call.told for call in it.calls[1:]]
        assert told == [["ended"]] * (len(told) - 15) + [[]] * 15
        assert it.server.connections == connections + 1
        for raw in (honest, *raws):
            raw.writer.close()


def held(it: Scene) -> int:
    """What the server holds of messages that are not whole; what it says is what there is."""
    shared = it.server._shared
    calls = [call for peer in shared.peers for call in peer.connection._calls.values()]
    assert shared.unfinished.held == sum(call.inbox.held for call in calls)
    return shared.unfinished.held


async def test_who_is_refused_is_told() -> None:
    """RESOURCE_EXHAUSTED, which an Envoy may try again."""
    async with scene(unfinished_bytes=100_000) as it:
        first = await it.raw(BEGINNING + begin(1, path=ECHO) + data(1, UNFINISHED))
        await settled(first)
        second = await it.raw(BEGINNING + begin(1, path=ECHO) + data(1, UNFINISHED))
        assert headers(await first.frame(frames.HEADERS))["grpc-status"] == "8"
        assert [call.told for call in it.calls] == [["ended"], []]
        for raw in (first, second):
            raw.writer.close()


async def test_a_message_has_its_time() -> None:
    """However often a byte of it comes: its stream is ended, what was held is gone, and its connection lives."""
    async with scene(unfinished_seconds=0.2) as it:
        raw = await it.raw(BEGINNING + begin(1, path=ECHO) + data(1, UNFINISHED))
        call = await it.call()
        async with asyncio.timeout(2):
            while "ended" not in call.told:
                raw.writer.write(data(1, b"x"))
                await asyncio.sleep(0.02)
        assert headers(await raw.frame(frames.HEADERS))["grpc-status"] == "4"
        assert held(it) == 0
        raw.writer.write(begin(3, path=ECHO) + data(3, message(b"again")))
        await (await it.call(1)).until("5 bytes")
        raw.writer.close()


async def test_each_message_has_its_own_time() -> None:
    """A stream that has something under way all the time, and ends each message soon, lives."""
    async with scene(unfinished_seconds=0.2) as it:
        raw = await it.raw(BEGINNING + begin(1, path=ECHO) + data(1, message(b"12345")[:7]))
        call = await it.call()
        for _ in range(12):
            await asyncio.sleep(0.05)
            raw.writer.write(data(1, message(b"12345")[7:] + message(b"12345")[:7]))
        await settled(raw)
        assert call.told == ["5 bytes"] * 12
        raw.writer.close()


@pytest.mark.parametrize("how", ["reset", "hung up", "broken", "the service"])
async def test_what_was_held_is_given_back(how: str) -> None:
    """Whoever ends the stream or the connection."""
    async with scene() as it:
        raw = await it.raw(BEGINNING + begin(1, path=ECHO) + data(1, UNFINISHED))
        call = await it.call()
        await settled(raw)
        assert held(it) == len(UNFINISHED)
        match how:
            case "reset":
                raw.writer.write(frames.reset(1, Http2Error.CANCEL))
            case "hung up":
                raw.writer.close()
            case "broken":
                raw.writer.write(frames.window_update(0, 0))
            case _:
                call.stream.end()
        if how != "the service":
            await call.until("ended")
        assert (held(it), list(it.server._shared.unfinished._deadlines)) == (0, [])
        raw.writer.close()


async def test_a_silent_connection_is_pinged_then_closed() -> None:
    """One that answers lives; one that does not is dead, however open its socket is."""
    async with scene(ping_seconds=0.2, ping_timeout_seconds=0.2) as it:
        dead = await it.raw(BEGINNING + begin(1, path=ECHO))
        live = await it.raw(BEGINNING + begin(1, path=ECHO))
        reader, writer = await asyncio.open_connection("127.0.0.1", it.server.port)  # never says a word

        async def answer() -> None:
            while True:
                ping = await live.frame(frames.PING)
                live.writer.write(frames.frame(frames.PING, frames.ACK, 0, ping.payload))

        answering = asyncio.create_task(answer())
        assert (await dead.frame(frames.PING)).payload == b"igw-ping"
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await dead.frame(frames.PING)
        await it.calls[0].until("ended")
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        await asyncio.sleep(0.5)
        assert (it.calls[1].told, it.server.connections, answering.done()) == ([], 1, False)
        answering.cancel()
        for one in (dead.writer, live.writer, writer):
            one.close()


async def test_a_client_that_speaks_is_not_pinged() -> None:
    """Pings are for the silent."""
    async with scene(ping_seconds=0.3, ping_timeout_seconds=0.3) as it, it.channel() as channel:
        stream = channel.stream_stream(ECHO)()
        for _ in range(15):
            await stream.write(b"hello")
            await stream.read()
            await asyncio.sleep(0.05)
        (peer,) = it.server._shared.peers
        assert peer._pinged_at is None


@pytest.mark.parametrize(
    "wrong", [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", BEGINNING + frames.window_update(0, 0)]
)
async def test_what_breaks_a_connection(wrong: bytes) -> None:
    """It is told why with GOAWAY, and hung up on."""
    async with scene() as it:
        with structlog.testing.capture_logs() as logs:
            raw = await it.raw(wrong)
            goodbye = await raw.frame(frames.GOAWAY)
            assert goodbye.payload == bytes(7) + b"\1"
            assert await raw.reader.read() == b""
        assert [line["event"] for line in logs] == ["connection broken"]
        raw.writer.close()


async def test_calls_of_a_broken_connection_are_told() -> None:
    """Once, and what they send after that is not sent."""
    async with scene() as it:
        raw = await it.raw(BEGINNING + begin(1, path=ECHO))
        call = await it.call()
        raw.writer.write(frames.window_update(0, 0))
        await call.until("ended")
        call.stream.send(b"too late")
        await raw.frame(frames.GOAWAY)
        assert await raw.reader.read() == b""
        assert call.told == ["ended"]
        raw.writer.close()


async def test_what_is_not_grpc() -> None:
    """415, and the service hears nothing of it."""
    async with scene() as it:
        raw = await it.raw(BEGINNING + begin(1, path=ECHO, content_type="application/json"))
        assert headers(await raw.frame(frames.HEADERS)) == {":status": "415"}
        assert it.calls == []
        raw.writer.close()


async def test_connections_are_bounded() -> None:
    """More are hung up on, until one goes."""
    async with scene(connections=1) as it:
        first = await it.raw(BEGINNING + begin(1, path=ECHO))
        await it.call()
        second = await it.raw()
        with contextlib.suppress(ConnectionResetError):
            assert await second.reader.read() == b""
        first.writer.close()
        await it.calls[0].until("ended")
        third = await it.raw()
        await third.frame(frames.SETTINGS)
        for raw in (second, third):
            raw.writer.close()


async def test_streams_are_bounded() -> None:
    """More are refused, which a client may try again elsewhere."""
    async with scene(streams=2) as it:
        raw = await it.raw(BEGINNING + b"".join(begin(stream, path=ECHO) for stream in (1, 3, 5)))
        refusal = await raw.frame(frames.RST_STREAM)
        assert (refusal.stream, refusal.payload[-1]) == (5, Http2Error.REFUSED_STREAM)
        assert len(it.calls) == 2
        raw.writer.close()


WIDE = BEGINNING.replace(frames.settings({}), frames.settings({frames.INITIAL_WINDOW_SIZE: 2**31 - 1}))
WIDE += frames.window_update(0, 2**31 - 65_536)


async def test_a_client_that_does_not_read_costs_what_was_sent_and_no_more() -> None:
    """What waits is not copied into the socket's buffer; once the client reads, all of it comes and the call knows."""
    async with scene() as it:
        raw = await it.raw(WIDE + begin(1, path=ECHO))
        call = await it.call()
        big = bytes(30_000_000)
        call.stream.send(big)
        await asyncio.sleep(0.1)
        assert call.stream.blocked
        assert call.stream.transport.get_write_buffer_size() < 1_000_000
        await raw.reader.readuntil(frames.heading(16_384, frames.DATA, 0, 1))
        came = 0
        while call.blocked or "writable" not in call.told:
            came += len(await raw.reader.read(1_000_000))
        assert came > 20_000_000
        raw.writer.close()


async def test_a_client_that_does_not_read_may_not_ask_for_ever() -> None:
    """Pongs are not held by any window: with too many unread the client is hung up on."""
    async with scene() as it:
        raw = await it.raw(WIDE + begin(1, path=ECHO))
        call = await it.call()
        call.stream.send(bytes(30_000_000))
        with contextlib.suppress(ConnectionError):
            while not raw.writer.is_closing():
                raw.writer.write(frames.frame(frames.PING, 0, 0, b"answer!!") * 100)
                await asyncio.sleep(0)
        await call.until("ended")
        raw.writer.close()


async def test_who_sends_when_told_is_served_in_turn() -> None:
    """A service with more and more to say sends when it is writable; it does not starve others."""
    async with scene() as it, it.channel() as channel:
        greedy = await it.raw(WIDE + begin(1, path=ECHO))
        call = await it.call()

        def more() -> None:
            while not call.stream.blocked:
                call.stream.send(bytes(100_000))

        call.on_writable = more
        more()
        reading = asyncio.create_task(_read_all(greedy))
        stream: Any = channel.stream_stream(ECHO)()
        for _ in range(20):
            await stream.write(b"hello")
            assert await asyncio.wait_for(stream.read(), 2) == b"hello"
        assert call.told.count("writable") > 2
        call.stream.end()
        greedy.writer.close()
        await reading


async def _read_all(raw: Raw) -> None:
    with contextlib.suppress(ConnectionError):
        while await raw.reader.read(1_000_000):
            pass


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_what_is_sent_after_a_connection_s_end_goes_nowhere(loop: str) -> None:
    """A service that speaks to all its streams may meet one that has just ended: nothing is raised, nothing sent."""

    async def talk() -> None:
        async with scene() as it:
            raw = await it.raw(BEGINNING + begin(1, path=ECHO))
            call = await it.call()
            call.stream.transport.abort()
            call.stream.send(b"between the end and the news of it")
            await call.until("ended")
            call.stream.send(b"after")
            call.stream.end()
            raw.writer.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else None) as runner:
        runner.run(talk())
