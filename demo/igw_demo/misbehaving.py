"""What the demo's authority answers in place of the right answer, for the fault that a call meets."""

from collections.abc import AsyncIterator
from typing import assert_never

from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from igw_demo.faults import (
    Failing,
    Fault,
    Flapping,
    HangingUp,
    Huge,
    Redirecting,
    Slow,
    Unknowing,
    WrongJson,
)

PIECE_BYTES = 64 * 1024


class _HangUp(Response):
    """Sends a head that promises a body, and no body: the server then closes the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        headers = [(b"content-type", b"application/json"), (b"content-length", b"100")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})


def misbehaving(fault: Fault) -> Response | None:
    """Give what a fault puts in place of the right answer; None where it puts nothing."""
    match fault:
        case Slow() | Unknowing() | Flapping():  # by turns, Flapping is Slow or Failing (`Faults.met`)
            return None
        case Failing(status=status):
            return JSONResponse({"message": "asked to fail"}, status)
        case Redirecting(status=status, location=location):
            return RedirectResponse(location, status)
        case WrongJson(body=body):
            return Response(body, media_type="application/json")
        case Huge(size=size):
            return StreamingResponse(_string(size), media_type="application/json")
        case HangingUp():
            return _HangUp()
        case _:
            assert_never(fault)


async def _string(size: int) -> AsyncIterator[bytes]:
    """Give a JSON string of so many bytes and its quotes, in pieces."""
    yield b'"'
    for start in range(0, size, PIECE_BYTES):
        yield b"x" * min(PIECE_BYTES, size - start)
    yield b'"'
