"""Exchanges as transcripts: what Envoy says, what we answer."""

from typing import Any

import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from igw_extproc.answer import encode
from igw_extproc.exchange import PROCEED, UNSUPPORTED_ENCODING, Answer, Exchange, Fail, Refuse, Route
from igw_extproc.model_name import INVALID_JSON, MISSING, ModelName, unknown_model


def headers(*, end: bool = False, encoding: str | None = None, raw: bool = True) -> Any:
    """Request headers as Envoy sends them."""
    message = ext_proc.ProcessingRequest()
    message.request_headers.end_of_stream = end
    fields = {":method": "POST", "content-type": "application/json"}
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


TRANSCRIPTS: dict[str, list[tuple[Any, Answer, bool]]] = {
    "a model": [(headers(), PROCEED, False), (body(), Route(ModelName("gpt")), True)],
    "a body before trailers": [(headers(), PROCEED, False), (body(end=False), Route(ModelName("gpt")), True)],
    "no body": [(headers(end=True), Refuse(MISSING), True)],
    "an empty body": [(headers(), PROCEED, False), (body(b""), Refuse(MISSING), True)],
    "no JSON": [(headers(), PROCEED, False), (body(b"model=gpt"), Refuse(INVALID_JSON), True)],
    "no name": [(headers(), PROCEED, False), (body(b'{"model":" "}'), Refuse(unknown_model(" ")), True)],
    "compressed": [(headers(encoding="gzip"), Refuse(UNSUPPORTED_ENCODING), True)],
    "compressed, as text": [(headers(encoding="br", raw=False), Refuse(UNSUPPORTED_ENCODING), True)],
    "compressed once": [(headers(encoding="identity, gzip"), Refuse(UNSUPPORTED_ENCODING), True)],
    "not compressed": [(headers(encoding="Identity"), PROCEED, False)],
    "not compressed, twice": [(headers(encoding="identity,identity"), PROCEED, False)],
    "an empty coding": [(headers(encoding=""), PROCEED, False)],
    "body first": [(body(), Fail("got request_body, expected request_headers"), True)],
    "headers twice": [
        (headers(), PROCEED, False),
        (headers(), Fail("got request_headers, expected request_body"), True),
    ],
    "trailers": [
        (headers(), PROCEED, False),
        (trailers(), Fail("got request_trailers, expected request_body"), True),
    ],
    "nothing": [(ext_proc.ProcessingRequest(), Fail("got None, expected request_headers"), True)],
    "more than asked": [
        (headers(), PROCEED, False),
        (body(), Route(ModelName("gpt")), True),
        (body(), Fail("got request_body, expected nothing"), True),
    ],
}


@pytest.mark.parametrize("transcript", TRANSCRIPTS.values(), ids=TRANSCRIPTS.keys())
def test_transcript(transcript: list[tuple[Any, Answer, bool]]) -> None:
    """Headers, then the body, each answered once; a surprise fails the stream and never ends it cleanly."""
    exchange = Exchange()
    for message, answer, over in transcript:
        assert exchange.receive(message) == answer
        assert exchange.over is over


def test_headers_answer_removes_a_forged_model() -> None:
    """A request that ends in trailers alone has no body message; a client's own header must not route it."""
    response = ext_proc.ProcessingResponse.FromString(encode(PROCEED)).request_headers.response
    assert list(response.header_mutation.remove_headers) == ["x-igw-model"]
    assert response.clear_route_cache
    assert response.status == ext_proc.CommonResponse.CONTINUE


def test_route_answer_overwrites_the_header_and_routes_again() -> None:
    """The model's header holds the name's UTF-8, replaces a client's own, and the route is chosen anew."""
    answer = ext_proc.ProcessingResponse.FromString(encode(Route(ModelName("日本"))))
    common = answer.request_body.response
    (option,) = common.header_mutation.set_headers
    assert (option.header.key, option.header.raw_value) == ("x-igw-model", "日本".encode())
    assert option.append_action == option.OVERWRITE_IF_EXISTS_OR_ADD
    assert common.clear_route_cache


def test_refusal_is_an_openai_error_that_envoy_can_tell_from_its_own() -> None:
    """Status, JSON content type, OpenAI's object, and details that begin with `igw_`."""
    answer = ext_proc.ProcessingResponse.FromString(encode(Refuse(UNSUPPORTED_ENCODING))).immediate_response
    (option,) = answer.headers.set_headers
    assert answer.status.code == 415
    assert (option.header.key, option.header.raw_value) == ("content-type", b"application/json")
    assert option.append_action == option.OVERWRITE_IF_EXISTS_OR_ADD
    assert answer.body == UNSUPPORTED_ENCODING.body()
    assert answer.details == "igw_unsupported_encoding"
