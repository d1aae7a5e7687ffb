"""Exchanges as transcripts: what Envoy says, what we answer."""

from typing import Any

import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from hypothesis import given
from hypothesis import strategies as st
from igw_extproc.answer import encode
from igw_extproc.exchange import (
    PROCEED,
    TOO_LARGE,
    UNSUPPORTED_ENCODING,
    Answer,
    Exchange,
    Fail,
    Refuse,
    Route,
)
from igw_extproc.form_body import INVALID
from igw_extproc.model_name import INVALID_JSON, MISSING, ModelName, unknown_model
from igw_ops.grpc import wire
from igw_ops.grpc.wire import GrpcStatus

from tests.unit.extproc.bodies import chunks

MOST = 1_000


def headers(
    *, end: bool = False, encoding: str | None = None, raw: bool = True, kind: str = "application/json"
) -> Any:
    """Request headers as Envoy sends them."""
    message = ext_proc.ProcessingRequest()
    message.request_headers.end_of_stream = end
    fields = {":method": "POST", "content-type": kind}
    if encoding is not None:
        fields["content-encoding"] = encoding
    for key, value in fields.items():
        if raw:
            message.request_headers.headers.headers.add(key=key, raw_value=value.encode())
        else:
            message.request_headers.headers.headers.add(key=key, value=value)
    return message


def body(content: bytes = b'{"model":"gpt"}', *, end: bool = True) -> Any:
    """A whole request body as Envoy sends it; `end` is false when trailers follow."""
    return ext_proc.ProcessingRequest(request_body=ext_proc.HttpBody(body=content, end_of_stream=end))


def trailers() -> Any:
    """Request trailers, which our filter's configuration skips."""
    return ext_proc.ProcessingRequest(request_trailers=ext_proc.HttpTrailers())


def fail(reason: str) -> Fail:
    """What no configuration of ours makes Envoy say."""
    return Fail(GrpcStatus.INVALID_ARGUMENT, reason)


FORM = 'Multipart/form-data; boundary="x"'
PART = b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\ngpt\r\n--x--'
GPT = Route(ModelName("gpt"))
SKIPPED = "which the filter's configuration skips"
TRANSCRIPTS: dict[str, list[tuple[Any, Answer]]] = {
    "a model": [(headers(), PROCEED), (body(), GPT)],
    "a body before trailers": [(headers(), PROCEED), (body(end=False), GPT)],
    "whatever the type": [(headers(kind="application/x-www-form-urlencoded"), PROCEED), (body(), GPT)],
    "form data": [(headers(kind=FORM), PROCEED), (body(PART), GPT)],
    "form data without a boundary": [
        (headers(kind="multipart/mixed"), PROCEED),
        (body(PART), Refuse(INVALID)),
    ],
    "form data, empty": [(headers(kind="multipart/mixed"), PROCEED), (body(b""), Refuse(MISSING))],
    "JSON that says it is form data": [(headers(kind=FORM), PROCEED), (body(), Refuse(INVALID))],
    "no body": [(headers(end=True), Refuse(MISSING))],
    "no body, compressed": [(headers(end=True, encoding="gzip"), Refuse(UNSUPPORTED_ENCODING))],
    "an empty body": [(headers(), PROCEED), (body(b""), Refuse(MISSING))],
    "no JSON": [(headers(), PROCEED), (body(b"model=gpt"), Refuse(INVALID_JSON))],
    "no name": [(headers(), PROCEED), (body(b'{"model":" "}'), Refuse(unknown_model(" ")))],
    "as much as may be": [(headers(), PROCEED), (body(b" " * (MOST - 15) + b'{"model":"gpt"}'), GPT)],
    "more than may be": [
        (headers(), PROCEED),
        (body(b" " * (MOST - 14) + b'{"model":"gpt"}'), Refuse(TOO_LARGE)),
    ],
    "compressed": [(headers(encoding="gzip"), Refuse(UNSUPPORTED_ENCODING))],
    "compressed, as text": [(headers(encoding="br", raw=False), Refuse(UNSUPPORTED_ENCODING))],
    "compressed once": [(headers(encoding="identity, gzip"), Refuse(UNSUPPORTED_ENCODING))],
    "not compressed": [(headers(encoding="Identity"), PROCEED)],
    "not compressed, twice": [(headers(encoding="identity,identity"), PROCEED)],
    "an empty coding": [(headers(encoding=""), PROCEED)],
    "a body alone": [(body(), GPT)],
    "a body alone before trailers": [(body(end=False), GPT)],
    "a body alone that is form data": [(body(PART), Refuse(INVALID_JSON))],
    "an empty body alone": [(body(b""), Refuse(MISSING))],
    "more than may be, alone": [(body(b" " * MOST + b"{"), Refuse(TOO_LARGE))],
    "headers twice": [(headers(), PROCEED), (headers(), fail("got request headers twice"))],
    "trailers": [(headers(), PROCEED), (trailers(), fail(f"got request_trailers, {SKIPPED}"))],
    "nothing": [(ext_proc.ProcessingRequest(), fail(f"got None, {SKIPPED}"))],
}


def stream(*messages: Any) -> bytes:
    """Give messages as they come on a stream."""
    return b"".join(wire.message(message.SerializeToString()) for message in messages)


@pytest.mark.parametrize("transcript", TRANSCRIPTS.values(), ids=TRANSCRIPTS.keys())
def test_transcript(transcript: list[tuple[Any, Answer]]) -> None:
    """The body, or headers before it, each answered once; a surprise fails the stream and never ends it cleanly."""
    exchange = Exchange(MOST)
    for message, answer in transcript:
        assert exchange.receive(stream(message)) == [answer]
        assert exchange.over is (answer != PROCEED)


@given(st.data())
def test_any_chunking_gives_the_same_answers(data: st.DataObject) -> None:
    """HTTP/2 cuts messages into frames of any size."""
    transcript = data.draw(st.sampled_from(list(TRANSCRIPTS.values())))
    exchange, answers = Exchange(MOST), list[Answer]()
    for chunk in data.draw(chunks(stream(*(message for message, _ in transcript)))):
        answers += [] if exchange.over else exchange.receive(chunk)
    assert answers == [answer for _, answer in transcript]


def test_a_body_is_refused_before_it_is_whole() -> None:
    """At the first byte that breaks a rule."""
    exchange = Exchange(MOST)
    begin, _, _ = stream(headers(), body(b'{"a":1,}~' + b" " * 900)).partition(b"~")
    assert exchange.receive(begin) == [PROCEED, Refuse(INVALID_JSON)]


def test_headers_answer_removes_a_forged_model() -> None:
    """A request that ends in trailers alone has no body message; a client's own header must not route it."""
    response = ext_proc.ProcessingResponse.FromString(encode(PROCEED)).request_headers.response
    assert list(response.header_mutation.remove_headers) == ["x-igw-model"]
    assert response.clear_route_cache
    assert response.status == ext_proc.CommonResponse.CONTINUE


def test_route_answer_overwrites_the_header_and_routes_again() -> None:
    """The model's header holds the name's UTF-8, replaces a client's own, and the route is chosen anew.

    Where Envoy sent no headers it takes the name from metadata, and still wants a header's change to choose anew.
    """
    answer = ext_proc.ProcessingResponse.FromString(encode(Route(ModelName("日本"))))
    common = answer.request_body.response
    (option,) = common.header_mutation.set_headers
    assert (option.header.key, option.header.raw_value) == ("x-igw-model", "日本".encode())
    assert option.append_action == option.OVERWRITE_IF_EXISTS_OR_ADD
    assert common.clear_route_cache
    assert answer.dynamic_metadata == {"igw.extproc": {"x-igw-model": "日本"}}


def test_refusal_is_an_openai_error_that_envoy_can_tell_from_its_own() -> None:
    """Status, JSON content type, OpenAI's object, and details that begin with `igw_`."""
    answer = ext_proc.ProcessingResponse.FromString(encode(Refuse(UNSUPPORTED_ENCODING))).immediate_response
    (option,) = answer.headers.set_headers
    assert answer.status.code == 415
    assert (option.header.key, option.header.raw_value) == ("content-type", b"application/json")
    assert option.append_action == option.OVERWRITE_IF_EXISTS_OR_ADD
    assert answer.body == UNSUPPORTED_ENCODING.body()
    assert answer.details == "igw_unsupported_encoding"
