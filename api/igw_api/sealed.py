"""A spec as it is kept: parted from its W&B key, compared and measured as JSON. Pure."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from igw_model.document import FieldError
from igw_model.record import Record
from pydantic import SecretStr

from igw_api.document import Document

KEY_HOLDER = "weightsAndBiasesAuth"
SPEC_BYTES = 64 * 1024
"""The largest spec, as JSON in UTF-8 without spaces."""


class Sealed(NamedTuple):
    """A spec parted from its W&B key."""

    spec: Mapping[str, Any]
    key: SecretStr | None


def sealed_spec(document: Document, stored: SecretStr | None = None) -> Sealed:
    """Part a spec from its W&B key: left out it is the stored one, empty it is none."""
    auth = document.get(KEY_HOLDER)
    if not isinstance(auth, Mapping):
        return Sealed(document, None)
    if "apiKey" not in auth:
        return Sealed(document, stored)
    key = auth["apiKey"]
    if not isinstance(key, str):
        return Sealed(document, None)  # it stays where it is: the rules of the field refuse it
    rest = {field: value for field, value in auth.items() if field != "apiKey"}
    return Sealed({**document, KEY_HOLDER: rest}, SecretStr(key) if key else None)


def joined(sealed: Sealed) -> Document:
    """Put the key where the rules expect it."""
    if sealed.key is None:
        return sealed.spec
    auth = {**sealed.spec[KEY_HOLDER], "apiKey": sealed.key.get_secret_value()}
    return {**sealed.spec, KEY_HOLDER: auth}


def same(sealed: Sealed, record: Record) -> bool:
    """Say whether a spec is the one that is kept, as JSON: to Python, true is 1."""
    return sealed.key == record.api_key and _json(sealed.spec) == _json(record.spec)


def size(document: Document) -> int:
    """Give the size to hold to `SPEC_BYTES`."""
    return len(_json(document).encode())


def key_errors(record: Record, document: Document) -> list[FieldError]:
    """A stored key is for the server that it came with: who may write must not send it to another."""
    auth, stored = document.get(KEY_HOLDER), record.spec.get(KEY_HOLDER)
    if record.api_key is None or not isinstance(auth, Mapping) or not isinstance(stored, Mapping):
        return []
    if "apiKey" in auth or auth.get("serverUrl") in (None, stored.get("serverUrl")):
        return []
    return [FieldError(f"{KEY_HOLDER}.apiKey", "is required with another serverUrl")]


def _json(document: Document) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
