"""Requests over HTTP/2 that an HTTP/1 server behind would read differently, and what is to become of each.

Sources: RFC 9113 (sections 8.1.1, 8.2 and 8.3), "HTTP/2: The Sequel is Always Worse".
"""

import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from tests.real_envoy.smuggling_cases import BODY, CHAT, HIDDEN, PLAIN, TOKEN, post

Headers = Sequence[tuple[bytes, bytes]]
RESET = 0
"""The stream or the connection is ended without an answer."""
AUTHORITY = (b":authority", b"body.localhost")
PATH = (b":path", CHAT)
METHOD = (b":method", b"POST")
SCHEME = (b":scheme", b"http")
REST = ((b"authorization", b"Bearer " + TOKEN), (b"content-type", b"application/json"))
BASE: Headers = (METHOD, SCHEME, AUTHORITY, PATH, *REST)
CRLF = b"\r\nHost: theirs.localhost\r\nX: "


@dataclass(frozen=True, slots=True)
class Http2Case:
    """Headers, body and trailers, and what they come to.

    That is a status or `RESET`, and no model server hears of it; or the same as a plain request over HTTP/1.
    """

    name: str
    headers: Headers
    comes_to: int | bytes
    body: bytes = BODY
    trailers: Headers = ()


def _in(old: tuple[bytes, bytes], *new: tuple[bytes, bytes]) -> Headers:
    """Give the plain headers with others in the place of one."""
    return [header for base in BASE for header in (new if base == old else (base,))]


def _value(old: tuple[bytes, bytes], value: bytes) -> Headers:
    return _in(old, (old[0], value))


def _and(*more: tuple[bytes, bytes]) -> Headers:
    return [*BASE, *more]


def _connection() -> Iterable[Http2Case]:
    yield Http2Case("plain", BASE, PLAIN)
    for name, value in (
        (b"connection", b"close"), (b"connection", b"x-igw-principal"), (b"keep-alive", b"timeout=5"),
        (b"proxy-connection", b"keep-alive"), (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"identity"),
        (b"upgrade", b"h2c"), (b"te", b"gzip"), (b"te", b"trailers, chunked"),
    ):  # fmt: skip
        yield Http2Case(f"{name.decode()}: {value.decode()}", _and((name, value)), RESET)
    yield Http2Case("te: trailers", _and((b"te", b"trailers")), post(b"TE: trailers"))


def _lengths() -> Iterable[Http2Case]:
    n = len(BODY)
    for length in (
        b"0",
        b"5",
        b"%d" % (n - 1),
        b"%d" % (n + 1),
        b"-1",
        b"+%d" % n,
        b"x",
        b"",
        b"%d, %d" % (n, n),
    ):
        yield Http2Case(f"content-length: {length.decode()}", _and((b"content-length", length)), RESET)
    yield Http2Case("the right length", _and((b"content-length", b"%d" % n)), PLAIN)
    both = ((b"content-length", b"%d" % n), (b"content-length", b"5"))
    yield Http2Case("two lengths", _and(*both), RESET)
    yield Http2Case("a length and no body", _and((b"content-length", b"%d" % n)), RESET, body=b"")
    yield Http2Case(
        "a request behind the body", _and((b"content-length", b"%d" % n)), RESET, body=BODY + HIDDEN
    )
    chunked = b"0\r\n\r\n" + HIDDEN
    yield Http2Case("chunks in DATA", BASE, 400, body=chunked)


def _owners() -> Iterable[Http2Case]:
    yield Http2Case("another host", _and((b"host", b"theirs.localhost")), PLAIN)
    yield Http2Case(
        "another host before",
        [(METHOD), SCHEME, AUTHORITY, PATH, (b"host", b"theirs.localhost"), *REST],
        PLAIN,
    )
    yield Http2Case("host alone", _in(AUTHORITY, (b"host", b"body.localhost")), RESET)
    yield Http2Case("two authorities", _in(AUTHORITY, AUTHORITY, (b":authority", b"theirs.localhost")), RESET)
    yield Http2Case("no authority", _in(AUTHORITY), RESET)
    yield Http2Case("an empty authority", _value(AUTHORITY, b""), RESET)
    for host in (
        b"body.localhost" + CRLF,
        b"body.localhost\x00",
        b"body.localhost theirs.localhost",
        b"body.localhost/x",
    ):
        yield Http2Case(f"authority {host!r}", _value(AUTHORITY, host), RESET)
    yield Http2Case("an authority with a user", _value(AUTHORITY, b"body.localhost@theirs.localhost"), RESET)
    yield Http2Case("upper case and a port", _value(AUTHORITY, b"BODY.localhost:80"), PLAIN)
    yield Http2Case("our headers", _and((b"x-igw-principal", b"root"), (b"x_igw_model", b"x")), PLAIN)
    yield Http2Case("two tokens", _and((b"authorization", b"Bearer CW-SECRET-nobody")), 401)
    yield Http2Case("no token", [header for header in BASE if header[0] != b"authorization"], 401)


def _lines() -> Iterable[Http2Case]:
    for method in (b"POST / HTTP/1.1" + CRLF, b"PO ST", b"", b"POST\x00", b"GET\r\n"):
        yield Http2Case(f"method {method!r}", _value(METHOD, method), RESET)
    for path in (
        CHAT + b" HTTP/1.1" + CRLF,
        CHAT + b"\x00",
        CHAT + b"\r",
        CHAT + b"\n",
        b"",
        CHAT + b" x",
        b"\xff",
    ):
        yield Http2Case(f"path {path!r}", _value(PATH, path), RESET)
    yield Http2Case("a path with a fragment", _value(PATH, CHAT + b"#x"), 400)
    yield Http2Case("no slash", _value(PATH, b"theirs.localhost" + CHAT), RESET)
    yield Http2Case("an absolute path", _value(PATH, b"http://theirs.localhost" + CHAT), RESET)
    yield Http2Case(
        "two slashes", _value(PATH, b"//theirs.localhost" + CHAT), post(target=b"/theirs.localhost" + CHAT)
    )
    yield Http2Case("dots", _value(PATH, b"/x/%2e%2e" + CHAT), PLAIN)
    for scheme in (b"http" + CRLF, b"http://theirs.localhost/?", b""):
        yield Http2Case(f"scheme {scheme!r}", _value(SCHEME, scheme), RESET)
    for scheme in (b"https", b"ftp"):
        yield Http2Case(f"scheme {scheme!r}", _value(SCHEME, scheme), PLAIN)
    for missing in (METHOD, SCHEME, PATH):
        yield Http2Case(f"no {missing[0].decode()}", _in(missing), RESET)
    for twice in (METHOD, SCHEME, PATH):
        yield Http2Case(f"two of {twice[0].decode()}", _in(twice, twice, twice), RESET)
    yield Http2Case("a pseudo-header behind others", [METHOD, SCHEME, AUTHORITY, *REST, PATH], RESET)
    yield Http2Case("an unknown pseudo-header", _in(PATH, PATH, (b":x", b"1")), RESET)
    yield Http2Case("a status", _in(PATH, PATH, (b":status", b"200")), RESET)
    connect = [(b":method", b"CONNECT"), AUTHORITY, *REST]
    yield Http2Case("CONNECT", connect, 404)
    extended = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), SCHEME, AUTHORITY, PATH, *REST]
    yield Http2Case("extended CONNECT", extended, RESET)


def _fields() -> Iterable[Http2Case]:
    for name in (
        b"X-A", b"Host", b"x:a", b"x a", b"x\r\nhost: theirs.localhost", b"x\x00", b"x\xff", b"", b"x\n",
        b"transfer-encoding ", b"transfer-encoding: chunked\r\nx", b"content-length:", b"\tx",
    ):  # fmt: skip
        yield Http2Case(f"name {name!r}", _and((name, b"chunked")), RESET)
    for value in (b"1" + CRLF, b"1\r", b"1\n", b"1\x00", b"1\r\n\r\n" + HIDDEN, b"\x01", b"\x7f"):
        yield Http2Case(f"value {value[:12]!r}", _and((b"x-a", value)), RESET)
    yield Http2Case("a value with a space before", _and((b"x-a", b" 1")), post(b"X-A: 1"))
    many = tuple((b"x-%d" % n, b"1") for n in range(101))
    yield Http2Case("a hundred headers too many", _and(*many), RESET)
    yield Http2Case("a pseudo-header in trailers", BASE, RESET, trailers=((b":path", b"/"),))
    yield Http2Case(
        "a header of a connection in trailers", BASE, RESET, trailers=((b"transfer-encoding", b"chunked"),)
    )
    yield Http2Case(
        "trailers", BASE, PLAIN, trailers=((b"host", b"theirs.localhost"), (b"x-igw-principal", b"root"))
    )


HTTP2 = [*_connection(), *_lengths(), *_owners(), *_lines(), *_fields()]


def exchange(port: int, token: bytes, case: Http2Case) -> tuple[int, bytes]:
    """Send a request as it stands, over a connection of its own; give the answer's status, or `RESET`, and its body."""
    config = h2.config.H2Configuration(
        header_encoding=None,
        validate_outbound_headers=False,
        normalize_outbound_headers=False,
        split_outbound_cookies=False,
    )
    connection = h2.connection.H2Connection(config)
    connection.initiate_connection()
    headers = [(name, value.replace(TOKEN, token)) for name, value in case.headers]
    connection.send_headers(1, headers, end_stream=not case.body)
    if case.body:
        connection.send_data(1, case.body, end_stream=not case.trailers)
    if case.trailers:
        connection.send_headers(1, case.trailers, end_stream=True)
    status, text = RESET, b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        peer.sendall(connection.data_to_send())
        while received := _received(peer):
            for event in connection.receive_data(received):
                match event:
                    case h2.events.ResponseReceived(headers=told):
                        status = int(dict(told or ())[b":status"])
                    case h2.events.DataReceived(data=bytes(data)):
                        text += data
                    case h2.events.StreamEnded() | h2.events.StreamReset() | h2.events.ConnectionTerminated():
                        return status, text
                    case _:
                        pass
            peer.sendall(connection.data_to_send())
    return status, text


def _received(peer: socket.socket) -> bytes:
    try:
        return peer.recv(65536)
    except ConnectionError:
        return b""
