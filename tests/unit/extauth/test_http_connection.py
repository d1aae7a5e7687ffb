"""HTTP/1.1 over real sockets: order, keep-alive, look-ups under way, bounds of time, the end."""

import asyncio
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from igw_extauth.wire.http1 import Http1

from tests.unit.extauth.scene import Scene, on_both_loops, scene, until


def allowed(name: str) -> str:
    """Give the reply to one who may pass."""
    told = (
        f"x-igw-principal: {name}\r\nx-igw-organization: org-1\r\nx-igw-token: {name.encode().hex()[:8]}\r\n"
    )
    return f"HTTP/1.1 200 OK\r\n{told}content-length: 0\r\n\r\n"


HELLO = allowed("hello")
MANY = 3000


def ask(name: str, line: str = "POST /v1 HTTP/1.1", more: str = "") -> bytes:
    """Give a check as sent."""
    headers = f"x-igw-policy: coreweave/org-1/gw-1\r\nauthorization: Bearer {name}\r\n"
    return f"{line}\r\n{headers}{more}\r\n".encode()


def spoken(at: Scene) -> list[Http1]:
    """Give what is spoken on the connections that have begun."""
    return [one._conversation for one in at.connections if isinstance(one._conversation, Http1)]


@contextmanager
def tasks_counted() -> Iterator[list[object]]:
    """Note each task that the loop makes."""
    loop = asyncio.get_running_loop()
    made: list[object] = []

    def factory(loop: asyncio.AbstractEventLoop, coroutine: object, **rest: object) -> asyncio.Task[object]:
        made.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **rest)  # type: ignore[arg-type]

    loop.set_task_factory(factory)  # type: ignore[arg-type]
    yield made
    loop.set_task_factory(None)


@on_both_loops
async def test_requests_of_one_connection() -> None:
    """A connection is kept; what is remembered is answered without a task."""
    async with scene() as at, at.caller() as caller:
        with tasks_counted() as made:
            for _ in range(3):
                await caller.says(ask("hello"))
                assert await caller.reader.readexactly(len(HELLO)) == HELLO.encode()
        assert made == []


@on_both_loops
async def test_byte_by_byte() -> None:
    """A request may come in any pieces."""
    async with scene() as at, at.caller() as caller:
        for octet in ask("hello"):
            await caller.says(bytes([octet]))
            await asyncio.sleep(0)
        assert await caller.hears(len(HELLO)) == HELLO


@on_both_loops
async def test_replies_come_in_the_order_of_the_requests() -> None:
    """Quick ones behind a slow one wait for it, and each gets its own answer."""
    async with scene() as at, at.caller() as caller:
        names = ["hello", "hslow-1", "hey", "hslow-2", "ho"]
        await caller.says(*map(ask, names))
        assert await caller.hears(len(HELLO)) == HELLO
        await caller.hears_nothing()
        assert at.people.asked == ["hslow-1"], "a second look-up began before the first was answered"
        at.people.open.set()
        rest = "".join(map(allowed, names[1:]))
        assert await caller.hears(len(rest)) == rest


@on_both_loops
async def test_nothing_is_read_while_a_lookup_is_under_way() -> None:
    """What comes meanwhile stays with the system, and is answered afterwards."""
    async with scene() as at, at.caller() as caller:
        await caller.says(ask("hslow"))
        await until(lambda: at.people.asked)
        await caller.says(ask("hello"))
        await asyncio.sleep(0.05)
        assert [each._waiting for each in spoken(at)] == [deque()]
        at.people.open.set()
        both = allowed("hslow") + HELLO
        assert await caller.hears(len(both)) == both


@pytest.mark.parametrize("goes", ["closes", "breaks off"])
@on_both_loops
async def test_a_caller_who_goes_away_ends_nothing(goes: str) -> None:
    """The look-up goes on, the next caller is answered, and the connection is forgotten."""
    async with scene() as at:
        async with at.caller() as caller:
            await caller.says(ask("hslow"))
            await until(lambda: at.people.asked)
            if goes == "closes":
                caller.writer.close()
            else:
                linger = b"\1\0\0\0\0\0\0\0"
                caller.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        async with at.caller() as other:
            await other.says(ask("hello"))
            assert await other.hears(len(HELLO)) == HELLO
        at.people.open.set()
        await until(lambda: not at.connections)
        assert at.people.answered == ["hslow"]


@on_both_loops
async def test_half_closed() -> None:
    """Who asked and then ended its side is answered, and then the connection ends."""
    async with scene() as at, at.caller() as caller:
        await caller.says(ask("hslow"))
        caller.writer.write_eof()
        await until(lambda: at.people.asked)
        at.people.open.set()
        assert await caller.hears_all() == allowed("hslow")


CLOSED = HELLO.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")
DENIED = "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\nwww-authenticate: Bearer\r\n"
REFUSED = "HTTP/1.1 {}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
LAST = {
    "close": (ask("hello", more="connection: close\r\n"), CLOSED),
    "close, behind another": (ask("hello") + ask("hello", more="connection: close\r\n"), HELLO + CLOSED),
    "HTTP/1.0": (ask("hello", "GET / HTTP/1.0"), CLOSED),
    "upgrade": (ask("hello", more="connection: upgrade\r\nupgrade: websocket\r\n") + b"\x81\x85", CLOSED),
    "CONNECT": (ask("hello", "CONNECT a:1 HTTP/1.1") + b"\0\0", CLOSED),
    "garbage": (b"\0\0\r\n\r\n", REFUSED.format("400 Bad Request")),
    "garbage behind a request": (ask("hello") + b"\0", HELLO + REFUSED.format("400 Bad Request")),
    "long head": (b"GET /" + b"a" * 70_000, REFUSED.format("431 Request Header Fields Too Large")),
    "long body": (
        ask("hello", more="content-length: 99999\r\n") + b"a" * 70_000,
        REFUSED.format("413 Request Entity Too Large"),
    ),
}


@pytest.mark.parametrize(("data", "heard"), LAST.values(), ids=LAST.keys())
@on_both_loops
async def test_the_last_reply_of_a_connection(data: bytes, heard: str) -> None:
    """A reply that ends its connection says so, and the connection ends."""
    async with scene() as at, at.caller() as caller:
        await caller.says(data)
        assert await caller.hears_all() == heard


@on_both_loops
async def test_garbage_behind_a_slow_request_waits_its_turn() -> None:
    """A refusal does not overtake the answers before it."""
    async with scene() as at, at.caller() as caller:
        await caller.says(ask("hslow") + b"\0")
        await until(lambda: at.people.asked)
        at.people.open.set()
        assert await caller.hears_all() == allowed("hslow") + REFUSED.format("400 Bad Request")


@on_both_loops
async def test_the_reply_to_head_has_no_body() -> None:
    """Its headers are those of the reply to GET, its length too."""
    async with scene() as at, at.caller() as caller:
        close = "connection: close\r\n"
        await caller.says(ask("x", "HEAD / HTTP/1.1"), ask("x", "GET / HTTP/1.1", close))
        heard = await caller.hears_all()
    head, _, rest = heard.partition("\r\n\r\n")
    length = len(rest.partition("\r\n\r\n")[2])
    assert head == f"{DENIED}content-length: {length}"
    assert rest.startswith(f"{head}\r\n{close}\r\n{{")


@pytest.mark.parametrize("token", ["broken", "slow-broken"])
@on_both_loops
async def test_our_own_fault_is_no_silence(token: str) -> None:
    """When a check fails by a fault of ours the connection ends at once: Envoy denies, and does not wait."""
    async with scene() as at, at.caller() as caller:
        at.people.open.set()
        await caller.says(ask(token))
        assert await caller.hears_all() == ""


@pytest.mark.parametrize("data", [b"", b"POST / HT", ask("hello")], ids=["silent", "slow", "after a reply"])
@on_both_loops
async def test_an_idle_connection_is_closed(data: bytes) -> None:
    """A connection that brings no whole request in its time is closed, however it passes the time."""
    began = time.monotonic()
    async with scene(idle_seconds=0.2) as at, at.caller() as caller:
        await caller.says(data)
        assert await caller.hears_all() in {"", HELLO}
        assert time.monotonic() - began > 0.19
        assert not at.connections


@on_both_loops
async def test_a_busy_connection_is_not_idle() -> None:
    """Each reply gives the connection its whole time again, and a look-up is not idleness."""
    began = time.monotonic()
    async with scene(idle_seconds=1) as at, at.caller() as caller:
        while time.monotonic() - began < 1.2:
            await caller.says(ask("hello"))
            assert await caller.hears(len(HELLO)) == HELLO
            await asyncio.sleep(0.1)
        await caller.says(ask("hslow"))
        await asyncio.sleep(1.2)
        at.people.open.set()
        assert await caller.hears(len(allowed("hslow"))) == allowed("hslow")


@on_both_loops
async def test_who_does_not_read_is_not_answered_without_end() -> None:
    """Replies that are not read hold back the next ones, and after its time the connection is closed."""
    async with scene(idle_seconds=0.5) as at, at.caller() as caller:
        caller.writer.write(ask("x") * MANY)
        await until(lambda: any(not each._writable for each in spoken(at)))
        (connection,) = at.connections
        assert connection._transport.get_write_buffer_size() < 100_000
        assert not connection._reading
        await until(lambda: not at.connections)


@on_both_loops
async def test_who_reads_late_is_answered_in_full() -> None:
    """Held back replies come, in order, when the caller reads again."""
    async with scene() as at, at.caller() as caller:
        names = [f"h{i}" for i in range(MANY)]
        caller.writer.write(b"".join(map(ask, names)))
        await until(lambda: any(not each._writable for each in spoken(at)))
        whole = "".join(map(allowed, names))
        assert await caller.hears(len(whole)) == whole


@on_both_loops
async def test_the_end() -> None:
    """Idle connections close at once, those under way after their reply; nobody new comes in."""
    async with scene() as at, at.caller() as idle, at.caller() as busy, at.caller() as slow:
        await idle.says(ask("hello"))
        assert await idle.hears(len(HELLO)) == HELLO
        await busy.says(ask("hslow"))
        await slow.says(ask("hello")[:-1])
        await until(lambda: at.people.asked)
        await asyncio.sleep(0.02)
        stopping = asyncio.create_task(at.server.stop(3))
        assert await idle.hears_all() == ""
        with pytest.raises(ConnectionRefusedError):
            async with at.caller():
                pass
        at.people.open.set()
        await slow.says(b"\n")
        assert await busy.hears_all() == allowed("hslow").replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")
        assert await slow.hears_all() == CLOSED
        await stopping


@on_both_loops
async def test_the_end_does_not_wait_for_ever() -> None:
    """What is not answered within the grace is cut off."""
    async with scene() as at, at.caller() as caller:
        await caller.says(ask("hslow"))
        await until(lambda: at.people.asked)
        async with asyncio.timeout(1):
            await at.server.stop(0.1)
        assert await caller.hears_all() == ""
        assert at.people.answered == []


@on_both_loops
async def test_no_reply_waits_for_an_acknowledgement() -> None:
    """Nagle's algorithm is off on both loops."""
    async with scene() as at, at.caller() as caller:
        await caller.says(ask("hello"))
        await caller.hears(len(HELLO))
        (connection,) = at.connections
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
