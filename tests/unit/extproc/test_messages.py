"""Envoy's messages off one stream: what they tell, in chunks of any size, and what is held of them."""

import tracemalloc
from typing import Any

import pytest
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from hypothesis import given
from hypothesis import strategies as st
from igw_extproc.messages import MAX_MESSAGE_BYTES, Content, End, Headers, Messages, Part, Strange
from igw_ops.grpc import wire
from igw_ops.grpc.wire import GrpcStatus

from tests.unit.extproc.bodies import chunks, pieces, varint

NO_MESSAGE = Strange(GrpcStatus.INVALID_ARGUMENT, "not a ProcessingRequest")
TOO_LONG = Strange(GrpcStatus.RESOURCE_EXHAUSTED, "the message is too long")


def said(*messages: Any) -> bytes:
    """Give gRPC messages as they stand on a stream."""
    return b"".join(wire.message(message.SerializeToString()) for message in messages)


def headers(fields: list[tuple[str, bytes]], *, end: bool = False) -> Any:
    """Request headers, beside what Envoy sends with the first message."""
    message = ext_proc.ProcessingRequest()
    message.request_headers.end_of_stream = end
    for key, value in fields:
        message.request_headers.headers.headers.add(key=key, raw_value=value)
    message.protocol_config.request_body_mode = ProcessingMode.BUFFERED
    return message


def body(content: bytes, *, end: bool = True, more: str = "") -> Any:
    """A body, and an attribute behind it."""
    message = ext_proc.ProcessingRequest(request_body=ext_proc.HttpBody(body=content, end_of_stream=end))
    if more:
        message.attributes["envoy.filters.http.ext_proc"].update({"more": more})
    return message


def told(stream: list[bytes]) -> list[Part]:
    """Give what a stream tells, the parts of a body put together."""
    messages, parts = Messages(), list[Part]()
    for chunk in stream:
        for part in messages.read(chunk):
            before = parts[-1] if parts else None
            if isinstance(part, Content) and isinstance(before, Content):
                parts[-1] = Content(before.content + part.content)
            else:
                parts.append(part)
    return parts


FORM = [("content-type", b"multipart/form-data"), ("content-encoding", b"gzip"), ("content-encoding", b"br")]
STREAMS: dict[str, tuple[bytes, list[Part]]] = {
    "nothing": (b"", []),
    "headers": (said(headers(FORM)), [Headers("multipart/form-data", "gzip,br")]),
    "headers alone": (said(headers([], end=True)), [Headers(ends=True)]),
    "a body": (said(headers([]), body(b"x" * 300)), [Headers(), Content(b"x" * 300), End()]),
    "a body before trailers": (said(body(b"x", end=False)), [Content(b"x"), End()]),
    "two bodies": (said(body(b"x"), body(b"y")), [Content(b"x"), End(), Content(b"y"), End()]),
    "an empty body": (said(body(b"")), [End()]),
    "an empty body that ends nothing": (said(body(b"", end=False)), [End()]),
    "a body with more behind": (said(body(b"x", more="y" * 99)), [Content(b"x"), End()]),
    "its fields in another order": (wire.message(b"\x22\x05\x10\x01\x0a\x01x"), [Content(b"x"), End()]),
    "no message": (wire.message(b"\xff\xff"), [NO_MESSAGE]),
    "an empty message": (
        wire.message(b""),
        [Strange(GrpcStatus.INVALID_ARGUMENT, "got None, which the filter's configuration skips")],
    ),
    "trailers": (
        said(ext_proc.ProcessingRequest(request_trailers=ext_proc.HttpTrailers())),
        [
            Strange(
                GrpcStatus.INVALID_ARGUMENT, "got request_trailers, which the filter's configuration skips"
            )
        ],
    ),
    "a body longer than its message": (wire.message(b"\x22\x7f\x0a\x7f" + b"x" * 9), [NO_MESSAGE]),
    "a content longer than its body": (wire.message(b"\x22\x04\x0a\x7fxx"), [NO_MESSAGE]),
    "a length without an end": (wire.message(b"\x22" + b"\xff" * 12), [NO_MESSAGE]),
    "a body with too much behind": (said(body(b"x", more="y" * MAX_MESSAGE_BYTES)), [NO_MESSAGE]),
    "long headers": (said(headers([("content-type", b"x" * MAX_MESSAGE_BYTES)])), [TOO_LONG]),
    "compressed": (
        b"\x01\x00\x00\x00\x00",
        [Strange(GrpcStatus.UNIMPLEMENTED, "compressed messages are not read")],
    ),
}


@pytest.mark.parametrize(("stream", "parts"), STREAMS.values(), ids=STREAMS.keys())
def test_messages(stream: bytes, parts: list[Part]) -> None:
    """A message tells the same at once and byte by byte; of what is strange only the first word counts."""
    for size in (1, 3, 16_384, len(stream) + 1):
        assert told(list(pieces(stream, size)))[: len(parts)] == parts


@given(st.data())
def test_any_chunking_tells_the_same(data: st.DataObject) -> None:
    """HTTP/2 cuts messages into frames of any size."""
    stream, parts = data.draw(st.sampled_from([pair for pair in STREAMS.values() if len(pair[0]) < 1_000]))
    assert told(data.draw(chunks(stream)))[: len(parts)] == parts


@given(st.lists(st.binary(max_size=40)))
def test_any_bytes_tell_something(noise: list[bytes]) -> None:
    """No bytes raise anything."""
    told([chunk for content in noise for chunk in (wire.message(content), content)])


def test_a_body_is_not_held() -> None:
    """A message of 64 MiB goes through in parts, and nothing of it stays."""
    messages, frame = Messages(), b"x" * 16_384
    size = 4_096 * len(frame)
    heading = b"\x22" + varint(size + 7) + b"\x0a" + varint(size)
    messages.read(wire.prefix(len(heading) + size + 2) + heading)
    tracemalloc.start()
    for _ in range(4_096):
        assert messages.read(frame) == [Content(frame)]
    assert messages.read(b"\x10\x01") == [End()]
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 4_096
    assert peak < 65_536
