"""Connect's rules for one unary call, apart from HTTP's I/O: headers and query in, codec, limits and message out.

Source: connectrpc.com/docs/protocol, "Unary-Request", "Unary-Get-Request", "Error Codes". What breaks a rule is a
RefusedError; None stands for a codec that we do not have (415).
"""

import base64
import binascii
import re
import zlib
from collections.abc import Mapping
from enum import StrEnum

from igw_api.failure import Code, RefusedError
from igw_api.reply import STATUSES

MESSAGE_BYTES = 1024 * 1024
"""The largest request, after decompression."""
MOST_MEMBERS = 16
"""Members of one gzip message: one does, and each takes its time, however empty."""

HTTP_STATUS: Mapping[Code, int] = {**STATUSES, Code.FAILED_PRECONDITION: 400}
"""Connect's own table."""


class Codec(StrEnum):
    """How messages are written; the text is the subtype of `application/`."""

    JSON = "json"
    PROTO = "proto"

    @property
    def media_type(self) -> str:
        """Give the content type."""
        return f"application/{self}"


def codec_of_content(content_type: str) -> Codec | None:
    """Give the codec of a request's Content-Type; JSON may name the one charset that it has."""
    media, *parameters = [part.strip().lower() for part in content_type.split(";")]
    if media == Codec.PROTO.media_type:
        return Codec.PROTO
    if media == Codec.JSON.media_type and all(
        text in {"charset=utf-8", 'charset="utf-8"'} for text in parameters
    ):
        return Codec.JSON
    return None


def codec_of_query(encoding: str) -> Codec | None:
    """Give the codec that a GET's `encoding` names."""
    return Codec(encoding) if encoding in set(Codec) else None


def check_version(name: str, found: str | None, ours: str) -> None:
    """Refuse a protocol version other than ours, where one is named."""
    if found not in {None, ours}:
        raise _invalid(f"{name} must be {ours}")


def seconds(timeout: str | None) -> float | None:
    """Give the time that a Connect-Timeout-Ms leaves, None for as long as it takes."""
    if timeout is None:
        return None
    if re.fullmatch(r"[0-9]{1,10}", timeout) is None:
        raise _invalid("connect-timeout-ms must be a whole number of at most 10 digits")
    return int(timeout) / 1000


def payload_of_query(query: Mapping[str, str]) -> bytes:
    """Give the message that a GET's query holds."""
    if (message := query.get("message")) is None:
        raise _invalid("the query has no message")
    if query.get("base64") != "1":
        return _plain(message.encode(), query.get("compression"))
    try:
        padded = message.rstrip("=") + "=" * (-len(message.rstrip("=")) % 4)
        data = base64.b64decode(padded, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("the query's message is not URL-safe base64") from None
    return _plain(data, query.get("compression"))


def payload_of_body(body: bytes, content_encoding: str | None) -> bytes:
    """Give the message that a POST's body holds."""
    return _plain(body, content_encoding)


def too_large() -> RefusedError:
    """Give the refusal of a request over the bound: not `resource_exhausted`, which clients would try again."""
    return _invalid(f"the request must have at most {MESSAGE_BYTES} bytes")


def gzip_accepted(accept_encoding: str | None, request_encoding: str | None) -> bool:
    """Say whether the caller reads gzip; one that does not say reads what it writes."""
    if accept_encoding is None:
        return (request_encoding or "").lower() == "gzip"
    codings = [part.partition(";") for part in accept_encoding.lower().replace(" ", "").split(",")]
    return any(
        name == "gzip" and re.fullmatch(r"q=0(\.0*)?", quality) is None for name, _, quality in codings
    )


def _plain(data: bytes, encoding: str | None) -> bytes:
    match (encoding or "identity").lower():
        case "identity":
            plain = data
        case "gzip":
            plain = _inflated(data)
        case _:
            raise RefusedError(Code.UNIMPLEMENTED, "unknown compression; supported are gzip, identity")
    if len(plain) > MESSAGE_BYTES:
        raise too_large()
    return plain


def _inflated(data: bytes) -> bytes:
    """Inflate every member (RFC 1952, section 2.2), never beyond one byte more than the bound."""
    plain, members = b"", 0
    while data and len(plain) <= MESSAGE_BYTES:
        members += 1
        if members > MOST_MEMBERS:
            raise _invalid(f"the message must have at most {MOST_MEMBERS} gzip members")
        member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            plain += member.decompress(data, MESSAGE_BYTES + 1 - len(plain))
        except zlib.error:
            raise _invalid("the message is not valid gzip") from None
        if not member.eof and len(plain) <= MESSAGE_BYTES:
            raise _invalid("the message is not valid gzip: it ends early")
        data = member.unused_data
    return plain


def _invalid(message: str) -> RefusedError:
    return RefusedError(Code.INVALID_ARGUMENT, message)
