"""What is said over HTTP/2 in tests: checks as bytes, and what was answered, read frame by frame."""

import asyncio
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hpack import Decoder, Encoder, NeverIndexedHeaderTuple
from igw_ops.http2 import frames
from igw_ops.http2.frames import Frame

from tests.unit.extauth.scene import Caller

BEGINNING = frames.PREFACE + frames.settings({})
AGREED = frames.frame(frames.SETTINGS, frames.ACK, 0)
POLICY = "coreweave/org-1/gw-1"


def block(
    *names: str, method: str = "POST", policies: Iterable[str] = (POLICY,), encoder: Any = None
) -> bytes:
    """A check's header block; with an encoder of its own it fills a table, else it is the same each time."""
    headers = [(":method", method), (":path", "/v1"), (":scheme", "http"), (":authority", "extauth")]
    headers += [("x-igw-policy", policy) for policy in policies]
    headers += [("authorization", f"Bearer {name}") for name in names]
    if encoder is not None:
        return bytes(encoder.encode(headers))
    return Encoder().encode([NeverIndexedHeaderTuple(name, value) for name, value in headers])


def check(stream: int, *names: str, end: bool = True, **more: Any) -> bytes:
    """A whole check as sent."""
    flags = frames.END_HEADERS | (frames.END_STREAM if end else 0)
    return frames.frame(frames.HEADERS, flags, stream, block(*names, **more))


def in_pieces(stream: int, whole: bytes, cuts: Iterable[int]) -> bytes:
    """A check whose header block is cut into several frames."""
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    kinds = itertools.chain([frames.HEADERS], itertools.repeat(frames.CONTINUATION))
    sent = [
        (kind, frames.END_STREAM if kind == frames.HEADERS else 0, whole[start:end])
        for kind, (start, end) in zip(kinds, itertools.pairwise(edges), strict=False)
    ]
    kind, flags, last = sent.pop()
    sent.append((kind, flags | frames.END_HEADERS, last))
    return b"".join(frames.frame(kind, flags, stream, payload) for kind, flags, payload in sent)


@dataclass
class Reply:
    """What a stream was answered."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None

    @property
    def said(self) -> str:
        """Status and principal."""
        return " ".join([self.headers[":status"], *self.headers.get("x-igw-principal", "").split()])


def replies(sent: Iterable[Frame]) -> dict[int, Reply]:
    """The answers among what was sent, by stream; other frames of streams would be a fault."""
    decoder, found = Decoder(), dict[int, Reply]()
    for frame in sent:
        if frame.stream == 0:
            continue
        reply = found.setdefault(frame.stream, Reply())
        assert not reply.ended or frame.type == frames.RST_STREAM
        match frame.type:
            case frames.HEADERS:
                reply.headers = {str(name): str(value) for name, value in decoder.decode(frame.payload)}
            case frames.DATA:
                reply.body += frame.payload
            case frames.RST_STREAM:
                reply.reset = int.from_bytes(frame.payload, "big")
        reply.ended |= frame.type != frames.RST_STREAM and bool(frame.flags & frames.END_STREAM)
    return found


class Heard:
    """What a caller hears, frame by frame."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._unread = b""
        self.frames: list[Frame] = []

    async def until(self, streams: int) -> dict[int, Reply]:
        """Read until so many streams have ended or were reset."""
        while len(found := self._over()) < streams:
            async with asyncio.timeout(10):
                data = await self._caller.reader.read(10_000)
            assert data, "the connection ended"
            self._take(data)
        return found

    async def all(self) -> list[Frame]:
        """Read until the connection ends."""
        async with asyncio.timeout(10):
            self._take(await self._caller.reader.read())
        return self.frames

    def _take(self, data: bytes) -> None:
        self._unread += data
        end = 0
        for frame, end in frames.split(self._unread):  # noqa: B007 - the last end is needed
            self.frames.append(frame)
        self._unread = self._unread[end:]

    def _over(self) -> dict[int, Reply]:
        return {n: r for n, r in replies(self.frames).items() if r.ended or r.reset is not None}


def said(found: dict[int, Reply]) -> dict[int, str]:
    """Statuses and principals by stream."""
    return {stream: reply.said for stream, reply in found.items()}
