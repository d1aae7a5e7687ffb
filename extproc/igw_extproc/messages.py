"""Reads Envoy's messages off one gRPC stream as they come: bytes in, what they tell out. Pure.

A body goes through as it comes, and is not held, however long the message that it is in: of a `ProcessingRequest` with
a `request_body` only the few bytes around it are kept. Source: external_processor.proto, protobuf's encoding.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from google.protobuf.message import DecodeError
from igw_ops.grpc.wire import PREFIX_BYTES, GrpcStatus

MAX_MESSAGE_BYTES: Final = 65_536
"""Of a message, without the body in it. Envoy reads at most 60 KiB of headers."""
_BODY_FIELD: Final = 0x22
_CONTENT_FIELD: Final = b"\x0a"
_MAX_VARINT_BYTES: Final = 5
_MOST_BEFORE_CONTENT: Final = 2 + 2 * _MAX_VARINT_BYTES


@dataclass(frozen=True, slots=True)
class Headers:
    """Of a request, those that count here of the ones that Envoy forwards; empty where one is missing."""

    content_type: str = ""
    content_encoding: str = ""
    ends: bool = False
    """No body follows."""


class Content(NamedTuple):
    """A part of the body."""

    content: bytes


class End(NamedTuple):
    """A message with a body is whole."""


@dataclass(frozen=True, slots=True)
class Strange:
    """What Envoy does not send: nothing more is read of the stream."""

    status: GrpcStatus
    reason: str


_COMPRESSED: Final = Strange(GrpcStatus.UNIMPLEMENTED, "compressed messages are not read")
_NO_MESSAGE: Final = Strange(GrpcStatus.INVALID_ARGUMENT, "not a ProcessingRequest")
_TOO_LONG: Final = Strange(GrpcStatus.RESOURCE_EXHAUSTED, "the message is too long")

Part = Headers | Content | End | Strange


class Messages:
    """The messages of one stream; `read` takes bytes."""

    __slots__ = ("_behind", "_content", "_held", "_in_body", "_inner")

    def __init__(self) -> None:
        """Begin before the first message."""
        self._held = b""
        self._in_body = False
        self._content = 0  # of the body, what is to come of it in this message
        self._inner = 0  # of `HttpBody`, the bytes behind the content
        self._behind = 0  # of the message, all bytes behind the content

    def read(self, data: bytes) -> list[Part]:
        """Give what the next bytes tell. Behind something Strange there is nothing."""
        parts: list[Part] = []
        if self._held:
            data, self._held = self._held + data, b""
        at, size = 0, len(data)
        while at < size:
            read = self._read_body(data, at, parts) if self._in_body else self._read_message(data, at, parts)
            if read == at:
                self._held = data[at:]
                break
            at = read
        return parts

    def _read_message(self, data: bytes, at: int, parts: list[Part]) -> int:
        """Read a message, or the beginning of one with a body; `at` again when there is too little of it."""
        begin = at + PREFIX_BYTES
        size = int.from_bytes(data[at + 1 : begin], "big")
        if len(data) < begin or (size and len(data) == begin):
            return at
        if size and data[begin] == _BODY_FIELD and not data[at]:
            return self._begin_body(data, begin, size, parts) or at
        if data[at] or size > MAX_MESSAGE_BYTES:
            parts.append(_COMPRESSED if data[at] else _TOO_LONG)
            return len(data)
        end = begin + size
        if len(data) < end:
            return at
        parts.append(_told(data[begin:end]))
        return end

    def _begin_body(self, data: bytes, begin: int, size: int, parts: list[Part]) -> int:
        """Read up to the content, Envoy writing fields in the order of their numbers; 0 when too little is there."""
        if len(data) - begin < min(size, _MOST_BEFORE_CONTENT):
            return 0
        inner, at = _varint(data, begin + 1)
        content, start = _varint(data, at + 1) if data[at : at + 1] == _CONTENT_FIELD and inner else (0, at)
        self._content = content
        self._inner = at + inner - start - content
        self._behind = begin + size - start - content
        if not 0 <= self._inner <= self._behind <= MAX_MESSAGE_BYTES:
            parts.append(_NO_MESSAGE)
            return len(data)
        self._in_body = True
        return self._read_body(data, start, parts)

    def _read_body(self, data: bytes, at: int, parts: list[Part]) -> int:
        """Give what is there of the content; once it is all and what is behind it is there, the message's end."""
        end = min(at + self._content, len(data))
        if end > at:
            parts.append(Content(data[at:end]))
            self._content -= end - at
        if self._content or len(data) - end < self._behind:
            return end
        self._in_body = False
        parts.extend(_behind(data[end : end + self._inner]))
        return end + self._behind


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Give a number and the index behind it; what is none is too large for what it counts, or too small."""
    value = 0
    for place, byte in enumerate(data[at : at + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * place
        if not byte & 0x80:
            return value, at + place + 1
    return value, at + _MAX_VARINT_BYTES


@lru_cache(maxsize=64)
def _behind(content: bytes) -> tuple[Part, ...]:
    """Read what stands in an `HttpBody` behind its content: that it is the last, or nothing."""
    try:
        told = ext_proc.HttpBody.FromString(content)
    except DecodeError:
        return (_NO_MESSAGE,)
    return (Content(told.body), End()) if told.body else (End(),)


@lru_cache(maxsize=128)
def _told(message: bytes) -> Headers | Strange:
    """Read a message without a body: that is request headers; equal ones are read once."""
    try:
        told = ext_proc.ProcessingRequest.FromString(message)
    except DecodeError:
        return _NO_MESSAGE
    said = told.WhichOneof("request")
    if said != "request_headers":
        return Strange(GrpcStatus.INVALID_ARGUMENT, f"got {said}, which the filter's configuration skips")
    values: dict[str, list[str]] = {}
    for header in told.request_headers.headers.headers:
        value = header.raw_value.decode("latin-1") or header.value
        values.setdefault(header.key, []).append(value)
    return Headers(
        content_type=values.get("content-type", [""])[0],
        content_encoding=",".join(values.get("content-encoding", [])),
        ends=told.request_headers.end_of_stream,
    )
