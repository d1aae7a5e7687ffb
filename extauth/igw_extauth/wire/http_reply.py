"""Answers and refusals as the bytes of an HTTP/1.1 response. Pure.

Sources: RFC 9110 and RFC 9112; the response to HEAD has the headers of the one to GET, and no body.
"""

from collections.abc import Iterable
from http import HTTPStatus

from igw_extauth.answer import Answer
from igw_extauth.wire.http_request import Refusal


def reply(answer: Answer, *, bodiless: bool, last: bool) -> bytes:
    """Give an answer's bytes; `bodiless` to HEAD, `last` when the connection is closed behind it."""
    head = _head(HTTPStatus(answer.status), answer.lines, len(answer.body), last=last)
    return head if bodiless else head + answer.body


def refusal_reply(refusal: Refusal) -> bytes:
    """Give a refusal's bytes: no body, and the connection is closed behind it."""
    return _head(refusal.status, (), 0, last=True)


def _head(status: HTTPStatus, headers: Iterable[tuple[bytes, bytes]], length: int, *, last: bool) -> bytes:
    lines = [b"HTTP/1.1 %d %s" % (status, status.phrase.encode())]
    lines += [b"%s: %s" % header for header in headers]
    lines += [b"content-length: %d" % length, *([b"connection: close"] if last else [])]
    return b"\r\n".join([*lines, b"", b""])
