"""What a proxy runs beside what it should run: two documents in, what differs out. Pure."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import yaml
from igw_xds.snapshot import SHORT_NAMES

from igw_cli.held import Resources

ORDER = tuple(SHORT_NAMES.values())
"""Types as they are sent."""


class Kind(StrEnum):
    """How a resource differs."""

    MISSING = "missing"
    EXTRA = "extra"
    OTHER = "other version"


@dataclass(frozen=True, slots=True)
class Difference:
    """One resource; `should` and `runs` are versions, empty for none."""

    type: str
    name: str
    kind: Kind
    should: str = ""
    runs: str = ""
    note: str = ""


def differences(expected: Mapping[str, Any], held: Resources) -> list[Difference]:
    """Compare `GET …/proxies/{id}/resources` with what an Envoy holds; by type, then name.

    What is withheld, and so taken from nobody, may be there or not.
    """
    should = {(kind, name): v for kind, names in expected["resources"].items() for name, v in names.items()}
    spared = {(kind, name) for kind, names in expected.get("withheld", {}).items() for name in names}
    found = [_difference(key, should.get(key, ""), held) for key in should.keys() | (held.keys() - spared)]
    return sorted((one for one in found if one is not None), key=lambda d: (ORDER.index(d.type), d.name))


def content_difference(difference: Difference, should: Any, runs: Any) -> Iterator[str]:
    """Give the unified difference of two contents as YAML, None for one that is not there."""
    name = f"{difference.type}/{difference.name}"
    return difflib.unified_diff(
        _lines(should),
        _lines(runs),
        f"{name} should be {difference.should}".rstrip(),
        f"{name} is {difference.runs}".rstrip(),
        lineterm="",
    )


def _difference(key: tuple[str, str], should: str, held: Resources) -> Difference | None:
    one = held.get(key)
    runs, note = ("", "") if one is None else (one.version, one.note)
    if runs == should:
        return None
    kind = Kind.MISSING if not runs else Kind.OTHER if should else Kind.EXTRA
    return Difference(*key, kind, should, runs, note)


def _lines(content: Any) -> list[str]:
    return [] if content is None else yaml.safe_dump(content, allow_unicode=True).splitlines()
