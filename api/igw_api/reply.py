"""What REST answers with: documents, and refusals with the statuses of docs/inference-api.md, section 3."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from igw_api.details import as_json
from igw_api.failure import Code, RefusedError

STATUSES: Mapping[Code, int] = {
    Code.INVALID_ARGUMENT: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.FAILED_PRECONDITION: 412,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
}
"""Connect's statuses but for failed_precondition, which its own protocol answers with 400."""

_HEADERS = {Code.UNAUTHENTICATED: {"www-authenticate": "Bearer"}, Code.UNAVAILABLE: {"retry-after": "1"}}


def json_reply(document: Mapping[str, Any]) -> Response:
    """Answer 200 with a document."""
    return Response(msgspec.json.encode(document), media_type="application/json")


def refusal_reply(refused: RefusedError, status: int | None = None, **headers: str) -> Response:
    """Answer a refusal; `status` where HTTP knows better than the code."""
    content = {"code": refused.code, "message": refused.message, "details": as_json(refused.details)}
    return Response(
        msgspec.json.encode(content),
        status or STATUSES[refused.code],
        {**_HEADERS.get(refused.code, {}), **headers},
        media_type="application/json",
    )
