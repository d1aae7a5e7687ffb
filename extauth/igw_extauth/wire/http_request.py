"""Bytes of one connection in, requests out: what Envoy asks over HTTP. No I/O.

Method, path and body say nothing of a check and are read past; three headers say all. After a request that ends its
connection, or one that cannot be read, nothing more comes out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser
from igw_model.headers import OPENAI_PROJECT, POLICY
from igw_model.policy import Policy, policy_of_text

from igw_extauth.attempt import Attempt, bearer_token, project_text

MAX_REQUEST_BYTES = 64 * 1024
"""Of a request's head and body together; more is refused, at the latest one piece later."""
PIECE_BYTES = 16 * 1024
"""Parsed at once."""
REMEMBERED_POLICIES = 10_000
MAX_REMEMBERED_LENGTH = 512
"""Bytes of a policy's text; with the number above, 5 MB at most."""

_AUTHORIZATION = b"authorization"
_POLICY = POLICY.encode()
_PROJECT = OPENAI_PROJECT.encode()


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request: `bodiless` for HEAD, whose reply has no body; `last` when its connection ends with it."""

    attempt: Attempt
    bodiless: bool
    last: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that cannot be read or is too large; its connection ends with it."""

    status: HTTPStatus


BAD_REQUEST = Refusal(HTTPStatus.BAD_REQUEST)
HEAD_TOO_LARGE = Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
BODY_TOO_LARGE = Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


class Policies:
    """`policy_of_text`, remembered for the header values seen last: reading one anew costs a tenth of a check."""

    def __init__(self) -> None:
        self._remembered = lru_cache(REMEMBERED_POLICIES)(_policy)

    def policy(self, values: Sequence[bytes]) -> Policy | None:
        """Give the policy of a check; None for no header, and for two: one of them may be a client's."""
        if len(values) != 1:
            return None
        text = values[0]
        return self._remembered(text) if len(text) <= MAX_REMEMBERED_LENGTH else _policy(text)


def _policy(text: bytes) -> Policy | None:
    return policy_of_text(text.decode("latin-1"))


class RequestReader:
    """The requests of one connection. The methods `on_…` are the parser's to call, not the connection's."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self._parser = HttpRequestParser(self)
        self._given: list[Request | Refusal] = []
        self._ended = False
        self._begin()

    @property
    def within_request(self) -> bool:
        """Whether a request has begun and not ended."""
        return self._size > 0

    def receive(self, data: bytes) -> Sequence[Request | Refusal]:
        """Give the requests that end in `data`, in their order."""
        self._given = []
        for piece in _pieces(data):
            if not self._ended:
                self._parse(piece)
        return self._given

    def _parse(self, piece: bytes | memoryview) -> None:
        self._size += len(piece)
        try:
            self._parser.feed_data(piece)
        except HttpParserUpgrade:
            return  # After a request that was its connection's last.
        except HttpParserCallbackError:
            raise  # A fault of ours, not the caller's.
        except HttpParserError:
            self._refuse(BAD_REQUEST)
        if self._size > MAX_REQUEST_BYTES:
            self._refuse(HEAD_TOO_LARGE if self._in_head else BODY_TOO_LARGE)

    def _refuse(self, refusal: Refusal) -> None:
        if not self._ended:
            self._ended = True
            self._given.append(refusal)

    def _begin(self) -> None:
        self._size = 0
        self._in_head = True
        self._policy_values: list[bytes] = []
        self._authorization: list[str] = []
        self._project: list[str] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those behind a body (trailers) are none of ours."""
        name = name.lower()
        if name == _AUTHORIZATION and self._in_head:
            self._authorization.append(value.decode("latin-1"))
        elif name == _POLICY and self._in_head:
            self._policy_values.append(value)
        elif name == _PROJECT and self._in_head:
            self._project.append(value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """Take the head's end."""
        self._in_head = False

    def on_message_complete(self) -> None:
        """Take a request's end."""
        if not self._ended:
            attempt = Attempt(
                self._policies.policy(self._policy_values),
                bearer_token(self._authorization),
                project_text(self._project),
            )
            self._ended = self._is_last()
            self._given.append(Request(attempt, self._parser.get_method() == b"HEAD", self._ended))
        self._begin()

    def _is_last(self) -> bool:
        # HTTP/1.0's own keep-alive is not spoken. An upgrade or CONNECT is not followed, and what comes behind it
        # is no HTTP.
        parser = self._parser
        return not parser.should_keep_alive() or parser.should_upgrade() or parser.get_http_version() != "1.1"


def _pieces(data: bytes) -> Iterator[bytes | memoryview] | tuple[bytes]:
    if len(data) <= PIECE_BYTES:
        return (data,)
    view = memoryview(data)
    return (view[start : start + PIECE_BYTES] for start in range(0, len(view), PIECE_BYTES))
