"""How a test wants to be answered: headers, or fields of a JSON body, of the same names. Pure.

    x-demo-delay-ms     wait so long before the answer
    x-demo-status       answer with this error instead
    x-demo-chunks       how many words, and so tokens and chunks, the answer has
    x-demo-chunk-ms     wait after each chunk of a stream
    x-demo-write-bytes  write the answer, and each event of a stream, in pieces of so many bytes, a moment apart
    x-demo-hold-after   send so many events of a stream, then nothing until the client leaves; an answer that is no
                        stream is held before its first byte
    x-demo-drop-after   send so many events of a stream, then close the connection; with 0, and where the answer is no
                        stream, it is closed without a byte
    x-demo-cached       so many prompt tokens were cached, but no more than there are

A request with one of these headers is answered as the headers say, whatever its body asks for.
"""

from collections.abc import Iterable
from typing import Annotated

import msgspec
from igw_model.openai import ApiError
from msgspec import Meta

from igw_demo.client import Refused

MAX_MILLISECONDS = 300_000
MAX_CHUNKS = 100_000
MAX_TOKENS = 100_000_000

Milliseconds = Annotated[int, Meta(ge=0, le=MAX_MILLISECONDS)]
Chunks = Annotated[int, Meta(ge=0, le=MAX_CHUNKS)]

_FIELDS = {
    "delay_ms": "x-demo-delay-ms",
    "chunks": "x-demo-chunks",
    "chunk_ms": "x-demo-chunk-ms",
    "status": "x-demo-status",
    "write_bytes": "x-demo-write-bytes",
    "hold_after": "x-demo-hold-after",
    "drop_after": "x-demo-drop-after",
    "cached": "x-demo-cached",
}


class Wishes(msgspec.Struct, frozen=True, rename=_FIELDS):
    """How a test wants to be answered; the module says what each means."""

    delay_ms: Milliseconds = 0
    chunks: Annotated[int, Meta(ge=1, le=MAX_CHUNKS)] | None = None
    chunk_ms: Milliseconds = 0
    status: Annotated[int, Meta(ge=400, le=599)] | None = None
    write_bytes: Annotated[int, Meta(ge=1)] | None = None
    hold_after: Chunks | None = None
    drop_after: Chunks | None = None
    cached: Annotated[int, Meta(ge=0, le=MAX_TOKENS)] = 0


NONE = Wishes()


def wishes(asked: Wishes, headers: Iterable[tuple[bytes, bytes]]) -> Wishes:
    """Give the headers' wishes if there are any, else the body's; raises Refused (400)."""
    sent = {name.decode(): value.decode("latin-1") for name, value in headers if name.startswith(b"x-demo-")}
    if not sent:
        return asked
    try:
        return msgspec.convert(sent, Wishes, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(ApiError(400, "invalid_request", f"The headers can't be read: {error}")) from None
