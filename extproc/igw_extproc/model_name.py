"""The model that a request's body asks for: body bytes in, a `ModelName` or an `ApiError` out. Pure.

A body is one JSON object of RFC 8259 in UTF-8 whose strings are Unicode (RFC 7493, 2.1: a lone surrogate is
refused wherever it stands) and which nests no deeper than about 900 levels, the parser's limit. A byte order
mark is refused (RFC 8259, 8.1, leaves it open; model servers refuse it). The model is the top-level `model`.
"""

import unicodedata
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from igw_model.openai import ApiError

MAX_NAME_BYTES: Final = 256
"""No deployment's name is longer, in UTF-8."""

_ECHOED_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class ModelName:
    """A name that can be a header's value: 1 to 256 bytes of UTF-8, no controls, no space at its ends."""

    text: str


class _LastModel(msgspec.Struct, gc=False):
    """The last top-level `model` as it was spelled; everything else is checked and skipped, not built."""

    model: msgspec.Raw = msgspec.Raw(b"null")


class _StringModels(msgspec.Struct, gc=False):
    """Decodes only when every top-level `model` is a string."""

    model: str


class _Occurrence:
    """One top-level `model`: a type that msgspec does not know, so it asks our hook at each of them."""


class _Occurrences(msgspec.Struct):
    model: _Occurrence


class _RepeatedError(Exception):
    """`model` was met a second time."""


_LAST_MODEL = msgspec.json.Decoder(_LastModel)
_STRING_MODELS = msgspec.json.Decoder(_StringModels)
_STRING = msgspec.json.Decoder(str)

MISSING: Final = ApiError(400, "missing_model", "you must provide a model parameter", "model")
INVALID_JSON: Final = ApiError(400, "invalid_json", "the request body is not a JSON object")
INVALID_TYPE: Final = ApiError(400, "invalid_type", "the model parameter must be a string", "model")
DUPLICATE: Final = ApiError(400, "duplicate_model", "the model parameter is given more than once", "model")


def model_name(body: bytes) -> ModelName | ApiError:
    """Give the model that the body names at its top level, or why it names none.

    The last `model` is judged first (null or empty, not a string), then whether it is the only one.
    """
    if not body:
        return MISSING
    try:
        if not body.isascii():
            body.decode()  # msgspec skips strings without looking at their UTF-8
        spelling = bytes(_LAST_MODEL.decode(body).model)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return INVALID_JSON
    if spelling in {b"null", b'""'}:
        return MISSING
    if not spelling.startswith(b'"'):
        return INVALID_TYPE
    if _may_be_repeated(body) and _is_repeated(body):
        return DUPLICATE
    name = _STRING.decode(spelling)
    return ModelName(name) if _can_be_a_header(name) else unknown_model(name)


def unknown_model(name: str) -> ApiError:
    """Give OpenAI's 404 for a model that does not exist; what is echoed is short and printable."""
    shown = name[:_ECHOED_CHARACTERS].encode("unicode_escape").decode("ascii")
    dots = "..." if len(name) > _ECHOED_CHARACTERS else ""
    return ApiError(404, "model_not_found", f"The model `{shown}{dots}` does not exist", "model")


def _can_be_a_header(name: str) -> bool:
    if name.isascii() and name.isprintable():
        return len(name) <= MAX_NAME_BYTES and name == name.strip()
    return (
        len(name.encode()) <= MAX_NAME_BYTES
        and name == name.strip()
        and not any(unicodedata.category(character) == "Cc" for character in name)
    )


def _may_be_repeated(body: bytes) -> bool:
    """Tell cheaply whether the key could stand twice: plain, or with an escape (of m, o, d, e or l: 006x)."""
    return body.count(b'"model"') > 1 or b"\\u006" in body


def _is_repeated(body: bytes) -> bool:
    """Tell whether a valid body, whose last `model` is a string, has another.

    First whether all are strings: a hook gets decoded values, and must not be made to build lists of lists.
    """
    try:
        _STRING_MODELS.decode(body)
    except msgspec.ValidationError:
        return True
    seen: list[Any] = []

    def meet(_: type, value: Any) -> _Occurrence:
        if seen:
            raise _RepeatedError
        seen.append(value)
        return _Occurrence()

    try:
        msgspec.json.decode(body, type=_Occurrences, dec_hook=meet)
    except _RepeatedError:
        return True
    return False
