"""What Envoy is told: a decision as an HTTP status, headers and a body; either transport carries them. Pure.

Denials are OpenAI error objects (docs/inference-api.md, section 4). No text says whose gateway it is.
"""

from dataclasses import dataclass
from math import ceil
from typing import assert_never
from urllib.parse import quote

from igw_model.headers import ENTITY, LEASE, ORGANIZATION, PRINCIPAL, PROJECT, TOKEN
from igw_model.openai import ApiError

from igw_extauth.decision import Allow, Decision, Deny
from igw_extauth.keeper import Admitted, Exceeded, Held, Level, Levels

RETRY_AFTER_SECONDS = 1
"""When a caller may ask again after its authority was unavailable; extauth forgets such an answer by then."""

_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Status 200 lets the request pass; any other is the reply that the caller gets, with `headers` and `body`."""

    status: int
    headers: Headers
    """Of a request that passes: added for the model server."""
    body: bytes = b""
    client: Headers = ()
    """Of a request that passes: added to the model server's answer."""
    metadata: Headers = ()
    """Of a request that passes: for Envoy alone, as dynamic metadata of its ext_authz filter."""

    @property
    def lines(self) -> Headers:
        """Give all headers, as HTTP carries them; Envoy sorts them by name."""
        return (*self.headers, *self.client, *self.metadata)


def answer(decision: Decision, short: str = "") -> Answer:
    """Give the answer for a decision; `short` is what may be logged of the token (`hashing.short`)."""
    match decision:
        case Allow():
            return Answer(200, _told(decision), metadata=((TOKEN.encode(), short.encode()),))
        case Deny():
            return _DENIALS[decision]
        case _:
            assert_never(decision)


def admitted(allow: Allow, short: str, admission: Admitted) -> Answer:
    """Give the answer for a request that holds a slot."""
    metadata = ((TOKEN.encode(), short.encode()), (LEASE.encode(), admission.lease.encode()))
    return Answer(200, _told(allow), client=rate_limit_headers(admission.levels), metadata=metadata)


def held(admission: Held) -> Answer:
    """Give the answer for a request that met a limit."""
    error = _HELD[admission.limit]
    retry = ((b"retry-after", b"%d" % max(1, ceil(admission.retry_seconds))),)
    return _refusal(error, (*retry, *rate_limit_headers(admission.levels)))


def rate_limit_headers(levels: Levels) -> Headers:
    """Give OpenAI's headers of limits (https://platform.openai.com/docs/guides/rate-limits, "in headers")."""
    return (*_level("requests", levels.requests), *_level("tokens", levels.tokens))


def _level(of: str, level: Level | None) -> Headers:
    if level is None:
        return ()
    values = {
        "limit": str(level.limit),
        "remaining": str(max(0, level.remaining)),
        "reset": _duration(level.reset_seconds),
    }
    return tuple((f"x-ratelimit-{name}-{of}".encode(), value.encode()) for name, value in values.items())


def _duration(seconds: float) -> str:
    """Write a duration as OpenAI does: ``20ms``, ``1.5s``, ``6m0s``."""
    milliseconds = max(0, ceil(seconds * 1000))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{rest / 1000:g}s"
    return f"{minutes}m{text}" if minutes else text


def _told(allow: Allow) -> Headers:
    told = {PRINCIPAL: allow.principal, ORGANIZATION: allow.organization}
    if allow.project:
        told |= {ENTITY: allow.entity, PROJECT: allow.project}
    return tuple((name.encode(), header_value(value)) for name, value in told.items())


def header_value(name: str) -> bytes:
    """Give a name as a legal header value: all but visible ASCII, and ``%``, percent-encoded as UTF-8.

    Reversible by percent-decoding, so that two names never become one.
    """
    return quote(name, safe=_PLAIN, errors="surrogatepass").encode()


def _refusal(error: ApiError, extra: Headers) -> Answer:
    return Answer(error.status, ((b"content-type", b"application/json"), *extra), error.body())


_CHALLENGE = ((b"www-authenticate", b"Bearer"),)
_HELD = {
    Exceeded.CONCURRENCY: ApiError(
        429, "concurrency_limit_reached", "Concurrency limit reached for requests"
    ),
    Exceeded.REQUESTS: ApiError(429, "rate_limit_exceeded", "Rate limit reached for requests per minute"),
    Exceeded.TOKENS: ApiError(429, "rate_limit_exceeded", "Rate limit reached for tokens per minute"),
    Exceeded.QUOTA: ApiError(
        402,
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details",
    ),
    Exceeded.UNKNOWN_PROJECT: ApiError(
        403, "project_not_found", "The project does not exist.", "OpenAI-Project"
    ),
    Exceeded.UNAVAILABLE: ApiError(
        503, "limits_unavailable", "The project's limits cannot be checked at the moment; try again."
    ),
}
_ERRORS: dict[Deny, tuple[ApiError, Headers]] = {
    Deny.UNKNOWN_GATEWAY: (ApiError(404, "unknown_gateway", "There is no gateway at this host."), ()),
    Deny.NO_TOKEN: (
        ApiError(401, "missing_api_key", "No usable API key: send one header `Authorization: Bearer <key>`."),
        _CHALLENGE,
    ),
    Deny.UNKNOWN_TOKEN: (ApiError(401, "invalid_api_key", "The API key is not valid here."), _CHALLENGE),
    Deny.OTHER_ORGANIZATION: (
        ApiError(
            403, "organization_mismatch", "The API key belongs to another organization than this gateway."
        ),
        (),
    ),
    Deny.BAD_PROJECT: (
        ApiError(
            400, "invalid_project", "The header OpenAI-Project must be <team>/<project>.", "OpenAI-Project"
        ),
        (),
    ),
    Deny.OTHER_PROJECT: (
        ApiError(
            403,
            "project_mismatch",
            "The header OpenAI-Project must name a team of the API key's user.",
            "OpenAI-Project",
        ),
        (),
    ),
    Deny.NO_ENTITY: (
        ApiError(
            400,
            "missing_project",
            "The API key has no default entity: name a project in the header OpenAI-Project.",
            "OpenAI-Project",
        ),
        (),
    ),
    Deny.UNAVAILABLE: (
        ApiError(503, "auth_unavailable", "The API key cannot be checked at the moment; try again."),
        ((b"retry-after", b"%d" % RETRY_AFTER_SECONDS),),
    ),
}
_DENIALS = {deny: _refusal(*error) for deny, error in _ERRORS.items()}
