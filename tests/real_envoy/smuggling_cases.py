"""Requests whose end, target or owner two servers may read differently, as bytes; and what is to become of each.

Sources: RFC 9112 (sections 2.2, 3.2, 5, 6, 7.1 and 11.2), RFC 9113 (sections 8.1.1, 8.2 and 8.3), and what is known of
such attacks ("HTTP Desync Attacks", "HTTP/2: The Sequel is Always Worse").
"""

from collections.abc import Iterable
from dataclasses import dataclass

CHAT = b"/v1/chat/completions"
BODY = b'{"model":"acme/m","messages":[{"role":"user","content":"plain"}]}'
TOKEN = b"{token}"
"""Stands for the client's token, which is good for the gateways body, header and path, and no good for theirs."""
AUTHORIZATION = b"Authorization: Bearer " + TOKEN
JSON = b"Content-Type: application/json"
CHUNKED = b"Transfer-Encoding: chunked"


def lines(*parts: bytes) -> bytes:
    """Give the head of a message."""
    return b"\r\n".join(parts) + b"\r\n\r\n"


def length(body: bytes) -> bytes:
    """Give the header that tells a body's length."""
    return b"Content-Length: %d" % len(body)


def chunks(*parts: bytes) -> bytes:
    """Give a chunked body."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def post(
    *more: bytes, target: bytes = CHAT, host: bytes = b"body.localhost", tail: bytes | None = None
) -> bytes:
    """Give a POST with these header lines; without a `tail` the body is `BODY`, and its length told."""
    told, body = ([length(BODY)], BODY) if tail is None else ([], tail)
    hosts = [b"Host: " + host] if host else []
    head = lines(b"POST %b HTTP/1.1" % target, *hosts, AUTHORIZATION, JSON, *more, *told)
    return head + body


PLAIN = post()
BY_HEADER = post(b"X-Model-Name: acme/m", host=b"header.localhost")
BY_PATH = post(target=b"/acme%2Fm" + CHAT, host=b"path.localhost")
HIDDEN = (
    lines(
        b"POST /v1/chat/completions HTTP/1.1",
        b"Host: theirs.localhost",
        b"X-Igw-Principal: root",
        JSON,
        length(BODY),
    )
    + BODY
)
"""What must never be a request of its own: it has no token, and names another's gateway."""


@dataclass(frozen=True, slots=True)
class Case:
    """Bytes, and what they come to.

    That is an error of this status, of which no model server hears, or the same as a request that all read alike.
    """

    name: str
    sent: bytes
    comes_to: int | bytes


def _lengths() -> Iterable[Case]:
    n = len(BODY)
    cut = b"Content-Length: 5"
    yield Case("length and chunks", post(CHUNKED, length(BODY), tail=chunks(BODY)), 400)
    yield Case("chunks and length", post(length(BODY), CHUNKED, tail=chunks(BODY)), 400)
    yield Case(
        "CL.TE", post(b"Content-Length: %d" % (5 + len(HIDDEN)), CHUNKED, tail=b"0\r\n\r\n" + HIDDEN), 400
    )
    yield Case("TE.CL", post(CHUNKED, b"Content-Length: 4", tail=chunks(HIDDEN)), 400)
    yield Case(
        "a folded transfer-encoding", post(length(BODY), b"Transfer-Encoding:\r\n chunked", tail=BODY), 400
    )
    yield Case("two lengths", post(cut, length(BODY), tail=BODY), 400)
    yield Case("two lengths, the right one first", post(length(BODY), cut, tail=BODY), 400)
    yield Case("the same length twice", post(length(BODY), length(BODY), tail=BODY), 400)
    yield Case("a list of lengths", post(b"Content-Length: %d, %d" % (n, n), tail=BODY), 400)
    for value in (b"+%d", b"-%d", b"0x%x", b"%d.0", b"%d ,", b"\x0b%d", b"%d;", b'"%d"', b"1e%d"):
        yield Case(f"length {value.decode()}", post(b"Content-Length: " + value % n, tail=BODY), 400)
    yield Case("length of nothing", post(b"Content-Length:", tail=BODY), 400)
    yield Case("length beyond 64 bits", post(b"Content-Length: 18446744073709551616", tail=BODY), 400)
    yield Case("length with zeros before", post(b"Content-Length: 000%d" % n, tail=BODY), PLAIN)
    yield Case("a length on a GET, and a request in its body", _get(length(HIDDEN)) + HIDDEN, _get())


def _codings() -> Iterable[Case]:
    yield Case("chunks", post(CHUNKED, tail=chunks(BODY[:7], BODY[7:])), PLAIN)
    yield Case("CHUNKED", post(b"TRANSFER-ENCODING: CHUNKED", tail=chunks(BODY)), PLAIN)
    for value in (
        b"xchunked", b"chunked, identity", b"identity", b"chunked, chunked", b"gzip, chunked", b"\x0bchunked",
        b"chunked;q=1", b'"chunked"', b"chunked\x00", b"\xc3\xa7hunked", b"cow",
    ):  # fmt: skip
        yield Case(f"coding {value!r}", post(b"Transfer-Encoding: " + value, tail=chunks(BODY)), 400)
        yield Case(
            f"length and coding {value!r}", post(b"Transfer-Encoding: " + value, length(BODY), tail=BODY), 400
        )
    yield Case("two codings", post(CHUNKED, b"Transfer-Encoding: identity", tail=chunks(BODY)), 400)
    yield Case("chunked twice", post(CHUNKED, CHUNKED, tail=chunks(BODY)), 400)
    yield Case("a space before the colon", post(b"Transfer-Encoding : chunked", length(BODY), tail=BODY), 400)
    yield Case("a tab before the colon", post(b"Content-Length\t: 5", length(BODY), tail=BODY), 400)
    yield Case("chunked with HTTP/1.0", post(CHUNKED, tail=chunks(BODY)).replace(b"1.1", b"1.0", 1), 426)


def _chunks() -> Iterable[Case]:
    n, rest = b"%x" % len(BODY), b"\r\n" + BODY + b"\r\n0\r\n\r\n"
    bad = (b"-", b"+", b"0x", b"g", b" ", b"\x0b", b"_", b"\x00")
    for before in bad:
        yield Case(f"chunk size after {before!r}", post(CHUNKED, tail=before + n + rest), 400)
    yield Case("chunk size before spaces", post(CHUNKED, tail=n + b"  " + rest), PLAIN)
    for after in (odd for odd in bad if odd != b" "):
        yield Case(f"chunk size before {after!r}", post(CHUNKED, tail=n + after + rest), 400)
    yield Case("no chunk size", post(CHUNKED, tail=rest), 400)
    yield Case("chunk size of 17 digits", post(CHUNKED, tail=b"1" + b"0" * 15 + n + rest), 400)
    yield Case("chunk size with zeros before", post(CHUNKED, tail=b"00000" + n + rest), PLAIN)
    yield Case("chunk extension", post(CHUNKED, tail=n + b";a=b" + rest), PLAIN)
    yield Case("chunk extension in quotes", post(CHUNKED, tail=n + b';a="\r\n0\r\n"' + rest), 400)
    yield Case("chunk extension with a bare CR", post(CHUNKED, tail=n + b";\rx" + rest), 400)
    yield Case("chunk extension with a bare LF", post(CHUNKED, tail=n + b";x\n" + rest[2:]), 400)
    yield Case("chunk size and a bare LF", post(CHUNKED, tail=n + rest[1:]), 400)
    yield Case("chunk size and a bare CR", post(CHUNKED, tail=n + b"\r" + rest[2:]), 400)
    yield Case(
        "chunk longer than it says", post(CHUNKED, tail=n + b"\r\n" + BODY + b"more\r\n0\r\n\r\n"), 400
    )
    yield Case("chunk data and a bare LF", post(CHUNKED, tail=n + b"\r\n" + BODY + b"\n0\r\n\r\n"), 400)
    yield Case("last chunk and a bare LF", post(CHUNKED, tail=n + b"\r\n" + BODY + b"\r\n0\n\n"), 400)
    trailers = b"Host: theirs.localhost\r\nAuthorization: x\r\nContent-Length: 1\r\n\r\n"
    yield Case("trailers", post(CHUNKED, tail=n + rest[:-2] + trailers), PLAIN)
    yield Case("a bad trailer", post(CHUNKED, tail=n + rest[:-2] + b"a b\r\n\r\n"), 400)


def _heads() -> Iterable[Case]:
    unfolded = post(b"X-A: 1 Host: theirs.localhost")
    yield Case("obs-fold", post(b"X-A: 1\r\n Host: theirs.localhost"), unfolded)
    yield Case("obs-fold by a tab", post(b"X-A: 1\r\n\tb"), post(b"X-A: 1\tb"))
    yield Case("a fold before all headers", post().replace(b"Host:", b" X: 1\r\nHost:"), 400)
    yield Case("bare LF between headers", post(b"X-A: 1\nX-B: 2"), post(b"X-A: 1", b"X-B: 2"))
    yield Case("bare LF everywhere", post().replace(b"\r\n", b"\n"), PLAIN)
    yield Case("bare LF after the request line", post().replace(b"\r\n", b"\n", 1), PLAIN)
    yield Case("bare LF at the end", post(tail=b"").replace(b"\r\n\r\n", b"\r\n\n"), 400)
    yield Case(
        "bare CR in a value", post(b"X-A: 1\rHost: theirs.localhost"), post(b"X-A: 1Host: theirs.localhost")
    )
    yield Case("bare CR in a length", post(b"Content-Length: 5\r5", tail=BODY), 400)
    yield Case("bare CR in a coding", post(b"Transfer-Encoding: chun\rked", tail=chunks(BODY)), 400)
    yield Case("bare CR in a host", post(host=b"theirs\r.localhost"), 403)
    yield Case("bare CR in a token", post().replace(b"Bearer", b"Bea\rrer"), PLAIN)
    yield Case("bare CR in a name", post(b"X\rA: 1"), 400)
    yield Case("NUL in a value", post(b"X-A: 1\x00"), 400)
    for odd in (
        b"\x00",
        b"\x01",
        b"\x0b",
        b"\x7f",
        b"\x80",
        b"\xff",
        b" ",
        b"\t",
        b"(",
        b"/",
        b"@",
        b"[",
        b'"',
        b",",
    ):
        yield Case(f"a name with {odd!r}", post(b"X" + odd + b"A: 1"), 400)
    yield Case("no name", post(b": 1"), 400)
    yield Case("no colon", post(b"X-A"), 400)
    yield Case("empty lines before", b"\r\n\r\n" + post(), PLAIN)
    yield Case("many spaces in the request line", post().replace(b" HTTP", b"   HTTP", 1), PLAIN)
    yield Case("a tab in the request line", post().replace(b" HTTP", b"\tHTTP", 1), PLAIN)
    yield Case("a header in upper case", post().replace(b"Authorization", b"AUTHORIZATION"), PLAIN)
    yield Case(
        "our headers with underscores", post(b"X_Igw_Principal: root", b"x-igw_organization: theirs"), PLAIN
    )
    yield Case(
        "our headers",
        post(b"X-Igw-Principal: root", b"X-Igw-Model: them/m", b"X-Envoy-Original-Path: /"),
        PLAIN,
    )
    yield Case("framing with underscores", post(b"Content_Length: 5", b"Transfer_Encoding: chunked"), PLAIN)
    yield Case("Connection: authorization", post(b"Connection: authorization"), 401)
    for name in (b"x-igw-principal", b"x-igw-organization", b"content-length", b"transfer-encoding", b"te"):
        yield Case(f"Connection: {name.decode()}", post(b"Connection: " + name), PLAIN)
    for name in (b"host", b":authority", b":path"):
        yield Case(f"Connection: {name.decode()}", post(b"Connection: " + name), 400)
    yield Case("a hundred headers too many", post(*(b"X-%d: 1" % n for n in range(101))), 431)
    yield Case("headers of 64 KiB", post(b"X-A: " + b"a" * 65536), 431)


def _hosts() -> Iterable[Case]:
    theirs = b"Host: theirs.localhost"
    yield Case("two hosts", post(theirs), 404)
    yield Case("two hosts, theirs first", post(b"Host: body.localhost", host=b"theirs.localhost"), 404)
    yield Case("the same host twice", post(b"Host: body.localhost"), 404)
    yield Case("no host", post(host=b""), 400)
    yield Case("an empty host", post(b"Host:", host=b""), 404)
    yield Case("a folded host", post(b"Host:\r\n theirs.localhost"), 404)
    yield Case("a host before a space and a colon", post(b"Host : theirs.localhost"), 400)
    for host in (
        b"body.localhost, theirs.localhost", b"theirs.localhost body.localhost", b"theirs.localhost#body.localhost",
        b"body.localhost/theirs.localhost", b"body.localhost?theirs.localhost", b"body.localhost\\theirs.localhost",
        b"body.localhost\x00",
    ):  # fmt: skip
        yield Case(f"host {host!r}", post(host=host), 400)
    for host in (
        b"body.localhost@theirs.localhost", b"body%2elocalhost", b"body.localhost..", b"body.localhost:x",
        b"body.localhost:80:80", b"[body.localhost]", b".body.localhost", b"body.localhost%00",
    ):  # fmt: skip
        yield Case(f"host {host!r}", post(host=host), 404)
    yield Case("host in upper case with a port and a dot", post(host=b"BODY.localhost.:80"), PLAIN)
    forwarded = post(b"X-Forwarded-Host: theirs.localhost", b"Forwarded: host=theirs.localhost")
    yield Case("forwarded hosts", forwarded, forwarded)


def _targets() -> Iterable[Case]:
    yield Case("absolute form", post(target=b"http://body.localhost" + CHAT), PLAIN)
    yield Case("absolute form, theirs", post(target=b"http://theirs.localhost" + CHAT), 403)
    yield Case(
        "absolute form, ours, host theirs",
        post(target=b"http://body.localhost" + CHAT, host=b"theirs.localhost"),
        PLAIN,
    )
    yield Case(
        "absolute form without a host header", post(target=b"http://body.localhost" + CHAT, host=b""), PLAIN
    )
    yield Case(
        "absolute form with a user", post(target=b"http://body.localhost@theirs.localhost" + CHAT), 403
    )
    yield Case("absolute form, https", post(target=b"https://theirs.localhost" + CHAT), 403)
    yield Case("absolute form, another scheme", post(target=b"file://body.localhost" + CHAT), 400)
    yield Case("absolute form without a path", post(target=b"http://theirs.localhost"), 403)
    yield Case("authority form", post(target=b"theirs.localhost:80"), 400)
    yield Case("no target", post(target=b""), 400)
    yield Case("no slash", post(target=b"v1/chat/completions"), 400)
    slashes = post(target=b"//theirs.localhost" + CHAT)
    yield Case("two slashes", slashes, post(target=b"/theirs.localhost" + CHAT))
    yield Case("an asterisk", post(target=b"*"), 400)
    yield Case("OPTIONS *", _get().replace(b"GET /v1/models", b"OPTIONS *"), 400)
    yield Case(
        "CONNECT",
        lines(b"CONNECT theirs.localhost:80 HTTP/1.1", b"Host: theirs.localhost", AUTHORIZATION),
        404,
    )
    yield Case(
        "CONNECT, ours",
        lines(b"CONNECT body.localhost:80 HTTP/1.1", b"Host: body.localhost", AUTHORIZATION),
        404,
    )
    for dots in (b"%2e%2e", b"..", b".%2E", b"%2e%2E"):
        yield Case(f"{dots.decode()} in the path", post(target=b"/x/" + dots + CHAT), PLAIN)
    for dot in (b"%2e", b"."):
        yield Case(f"{dot.decode()} in the path", post(target=b"/" + dot + CHAT), PLAIN)
    for odd in (b"%", b"%0", b"%zz"):
        yield Case(f"path with {odd!r}", post(target=b"/v1/chat" + odd), post(target=b"/v1/chat" + odd))
    yield Case("path with a backslash", post(target=b"/v1\\chat\\completions"), PLAIN)
    for odd in (b"\x00", b"\x01", b"\x7f", b"\x80", b"\xc3\xa9", b"#"):
        yield Case(f"path with {odd!r}", post(target=b"/v1/chat" + odd), 400)
    yield Case("%00", post(target=b"/v1/%00"), 400)
    twice = post(target=b"/v1/%252e%252e/x")
    yield Case("%2e%2e encoded twice", twice, twice)
    yield Case("above the root", post(target=b"/%2e%2e/%2e%2e" + CHAT), PLAIN)
    yield Case("another model by dots", _path(b"/them%2Fm/%2e%2e/acme%2Fm" + CHAT), BY_PATH)
    yield Case("out of the model by dots", _path(b"/acme%2Fm/%2e%2e/them%2Fm" + CHAT), 404)
    yield Case("a slash not encoded", _path(b"/acme/m" + CHAT), 404)
    yield Case("a slash encoded twice", _path(b"/acme%252Fm" + CHAT), 404)
    yield Case("a backslash", _path(b"/acme%5Cm" + CHAT), 404)
    yield Case("slashes before", _path(b"//acme%2Fm" + CHAT), BY_PATH)
    yield Case("slashes after", _path(b"/acme%2Fm//v1///chat/completions"), BY_PATH)
    escaped = _path(b"/acme%2Fm/v1/..%2fchat%2Fcompletions")
    yield Case("escaped slashes after", escaped, escaped)


def _versions() -> Iterable[Case]:
    yield Case("HTTP/0.9", b"GET /v1/models\r\n", 426)
    yield Case("HTTP/1.0", post().replace(b"HTTP/1.1", b"HTTP/1.0", 1), 426)
    for version in (b"HTTP/2.0", b"HTTP/1.2", b"HTTP/9.9", b""):
        yield Case(f"version {version.decode()}", post().replace(b"HTTP/1.1", version, 1), 426)
    for version in (b"HTTP/1.10", b"http/1.1", b"HTTP/1", b"ICE/1.1"):
        yield Case(f"version {version.decode()}", post().replace(b"HTTP/1.1", version, 1), 400)
    h2c = (b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__", b"Connection: Upgrade, HTTP2-Settings")
    yield Case("upgrade to h2c", post(*h2c), PLAIN)
    yield Case("upgrade to TLS", post(b"Upgrade: TLS/1.2", b"Connection: Upgrade"), PLAIN)
    yield Case("upgrade to a WebSocket", post(b"Upgrade: websocket", b"Connection: Upgrade"), 403)
    yield Case("an unknown method", post().replace(b"POST", b"BREW", 1), 400)
    yield Case("a method in lower case", post().replace(b"POST", b"post", 1), 400)
    yield Case("a method with a NUL", post().replace(b"POST", b"PO\x00ST", 1), 400)
    yield Case("not HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 32 + b"\r\n\r\n", 400)


def _owners() -> Iterable[Case]:
    bad = b"Authorization: Bearer CW-SECRET-nobody"
    yield Case("no token", post().replace(AUTHORIZATION + b"\r\n", b""), 401)
    yield Case("two tokens", post(bad), 401)
    yield Case(
        "two tokens, the bad one first", post().replace(b"Authorization", bad + b"\r\nAuthorization", 1), 401
    )
    yield Case("a folded token", post().replace(b"Bearer ", b"\r\n Bearer "), PLAIN)
    yield Case("a token in another header", post().replace(b"Authorization", b"Proxy-Authorization"), 401)
    yield Case("a token with underscores about it", post().replace(b"Authorization", b"Authorization_"), 401)
    yield Case("a token with a NUL", post().replace(TOKEN, TOKEN + b"\x00"), 400)


def _get(*more: bytes) -> bytes:
    return lines(b"GET /v1/models HTTP/1.1", b"Host: body.localhost", AUTHORIZATION, *more)


def _path(target: bytes) -> bytes:
    return post(target=target, host=b"path.localhost")


HTTP1 = [
    *_lengths(), *_codings(), *_chunks(), *_heads(), *_hosts(), *_targets(), *_versions(), *_owners(),
]  # fmt: skip
LAST = lines(b"GET /v1/models HTTP/1.1", b"Host: body.localhost", AUTHORIZATION, b"Connection: close")
"""What follows on the same connection: its answer is its own, or the connection is closed."""
