"""What an HTTP server of ours takes from a client that nobody knows, over real sockets."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from igw_ops.http1 import MAX_CONNECTIONS, MAX_HEAD_BYTES, MAX_HEADERS
from igw_ops.listening import listening_socket
from igw_ops.server import http_server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

BEGIN = b"POST /length HTTP/1.1\r\nHost: x\r\n"


async def _length(request: Request) -> Response:
    return PlainTextResponse(f"{len(await request.body())}\n")


async def _slow(_: Request) -> Response:
    await asyncio.sleep(1.5)
    return PlainTextResponse("slow\n")


@contextlib.asynccontextmanager
async def server(keep_alive_seconds: int = 75) -> AsyncIterator[int]:
    """Serve on a free port, which is given."""
    routes = [Route("/length", _length, methods=["POST"]), Route("/slow", _slow)]
    with listening_socket("test", "127.0.0.1", 0) as listening:
        serving = http_server(Starlette(routes=routes), "127.0.0.1", 0, keep_alive_seconds)
        running = asyncio.create_task(serving.serve(sockets=[listening]))
        yield listening.getsockname()[1]
        serving.should_exit = True
        await running


async def replies(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send, and give what came until the server closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with contextlib.suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause)
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(reader.read(), timeout=10)
        return b""
    finally:
        writer.close()


def status(reply: bytes) -> bytes:
    """Give the status of the first reply, or nothing."""
    return reply.partition(b"\r\n")[0].removeprefix(b"HTTP/1.1 ")[:3]


def endless(first: bytes, repeated: bytes) -> Iterator[bytes]:
    """Give a request that is never whole."""
    yield first
    while True:
        yield repeated


ENDLESS = [
    (BEGIN + b"X: ", b"x" * 8192),
    (b"POST /", b"x" * 8192),
    (BEGIN, b"a:\r\n" * 2048),
    (BEGIN + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"x" * 8192),
    (BEGIN + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x" * 8192),
]


@pytest.mark.parametrize(
    ("first", "repeated"), ENDLESS, ids=["header", "path", "headers", "trailer", "chunk"]
)
async def test_a_head_that_does_not_end(first: bytes, repeated: bytes) -> None:
    """It is refused after 64 KiB, wherever it grows, and others are served meanwhile and afterwards."""
    whole = BEGIN + b"Connection: close\r\nContent-Length: 0\r\n\r\n"
    async with server() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        refused = asyncio.create_task(reader.readexactly(12))
        sent = 0
        for part in endless(first, repeated):
            writer.write(part)
            sent += len(part)
            assert status(await replies(port, whole)) == b"200"
            if refused.done() or sent > MAX_HEAD_BYTES * 2:
                break
        writer.close()
    assert (status(refused.result()), sent <= MAX_HEAD_BYTES * 2) == (b"400", True)


@pytest.mark.parametrize(("headers", "answered"), [(MAX_HEADERS, b"200"), (MAX_HEADERS + 1, b"400")])
async def test_how_many_headers(headers: int, answered: bytes) -> None:
    """As many as Envoy takes."""
    own = b"Connection: close\r\nContent-Length: 0\r\n"
    async with server() as port:
        reply = await replies(port, BEGIN + own + b"a: b\r\n" * (headers - 3) + b"\r\n")
    assert status(reply) == answered


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_is_no_head(chunked: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """However long it is, in many requests of one connection: what it may be is the app's to say."""
    body = b"x" * MAX_HEAD_BYTES * 4
    coding = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    whole = b"".join(b"400\r\n%s\r\n" % body[:1024] for _ in range(256)) + b"0\r\n\r\n" if chunked else body
    request = BEGIN + coding + b"\r\n\r\n" + whole
    last = BEGIN + b"Connection: close\r\nContent-Length: 0\r\n\r\n"
    async with server() as port:
        reply = await replies(port, request, request, last)
    assert re.findall(rb"\r\n\r\n(\d+)\n", reply) == [b"262144", b"262144", b"0"]


async def test_heads_do_not_add_up() -> None:
    """Each request of a connection may have a head of its own."""
    request = BEGIN + b"Content-Length: 0\r\nX: " + b"x" * 8192 + b"\r\n"
    async with server() as port:
        reply = await replies(port, *[request + b"\r\n"] * 20, request + b"Connection: close\r\n\r\n")
    assert re.findall(rb"\r\n\r\n(\d+)\n", reply) == [b"0"] * 21


@pytest.mark.parametrize(
    "parts",
    [
        [b""],
        [BEGIN],
        [BEGIN, *[b"X: y\r\n"] * 40],
        [BEGIN + b"Content-Length: 0\r\n\r\n", b"GET /slow HTTP/1.1\r\n", *[b"X: y\r\n"] * 40],
    ],
    ids=["nothing", "a part", "a line now and then", "after a reply"],
)
async def test_a_head_has_its_time(parts: list[bytes]) -> None:
    """A connection is closed when no whole head came in the time that it may be idle, however often a byte does."""
    async with server(keep_alive_seconds=1) as port:
        began = time.monotonic()
        await replies(port, *parts, pause=0.1)
        took = time.monotonic() - began
    assert 0.9 < took < 4


async def test_a_reply_has_its_own_time() -> None:
    """The time of heads does not run while a request is answered, nor while one waits behind it."""
    slow = b"GET /slow HTTP/1.1\r\nHost: x\r\n"
    async with server(keep_alive_seconds=1) as port:
        reply = await replies(port, slow + b"\r\n" + slow + b"Connection: close\r\n\r\n")
    assert reply.count(b"slow\n") == 2


async def test_how_many_connections() -> None:
    """Those above the limit are closed as they come; the others, and new ones when some have gone, are served."""
    request = BEGIN + b"Connection: close\r\nContent-Length: 0\r\n\r\n"
    async with server() as port:
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS)]
        refused = await replies(port, request)
        reader, writer = opened.pop()
        writer.write(request)
        kept = await reader.read()
        writer.close()
        new = await replies(port, request)
        for _, writer in opened:
            writer.close()
    assert (refused, status(kept), status(new)) == (b"", b"200", b"200")
