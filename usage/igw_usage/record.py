"""What a line of Envoy's access log says about one request that was let in. Pure.

In: the line's attributes, all text, and the name of the Envoy. Out: a record, or None for a line of no use.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

MAX_TOKENS: Final = 10_000_000
"""Of one response; extauth charges a project as much at most."""
BELIEVED: Final = 2**53
"""A number above it is nonsense, not a large count."""
MAX_SECONDS: Final = 30 * 86_400.0
MAX_NAME: Final = 512
"""Characters of a name; what is longer is cut."""
MAX_PROJECT: Final = 1024
MAX_ENCODED: Final = 4096
"""Characters of a percent-encoded name that are read."""
FUTURE_MICROS: Final = 86_400_000_000
"""A request cannot have begun a day from now: then its Envoy's clock is wrong, and ours is used."""

_START: Final = re.compile(r"(\d{1,11})(?:\.(\d{1,9}))?\Z", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,15}(?:\.\d{1,9})?\Z", re.ASCII)
_CUT: Final = frozenset({"DC", "UC", "UR", "LR", "SI", "UT", "DT", "UMSDR", "UPE", "DPE", "OM"})
"""Envoy's response flags for an answer that did not come to its end."""
_OPERATIONS: Final = {
    "/chat/completions": "chat",
    "/responses": "chat",
    "/completions": "text_completion",
    "/embeddings": "embeddings",
    "/rerank": "rerank",
    "/moderations": "moderation",
    "/images/generations": "image_generation",
    "/images/edits": "image_edit",
    "/images/variations": "image_variation",
    "/audio/speech": "speech",
    "/audio/transcriptions": "transcription",
    "/audio/translations": "translation",
}


@dataclass(frozen=True, slots=True)
class Record:
    """One request. Names are as their owners wrote them; one that there is not is empty."""

    key: str
    """The same for the same request, however often it is told of: 64 hexadecimal digits."""
    gateway: str
    deployment: str
    """Empty when no model server was reached."""
    model: str
    """Empty for a model that the gateway does not have."""
    organization: str
    principal: str
    entity: str
    project: str
    """`<entity>/<project>`."""
    request_id: str
    operation: str
    """By the semantic conventions for generative AI, or `other`."""
    started_at: int
    """Microseconds since 1970."""
    seconds: float
    first_byte_seconds: float | None
    """From the whole request to the first byte of the answer."""
    status: int
    """0: there was no answer."""
    streamed: bool
    partial: bool
    """The answer did not come to its end, so there may be more tokens than were seen."""
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    total_tokens: int
    reports: bool
    """Whether its gateway reports its usage."""

    @property
    def failed(self) -> bool:
        """Say whether it counts as an error."""
        return self.status >= 400 or self.status == 0


def record(attributes: Mapping[str, str], node: str, now: int) -> Record | None:
    """Give what a line says; `now` (microseconds since 1970) stands for a start that makes no sense."""
    said = {name: value for name, value in attributes.items() if value not in {"", "-"}}
    if "gateway" not in said:
        return None
    usage = _usage(said.get("usage", ""))
    status = int(_number(said.get("status", "")) or 0)
    partial = _partial(usage, status, said.get("flags", ""))
    prompt, completion, cached, total = _tokens(usage, status)
    return Record(
        key=key(attributes, node),
        gateway=said["gateway"][:MAX_NAME],
        deployment=said.get("deployment", "")[:MAX_NAME],
        model=said.get("model", "")[:MAX_NAME],
        organization=_name(said.get("organization", "")),
        principal=_name(said.get("principal", "")),
        entity=_name(said.get("entity", "")),
        project=_name(said.get("project", ""), MAX_PROJECT),
        request_id=said.get("request_id", "")[:MAX_NAME],
        operation=operation(said.get("path", "")),
        started_at=_start(said.get("start", ""), now),
        seconds=_seconds(said.get("duration_ms", ""), 1e3) or 0.0,
        first_byte_seconds=_seconds(said.get("first_byte_us", ""), 1e6),
        status=status if status < 1000 else 0,
        streamed=usage.get("streamed") is True,
        partial=partial,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
        total_tokens=total,
        reports=said.get("reports") == "true",
    )


def key(attributes: Mapping[str, str], node: str) -> str:
    """Give what tells a request from all others: a line that Envoy sends again has the same."""
    parts = (node, *(attributes.get(name, "") for name in ("request_id", "start", "connection", "stream")))
    return hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()


def operation(path: str) -> str:
    """Give the operation that a path asks for, wherever the gateway's paths begin."""
    bare = path.rstrip("/")
    return next((name for end, name in _OPERATIONS.items() if bare.endswith(end)), "other")


def _began_well(status: int) -> bool:
    return 100 <= status < 400


def _partial(usage: Mapping[str, Any], status: int, flags: str) -> bool:
    """Say whether an answer ended early.

    Of one that is neither events nor JSON the metadata says nothing; there Envoy's flags must.
    """
    if not _began_well(status) or usage.get("whole") is True:
        return False
    if not (usage or _CUT.intersection(flags.split(","))):
        return False
    tokens = any(_count(usage, f"{name}_tokens") for name in ("prompt", "completion", "total"))
    return usage.get("streamed") is True or not tokens


def _tokens(usage: Mapping[str, Any], status: int) -> tuple[int | None, int | None, int | None, int]:
    """Give the prompt's, the completion's, cached and all tokens; a stream that did not say has one for each event."""
    prompt, completion, cached = (_count(usage, f"{of}_tokens") for of in ("prompt", "completion", "cached"))
    if completion is None and usage.get("streamed") is True and _began_well(status):
        completion = _count(usage, "events")
    total = _count(usage, "total_tokens")
    added = min((prompt or 0) + (completion or 0), MAX_TOKENS)
    return prompt, completion, cached, added if total is None else total


def _usage(text: str) -> dict[str, Any]:
    if len(text) > MAX_ENCODED:
        return {}
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    """Give a count of tokens, or None where there is none: NaN, what is negative and what is beyond belief is none."""
    said = usage.get(name)
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 <= said <= BELIEVED:
        return None
    return min(int(said), MAX_TOKENS)


def _name(value: str, most: int = MAX_NAME) -> str:
    """Give the name that extauth percent-encoded."""
    return unquote(value[:MAX_ENCODED], errors="replace")[:most]


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.match(text) else None


def _seconds(text: str, in_a_second: float) -> float | None:
    number = _number(text)
    return None if number is None else min(number / in_a_second, MAX_SECONDS)


def _start(text: str, now: int) -> int:
    found = _START.match(text)
    if found is None:
        return now
    micros = int(found[1]) * 1_000_000 + int((found[2] or "").ljust(6, "0")[:6])
    return micros if micros <= now + FUTURE_MICROS else now
