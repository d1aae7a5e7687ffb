"""What changes between two specs: two documents in, changed fields out. Secrets are told as changed, never shown."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_CHOICES = {
    "coreWeaveAuth",
    "weightsAndBiasesAuth",
    "bodyBasedRouting",
    "headerBasedRouting",
    "pathBasedRouting",
}
"""Fields that say something by being there, even empty."""
_SERVERS_OWN = {"id", "organizationId"}
_SECRETS = {"apiKey"}
HIDDEN = "(hidden)"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field, `before` and `after` it changed; None for a field that is not there."""

    path: str
    before: Any
    after: Any


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[FieldChange]:
    """Give the fields that differ, by path. A field left out and its zero value are one and the same.

    `before` is what the server has: a version that it chose itself and a key that it does not tell are no
    differences, but a key in `after` is one, since nobody can say whether it is another one.
    """
    old, new = dict(_leaves(before)), dict(_leaves(after))
    if "runtime.version" not in new and "runtime.engine" in new:
        old.pop("runtime.version", None)
    paths = sorted({*old, *new})
    return [
        FieldChange(path, old.get(path), new.get(path)) for path in paths if old.get(path) != new.get(path)
    ]


def _leaves(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        path = f"{prefix}{key}"
        if path in _SERVERS_OWN:
            continue
        if key in _SECRETS:
            if value:
                yield path, HIDDEN
        elif isinstance(value, Mapping):
            if key in _CHOICES:
                yield path, {}
            yield from _leaves(value, f"{path}.")
        elif value not in (None, "", 0, False, [], ()):
            yield path, value
