"""What is asked of which proxy, and what is to be reached. Pure."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

HOST = "body.bench"
MODEL = "bench/model"
CHAT = "/v1/chat/completions"
KIB = 1024
CHUNKS = 1000


class Proxy(StrEnum):
    """The Envoy that is asked: without filters, or with ours for one of the ways to route by body."""

    PLAIN = "plain"
    NATIVE = "native"
    EXTPROC = "extproc"
    AUTO = "auto"
    USAGE = "usage"
    """`auto`, and the tokens that each answer used are read off it, and asked for."""


class Upstream(StrEnum):
    """What stands behind the proxies."""

    MODEL = "model"
    """The demo's model server: uvicorn, and the JSON is read."""
    SINK = "sink"
    """The least that answers: every microsecond of a proxy's shows."""


HELD_TO_TARGETS = Upstream.MODEL


@dataclass(frozen=True, slots=True)
class Body:
    """A chat request of about so many bytes; one that has `chunks` is answered with a stream of as many."""

    name: str
    size: int
    model_first: bool = False
    chunks: int = 0
    connections: int = 16

    def content(self) -> bytes:
        """Give its JSON, as clients write it: the texts are long and have line ends and quotes."""
        if self.chunks:
            return _json({"model": MODEL, "stream": True, "messages": [_said("Go on.")]})
        line = 'They said "so it goes", and went on to tell of all that they had seen on the way.\n'
        messages = [_said(line * max(1, self.size // len(json.dumps(line)[1:-1])))]
        if self.model_first:
            return _json({"model": MODEL, "messages": messages})
        return _json({"messages": messages, "model": MODEL})


@dataclass(frozen=True, slots=True)
class Row:
    """A body through a proxy: of plain's throughput at least, microseconds added to its median at most."""

    body: Body
    proxy: Proxy
    ratio: float | None = None
    added_us: float | None = None


PLACES = (("first", True), ("last", False))
SMALL = tuple(Body(f"1 kB, model {place}", 960, model_first=first) for place, first in PLACES)
MIDDLE = tuple(Body(f"100 kB, model {place}", 100 * KIB, model_first=first) for place, first in PLACES)
LARGE = tuple(
    Body(f"4 MiB, model {place}", 4 * KIB * KIB, model_first=first, connections=4) for place, first in PLACES
)
STREAM = Body(f"an answer of {CHUNKS:,} chunks", 0, chunks=CHUNKS, connections=4)


def rows(only: str = "") -> list[Row]:
    """Give the rows of the bodies whose names have `only` in them; a body's first is plain."""
    return [row for row in _rows() if only in row.body.name]


def _rows() -> Iterator[Row]:
    for body in SMALL:
        yield from (Row(body, Proxy.PLAIN), Row(body, Proxy.NATIVE, 0.85, 60), Row(body, Proxy.EXTPROC, 0.45))
        yield Row(body, Proxy.AUTO)
    for body in MIDDLE:
        yield from (Row(body, proxy) for proxy in (Proxy.PLAIN, Proxy.NATIVE, Proxy.EXTPROC, Proxy.AUTO))
    for body in LARGE:
        yield from (Row(body, Proxy.PLAIN), Row(body, Proxy.NATIVE, 0.8), Row(body, Proxy.EXTPROC, 0.8))
        yield Row(body, Proxy.AUTO)
    yield from (Row(STREAM, Proxy.PLAIN), Row(STREAM, Proxy.USAGE, 0.9))


def _said(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
