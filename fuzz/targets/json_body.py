"""JSON bodies as extproc reads them: any chunking gives the same, and what is read is what `json` reads."""

import json
import re
from typing import Any

from igw_extproc.json_body import MAX_LEVELS, JsonBody
from igw_extproc.model_name import MAX_NAME_BYTES, MAX_SPELLING_BYTES, ModelName, Refusal, judged
from igw_model.openai import ApiError

from fuzz.chunks import chunkings

WATCHED = ("igw_extproc", "igw_model")
MAX_BYTES = 4096
_LONG_SCALAR = re.compile(rb"[-+.0-9A-Za-z]{%d}" % MAX_SPELLING_BYTES)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def check(data: bytes) -> None:
    """Read a body."""
    whole, *others = (_read(chunks) for chunks in chunkings(data))
    assert all(other == whole for other in others), (whole, others)
    if isinstance(whole, ModelName):
        assert 1 <= len(whole.text.encode()) <= MAX_NAME_BYTES
        assert not _CONTROL.search(whole.text)
        assert whole.text == whole.text.strip(" ")
    else:
        assert 400 <= whole.status < 500
        assert len(whole.body()) < 2048
    members = _members(data)
    if members is not None and not _beyond_bounds(data):
        assert _alike(whole, _expected(members)), (whole, members)


def _read(chunks: list[bytes]) -> ModelName | ApiError:
    body = JsonBody()
    try:
        for chunk in chunks:
            body.feed(chunk)
        return body.end()
    except Refusal as refusal:
        return refusal.error


def _members(data: bytes) -> list[tuple[str, Any]] | None:
    """Give the members of the object that `json` reads, keys that are there twice too; None if it reads none."""
    try:
        found = json.loads(data.decode(), object_pairs_hook=_Members, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, _Members) and all(map(_is_unicode, dict(found))) else None


class _Members(list[tuple[str, Any]]):
    """An object, and no list."""


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _beyond_bounds(data: bytes) -> bool:
    """Say whether a body may meet one of the bounds that `json` has not."""
    return data.count(b"[") + data.count(b"{") >= MAX_LEVELS or _LONG_SCALAR.search(data) is not None


def _expected(members: list[tuple[str, Any]]) -> str:
    """Give the name, or the code of the error, that the members of a whole object come to: the first rule broken."""
    models = [value for key, value in members if key == "model"]
    if not models or models[0] is None:
        return "missing_model"
    if not isinstance(models[0], str):
        return "invalid_type"
    if not _is_unicode(models[0]):
        return "invalid_json"
    try:
        name = judged(models[0])
    except Refusal as refusal:
        return refusal.error.code
    return "duplicate_model" if len(models) > 1 else f"= {name.text}"


def _alike(whole: ModelName | ApiError, expected: str) -> bool:
    return expected == (f"= {whole.text}" if isinstance(whole, ModelName) else whole.code)
