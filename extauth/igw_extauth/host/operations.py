"""The operations port of extauth: health and metrics as all services have them, and ``POST /revoke``."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from igw_ops.server import operations_app
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

MAX_BYTES = 1024
_DIGEST = re.compile("[0-9a-f]{64}")
_WANTED = 'send {"sha256": "<the token\'s SHA-256 digest, 64 digits of hex in lower case>"}\n'


class Revocation(msgspec.Struct, forbid_unknown_fields=True):
    """What is asked of `POST /revoke`."""

    sha256: str


def app(
    lack: Callable[[], str | None],
    status: Callable[[], Mapping[str, Any]],
    exposition: Callable[[], Awaitable[bytes]],
    revoke: Callable[[bytes], Awaitable[bool]],
) -> Starlette:
    """Build the app: `lack` says why checks are not answered, `revoke` whether nobody remembers a token any more."""

    async def revoked(request: Request) -> Response:
        digest = _digest(await _content(request))
        if digest is None:
            return PlainTextResponse(_WANTED, 400)
        if not await revoke(digest):
            return PlainTextResponse("a worker did not confirm in time; try again\n", 503)
        return Response(status_code=204)

    return operations_app(
        lack, status, metrics=exposition, more=[Route("/revoke", revoked, methods=["POST"])]
    )


async def _content(request: Request) -> bytes:
    """Read a body; one that is too long is cut, and is then nothing that is wanted."""
    content = b""
    async for piece in request.stream():
        content += piece
        if len(content) > MAX_BYTES:
            return b""
    return content


def _digest(content: bytes) -> bytes | None:
    try:
        asked = msgspec.json.decode(content, type=Revocation)
    except msgspec.MsgspecError:
        return None
    return bytes.fromhex(asked.sha256) if _DIGEST.fullmatch(asked.sha256) else None
