"""Bytes to requests: what is read of a check, what is refused, and that packets do not matter."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from igw_extauth.attempt import Attempt
from igw_extauth.secret import BearerToken
from igw_extauth.wire.http_request import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    HEAD_TOO_LARGE,
    MAX_REQUEST_BYTES,
    PIECE_BYTES,
    Policies,
    Refusal,
    Request,
    RequestReader,
)
from igw_model.policy import Policy, Provider

POLICY = Policy(Provider.COREWEAVE, "org-1", "gw-1")
ANN = Attempt(POLICY, BearerToken("ann"))
NOBODY = Attempt(None, None)
HEADERS = "x-igw-policy: coreweave/org-1/gw-1\r\nauthorization: Bearer ann\r\n"


def request(attempt: Attempt = ANN, *, bodiless: bool = False, last: bool = False) -> Request:
    """Give a request as read."""
    return Request(attempt, bodiless=bodiless, last=last)


def sent(line: str = "POST /v1 HTTP/1.1", more: str = "", body: str = "", headers: str = HEADERS) -> bytes:
    """Give a request as sent."""
    return f"{line}\r\n{headers}{more}\r\n{body}".encode("latin-1")


def read(pieces: Sequence[bytes]) -> list[Request | Refusal]:
    """Read a connection's bytes as they come."""
    reader = RequestReader(Policies())
    return [given for piece in pieces for given in reader.receive(piece)]


CHUNKED = "transfer-encoding: chunked\r\n"
TOO_LONG = "a" * (MAX_REQUEST_BYTES + PIECE_BYTES)
CASES: dict[str, tuple[bytes, list[Request | Refusal]]] = {
    "plain": (sent(more="content-length: 0\r\n"), [request()]),
    "nothing": (b"", []),
    "half": (sent()[:-1], []),
    "names in another case": (sent(headers=HEADERS.replace("x-igw-p", "X-IGW-P")), [request()]),
    "project": (
        sent(more="OpenAI-Project: team/p\r\n") + sent(),
        [request(Attempt(POLICY, BearerToken("ann"), "team/p")), request()],
    ),
    "two projects": (
        sent(more="openai-project: a/b\r\nopenai-project: c/d\r\n"),
        [request(Attempt(POLICY, BearerToken("ann"), "a/b,c/d"))],
    ),
    "head": (sent("HEAD / HTTP/1.1"), [request(bodiless=True)]),
    "pipelined": (sent() + sent(headers="") + sent(), [request(), request(NOBODY), request()]),
    "body": (sent(more="content-length: 3\r\n", body="GET") + sent(), [request(), request()]),
    "body in chunks": (
        sent(more=CHUNKED, body="3\r\nGET\r\n0\r\n\r\n") + sent(headers=""),
        [request(), request(NOBODY)],
    ),
    "trailers": (
        sent(more=CHUNKED, body=f"1\r\na\r\n0\r\n{HEADERS}\r\n", headers="") + sent(headers=""),
        [request(NOBODY), request(NOBODY)],
    ),
    "as long a body as may be": (sent(more="content-length: 60000\r\n", body="a" * 60000), [request()]),
    "close": (sent(more="connection: close\r\n") + sent(), [request(last=True)]),
    "HTTP/1.0": (sent("GET / HTTP/1.0"), [request(last=True)]),
    "HTTP/1.0, kept": (sent("GET / HTTP/1.0", "connection: keep-alive\r\n"), [request(last=True)]),
    "CONNECT": (sent("CONNECT a:1 HTTP/1.1") + sent(), [request(last=True)]),
    "upgrade": (
        sent(more="connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 3\r\n", body="GET") + sent(),
        [request(last=True)],
    ),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [BAD_REQUEST]),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", [BAD_REQUEST]),
    "garbage behind a request": (sent() + b"\0\0\0" + sent(), [request(), BAD_REQUEST]),
    "unknown method": (sent("FOO / HTTP/1.1"), [BAD_REQUEST]),
    "folded header": (sent(more="x: y\r\n z\r\n"), [BAD_REQUEST]),
    "two lengths": (sent(more="content-length: 0\r\ncontent-length: 1\r\n"), [BAD_REQUEST]),
    "length and chunks": (sent(more="content-length: 0\r\n" + CHUNKED), [BAD_REQUEST]),
    "bad length": (sent(more="content-length: -1\r\n"), [BAD_REQUEST]),
    "bad chunk": (sent(more=CHUNKED, body="zz\r\n"), [BAD_REQUEST]),
    "space before the colon": (sent(more="x : y\r\n"), [BAD_REQUEST]),
    "NUL": (sent(more="x: \0\r\n"), [BAD_REQUEST]),
    "long header": (sent(more=f"x: {TOO_LONG}\r\n") + sent(), [HEAD_TOO_LARGE]),
    "many headers": (sent(more="x: y\r\n" * (len(TOO_LONG) // 6 + 1)), [HEAD_TOO_LARGE]),
    "long path": (sent(f"GET /{TOO_LONG} HTTP/1.1"), [HEAD_TOO_LARGE]),
    "empty lines without end": (b"\r\n" * len(TOO_LONG), [HEAD_TOO_LARGE]),
    "long body": (sent(more="content-length: 99999\r\n", body=TOO_LONG + "a" * 99999), [BODY_TOO_LARGE]),
    "long body in chunks": (
        sent(more=CHUNKED, body="1\r\na\r\n" * (len(TOO_LONG) // 6 + 1)),
        [BODY_TOO_LARGE],
    ),
}


@pytest.mark.parametrize(("data", "given"), CASES.values(), ids=CASES.keys())
def test_what_is_read(data: bytes, given: list[Request | Refusal]) -> None:
    """Each request becomes its policy and token; what is no request, or too much, ends the connection."""
    assert read([data]) == given


@pytest.mark.parametrize(("data", "given"), CASES.values(), ids=CASES.keys())
def test_byte_by_byte(data: bytes, given: list[Request | Refusal]) -> None:
    """The same comes out when each byte comes alone."""
    assert read([data[i : i + 1] for i in range(len(data))]) == given


@given(
    st.lists(st.sampled_from([data for data, _ in CASES.values() if len(data) < 1000]), max_size=5),
    st.lists(st.integers(0, 1000)),
)
def test_packets_do_not_matter(requests: list[bytes], cuts: list[int]) -> None:
    """However a connection's bytes are cut, the same requests come out."""
    data = b"".join(requests)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assert read([data[a:b] for a, b in pairwise(edges)]) == read([data])


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_no_bytes_break_the_reader(pieces: list[bytes]) -> None:
    """Any bytes give requests or one refusal, which is the last."""
    given = read(pieces)
    assert all(isinstance(each, Request) for each in given[:-1])


def test_any_bytes_of_a_header_are_taken() -> None:
    """Bytes outside ASCII are neither a policy nor a token, and no fault."""
    values = "x-igw-policy: \xff\xc3\x28\r\nauthorization: Bearer \xe9\r\n"
    assert read([sent(headers=values)]) == [request(NOBODY)]


def test_a_request_is_known_to_have_begun() -> None:
    """A connection within a request is told from an idle one."""
    reader = RequestReader(Policies())
    seen = [reader.within_request]
    for piece in (b"P", sent(more="content-length: 1\r\n")[1:], b"a"):
        reader.receive(piece)
        seen.append(reader.within_request)
    assert seen == [False, True, True, False]


def test_the_memory_of_policies_is_bounded() -> None:
    """A policy is read once; long texts are not kept."""
    policies = Policies()
    long = b"coreweave/org-1/" + b"g" * 600
    for text in [b"coreweave/org-1/gw-1", long, long, b"coreweave/org-1/gw-1"]:
        assert policies.policy([text]) is not None
    info = policies._remembered.cache_info()
    assert (info.hits, info.misses, info.maxsize) == (1, 1, 10_000)
