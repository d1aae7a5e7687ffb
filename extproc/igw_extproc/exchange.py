"""One HTTP exchange as Envoy tells it: request headers, then the whole body; each gets one answer. No I/O.

Envoy's filter must have `request_header_mode: SEND`, `request_body_mode: BUFFERED`, the others SKIP or NONE.
"""

import enum
from dataclasses import dataclass
from typing import Any, assert_never

from igw_model.openai import ApiError

from igw_extproc.model_name import MISSING, ModelName, model_name


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

    reason: str


Answer = Proceed | Route | Refuse | Fail

PROCEED = Proceed()
UNSUPPORTED_ENCODING = ApiError(
    415, "unsupported_encoding", "the request body must not be compressed (Content-Encoding)"
)


class _Stage(enum.Enum):
    HEADERS = "request_headers"
    BODY = "request_body"
    OVER = "nothing"


class Exchange:
    """The state of one HTTP exchange; `receive` takes Envoy's messages in their order."""

    __slots__ = ("_stage",)

    def __init__(self) -> None:
        """Begin before the headers."""
        self._stage = _Stage.HEADERS

    def receive(self, message: Any) -> Answer:
        """Answer one `ProcessingRequest`; never raises.

        Source: the comments of envoy/service/ext_proc/v3/external_processor.proto. A stream that we close
        cleanly lets the request through, so every surprise is a `Fail`.
        """
        said = message.WhichOneof("request")
        stage, self._stage = self._stage, _Stage.OVER
        if said != stage.value:
            return Fail(f"got {said}, expected {stage.value}")
        match stage:
            case _Stage.HEADERS:
                answer = _headers_answer(message.request_headers)
                if isinstance(answer, Proceed):
                    self._stage = _Stage.BODY
                return answer
            case _Stage.BODY:
                return _body_answer(message.request_body)
            case _Stage.OVER:
                return Fail("the exchange is over")
            case _:
                assert_never(stage)

    def fail(self, reason: str) -> Fail:
        """End the exchange because what came could not be read as a `ProcessingRequest`."""
        self._stage = _Stage.OVER
        return Fail(reason)

    @property
    def over(self) -> bool:
        """Tell whether the last word was said."""
        return self._stage is _Stage.OVER


def _headers_answer(headers: Any) -> Answer:
    if headers.end_of_stream:
        return Refuse(MISSING)
    return PROCEED if _is_plain(headers) else Refuse(UNSUPPORTED_ENCODING)


def _is_plain(headers: Any) -> bool:
    """Tell whether no content coding is applied (RFC 9110, 8.4; `identity` is a coding that does nothing)."""
    return all(
        coding.strip().lower() in {b"", b"identity"}
        for header in headers.headers.headers
        if header.key == "content-encoding"
        for coding in (header.raw_value or header.value.encode()).split(b",")
    )


def _body_answer(body: Any) -> Answer:
    match model_name(body.body):
        case ModelName() as name:
            return Route(name)
        case ApiError() as error:
            return Refuse(error)
