"""A definition as it is written: camelCase fields of the public API in, a frozen value or field errors out.

Rules of shape live here; the rules of each resource are in `gateway` and `deployment`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel


@dataclass(frozen=True, slots=True, order=True)
class FieldError:
    """One rule that a definition breaks: the field's path in the API's names, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path else self.reason


class Spec(BaseModel):
    """A frozen part of a definition; unknown fields and silent conversions are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, alias_generator=to_camel, hide_input_in_errors=True
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_left_out(cls, data: Any) -> Any:
        """Protobuf JSON: a null field is a field that was left out, at every depth."""
        return _without_nulls(data) if isinstance(data, Mapping) else data


S = TypeVar("S", bound=Spec)
T = TypeVar("T")
Many = Annotated[
    tuple[T, ...], BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
]
"""A list in the document, an immutable sequence in the model."""
Few = Annotated[Many[T], Field(max_length=100)]
"""A list that callers write."""

Choice = tuple[str, tuple[str, ...], bool]
"""A closed choice: the model's field, the document's keys for it, and whether one is required."""


def parse(spec: type[S], document: Any, choices: Iterable[Choice]) -> S | list[FieldError]:
    """Give the value that a document defines, or every rule that it breaks.

    A choice is written as one of several keys (``coreWeaveAuth: {}``) and becomes one field, tagged with
    the key.
    """
    if not isinstance(document, Mapping):
        return [FieldError("", "must be an object")]
    fields = _without_nulls(document)
    errors = [error for choice in choices for error in _fold(fields, choice)]
    try:
        value = spec.model_validate(fields)
    except ValidationError as invalid:
        chosen = {field for field, _, _ in choices}
        found = [
            _field_error(error, chosen) for error in invalid.errors(include_url=False, include_input=False)
        ]
        return errors + [error for error in found if error.path not in chosen]
    return errors or value


def _without_nulls(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


def _fold(fields: dict[str, Any], choice: Choice) -> list[FieldError]:
    field, keys, required = choice
    # The model's own name for the choice is not a name of the API.
    unknown = [FieldError(field, "unknown field")] if fields.pop(field, None) is not None else []
    present = [key for key in keys if key in fields]
    values = [fields.pop(key) for key in present]
    if len(present) > 1:
        return [*unknown, FieldError(", ".join(present), "choose exactly one")]
    if not present:
        return [*unknown, *([FieldError(", ".join(keys), "choose exactly one")] if required else [])]
    if not isinstance(values[0], Mapping):
        return [*unknown, FieldError(present[0], "must be an object")]
    if "kind" in values[0]:
        return [*unknown, FieldError(f"{present[0]}.kind", "unknown field")]
    fields[field] = {"kind": present[0], **values[0]}
    return unknown


def _field_error(error: Any, chosen: set[str]) -> FieldError:
    location = [part for part in error["loc"] if part not in chosen or len(error["loc"]) == 1]
    return FieldError(_path(location), _reason(error["type"], error.get("ctx", {}), error["msg"]))


def _path(location: Iterable[str | int]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


_TYPES = {
    "string_type": "a string",
    "string_unicode": "valid Unicode text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "an object",
    "mapping_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}


_REASONS = {
    "missing": "is required",
    "extra_forbidden": "unknown field",
    "less_than_equal": "must be at most {le}",
    "greater_than_equal": "must be at least {ge}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
    "literal_error": "must be one of {expected}",
    "value_error": "{error}",
}


def _reason(kind: str, context: Mapping[str, Any], message: str) -> str:
    if kind in _TYPES:
        return f"must be {_TYPES[kind]}"
    if context.get("min_length") == 1:
        return "must not be empty"
    return _REASONS[kind].format_map(context) if kind in _REASONS else message
