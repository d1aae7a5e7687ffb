"""A request's document made plain before any rule looks at it: no nulls, whole numbers as such, enums by name. Pure.

Source: protobuf's JSON mapping, https://protobuf.dev/programming-guides/json/.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from igw_model.capacity_claim import CAPACITY_TYPES
from igw_model.deployment import CAPACITY_CLASSES
from igw_model.document import FieldError
from igw_model.gateway import API_TYPES

from igw_api.failure import RefusedError
from igw_api.refusal import invalid

DEEPEST = 32
"""Levels of nesting; the deepest field of the API is at five."""
MOST_VALUES = 50_000
"""Values of all kinds in one request, more than a spec of `sealed.SPEC_BYTES` has."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)

Document = Mapping[str, Any]
Enums = Mapping[tuple[str, ...], Mapping[int, str]]

GATEWAY_ENUMS: Enums = {("bodyBasedRouting", "apiType"): API_TYPES}
DEPLOYMENT_ENUMS: Enums = {("autoscaling", "capacityClasses"): CAPACITY_CLASSES}
CLAIM_ENUMS: Enums = {("resources", "capacityType"): CAPACITY_TYPES}


def plain(document: Document) -> dict[str, Any]:
    """Give a document without nulls and with 1.0 as 1. Raises RefusedError for what no field can hold."""
    return _Plain().object(document, (), DEEPEST)


Place = tuple[Any, ...]
"""Where a value is: the place of what holds it, and its key or index; written out only for an error."""


@dataclass(slots=True)
class _Plain:
    """One document on its way to be plain; `left` counts the values that it may still have."""

    left: int = MOST_VALUES

    def object(self, value: Document, place: Place, depth: int) -> dict[str, Any]:
        if depth == 0:
            raise _refused(place, "is nested too deeply")
        for key in value:
            if not isinstance(key, str) or not _is_unicode(key):
                raise _refused(place, "has a field whose name is no valid Unicode text")
        return {key: self.value(item, (place, key), depth) for key, item in value.items() if item is not None}

    def value(self, value: Any, place: Place, depth: int) -> Any:
        self.left -= 1
        if self.left < 0:
            raise _refused((), f"the request must have at most {MOST_VALUES} values")
        match value:
            case Mapping():
                return self.object(value, place, depth - 1)
            case list():
                if depth == 1:
                    raise _refused(place, "is nested too deeply")
                return [self.value(item, (place, index), depth - 1) for index, item in enumerate(value)]
            case float() if value.is_integer():
                return int(value)
            case str() if not _is_unicode(value):
                raise _refused(place, "must be valid Unicode text")
            case _:
                return value


def _refused(place: Place, reason: str) -> RefusedError:
    return invalid([FieldError(_path(place), reason)])


def _path(place: Place) -> str:
    if not place:
        return ""
    outer, part = place
    path = _path(outer)
    return f"{path}[{part}]" if isinstance(part, int) else f"{path}.{part}" if path else part


def _is_unicode(text: str) -> bool:
    """Say whether a text can be written: JSON's escapes can spell half of a surrogate pair."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def named(document: Document, enums: Enums) -> dict[str, Any]:
    """Give a document with its enums' numbers as names; an unknown number becomes a text that no rule accepts."""
    result = dict(document)
    for (outer, inner), names in enums.items():
        part = result.get(outer)
        if isinstance(part, Mapping) and inner in part:
            result[outer] = {**part, inner: _name(part[inner], names)}
    return result


def _name(value: Any, names: Mapping[int, str]) -> Any:
    if isinstance(value, list):
        return [_name(item, names) for item in value]
    return names.get(value, str(value)) if type(value) is int else value


def unknown(document: Document, allowed: Sequence[str]) -> list[FieldError]:
    """Name the fields that a request has and its method has not."""
    return [FieldError(key, "unknown field") for key in document if key not in allowed]


def texts(document: Document, *path: str) -> list[str]:
    """Give the texts of a list somewhere in a document; nothing for what is not there or of another type."""
    value = _at(document, path)
    return [item if isinstance(item, str) else "" for item in value] if isinstance(value, list) else []


def text(document: Document, *path: str) -> str | None:
    """Give a text somewhere in a document; None for what is not there or of another type."""
    value = _at(document, path)
    return value if isinstance(value, str) else None


def _at(document: Document, path: Sequence[str]) -> Any:
    value: Any = document
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def identifier(sent: Any) -> str | None:
    """Give a UUID in its normal spelling; None for anything else."""
    return sent.lower() if isinstance(sent, str) and _UUID.fullmatch(sent) else None
