"""One HTTP exchange as Envoy tells it, its whole body, or its headers before: a stream's bytes in, answers out. No I/O.

Envoy's filter must have `request_body_mode: BUFFERED`, and `request_header_mode` as its route says: SEND where the
headers say how to read the body, SKIP for plain JSON, which saves a round trip; the others SKIP or NONE.
"""

from dataclasses import dataclass
from typing import Final, assert_never

from igw_model.openai import ApiError
from igw_ops.grpc.wire import GrpcStatus

from igw_extproc.form_body import FormBody
from igw_extproc.json_body import JsonBody
from igw_extproc.messages import Content, End, Headers, Messages, Part, Strange
from igw_extproc.model_name import MISSING, ModelName, Refusal

UNSUPPORTED_ENCODING: Final = ApiError(
    415, "unsupported_encoding", "the request body must not be compressed (Content-Encoding)"
)
TOO_LARGE: Final = ApiError(413, "request_too_large", "The request's body is too large.")


@dataclass(frozen=True, slots=True)
class Proceed:
    """The headers are seen: send the body."""


@dataclass(frozen=True, slots=True)
class Route:
    """The request asks for this model: choose its route by it. Ends the exchange."""

    model: ModelName


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer the client with this error. Ends the exchange."""

    error: ApiError


@dataclass(frozen=True, slots=True)
class Fail:
    """Envoy said what it may not say now: end the gRPC stream with an error, so that Envoy fails closed."""

    status: GrpcStatus
    reason: str


Answer = Proceed | Route | Refuse | Fail

PROCEED: Final = Proceed()


class Exchange:
    """The state of one HTTP exchange. It holds no body: one key or name of it, and the brackets that are open."""

    __slots__ = ("_body", "_headers", "_max_bytes", "_messages", "_seen", "over")

    def __init__(self, max_body_bytes: int) -> None:
        """Begin before the headers."""
        self._messages = Messages()
        self._headers: Headers | None = None
        """None where Envoy skips them: the body is JSON."""
        self._body: JsonBody | FormBody | None = None
        self._max_bytes = max_body_bytes
        self._seen = 0
        self.over = False
        """Whether the last word was said."""

    def receive(self, data: bytes) -> list[Answer]:
        """Give what is to be answered to the next bytes of the stream; never raises.

        A stream that we close cleanly lets the request through, so every surprise is a `Fail`.
        """
        answers: list[Answer] = []
        for part in self._messages.read(data):
            answer = self._answer(part)
            if answer is not None:
                answers.append(answer)
                self.over = answer is not PROCEED
            if self.over:
                break
        return answers

    def _answer(self, part: Part) -> Answer | None:
        try:
            match part:
                case Content():
                    self._read(part.content)
                    return None
                case End():
                    return self._end()
                case Headers():
                    return self._begin(part)
                case Strange():
                    return Fail(part.status, part.reason)
                case _:
                    assert_never(part)
        except Refusal as refusal:
            return Refuse(refusal.error)

    def _begin(self, headers: Headers) -> Answer:
        if self._headers is not None:
            return Fail(GrpcStatus.INVALID_ARGUMENT, "got request headers twice")
        self._headers = headers
        if not _is_plain(headers.content_encoding):
            raise Refusal(UNSUPPORTED_ENCODING)
        if headers.ends:
            raise Refusal(MISSING)
        return PROCEED

    def _read(self, content: bytes) -> None:
        self._seen += len(content)
        if self._seen > self._max_bytes:
            raise Refusal(TOO_LARGE)
        if self._body is None:
            self._body = _reader(self._headers)
        self._body.feed(content)

    def _end(self) -> Answer:
        """The body is whole, whether it ends the request or trailers do."""
        if self._body is None:
            raise Refusal(MISSING)
        return Route(self._body.end())


def _reader(headers: Headers | None) -> JsonBody | FormBody:
    if headers is not None and headers.content_type[:10].lower() == "multipart/":
        return FormBody(headers.content_type)
    return JsonBody()


def _is_plain(encodings: str) -> bool:
    """Tell whether no content coding is applied (RFC 9110, 8.4; `identity` is a coding that does nothing)."""
    return all(one.strip().lower() in {"", "identity"} for one in encodings.split(","))
