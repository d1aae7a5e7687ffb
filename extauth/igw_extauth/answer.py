"""What Envoy is told: a decision as an HTTP status, headers and a body; either transport carries them. Pure.

Denials are OpenAI error objects (docs/inference-api.md, section 4). No text says whose gateway it is.
"""

from dataclasses import dataclass
from typing import assert_never
from urllib.parse import quote

from igw_model.headers import ORGANIZATION, PRINCIPAL
from igw_model.openai import ApiError

from igw_extauth.decision import Allow, Decision, Deny

RETRY_AFTER_SECONDS = 1
"""When a caller may ask again after its authority was unavailable; extauth forgets such an answer by then."""

_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")
_PRINCIPAL = PRINCIPAL.encode()
_ORGANIZATION = ORGANIZATION.encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """Status 200 lets the request pass with `headers` added; any other is the reply that the caller gets."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""


def answer(decision: Decision) -> Answer:
    """Give the answer for a decision."""
    match decision:
        case Allow(principal, organization):
            headers = ((_PRINCIPAL, header_value(principal)), (_ORGANIZATION, header_value(organization)))
            return Answer(200, headers)
        case Deny():
            return _DENIALS[decision]
        case _:
            assert_never(decision)


def header_value(name: str) -> bytes:
    """Give a name as a legal header value: all but visible ASCII, and ``%``, percent-encoded as UTF-8.

    Reversible by percent-decoding, so that two names never become one.
    """
    return quote(name, safe=_PLAIN, errors="surrogatepass").encode()


def _denial(deny: Deny) -> Answer:
    error, extra = _error(deny)
    return Answer(error.status, ((b"content-type", b"application/json"), *extra), error.body())


def _error(deny: Deny) -> tuple[ApiError, tuple[tuple[bytes, bytes], ...]]:
    match deny:
        case Deny.UNKNOWN_GATEWAY:
            return ApiError(404, "unknown_gateway", "There is no gateway at this host."), ()
        case Deny.NO_TOKEN:
            text = "No usable API key: send one header `Authorization: Bearer <key>`."
            return ApiError(401, "missing_api_key", text), _CHALLENGE
        case Deny.UNKNOWN_TOKEN:
            return ApiError(401, "invalid_api_key", "The API key is not valid here."), _CHALLENGE
        case Deny.OTHER_ORGANIZATION:
            text = "The API key belongs to another organization than this gateway."
            return ApiError(403, "organization_mismatch", text), ()
        case Deny.UNAVAILABLE:
            text = "The API key cannot be checked at the moment; try again."
            return ApiError(503, "auth_unavailable", text), ((b"retry-after", b"%d" % RETRY_AFTER_SECONDS),)
        case _:
            assert_never(deny)


_CHALLENGE = ((b"www-authenticate", b"Bearer"),)
_DENIALS = {deny: _denial(deny) for deny in Deny}
