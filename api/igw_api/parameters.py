"""What callers may choose from: zones, engines, instance types, and how many instances there are to claim.

In: an optional YAML file. Out: a frozen value. An empty list of versions, keys, names or instance types means any.

    zones: [US-EAST-04A]
    engines: {vllm: {versions: [v0.11.0], allowedKeys: [], allowedNames: []}}
    instanceTypes: [gd-8xh100ib-i128]
    capacity: {US-EAST-04A: {gd-8xh100ib-i128: 4}}
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from igw_model.document import FieldError, Many, Spec, parse
from igw_model.text import NonEmpty
from igw_store.documents import single
from pydantic import Field

DEFAULT_ZONES = ("US-EAST-04A", "US-WEST-04A", "EU-NORTH-04A")


class Engine(Spec):
    """What may be chosen of one engine."""

    versions: Many[NonEmpty] = ()
    allowed_keys: Many[NonEmpty] = ()
    allowed_names: Many[NonEmpty] = ()


Count = Annotated[int, Field(ge=0, le=4_294_967_295)]


class Parameters(Spec):
    """All that the parameter operations tell, and what new specs are held to."""

    zones: Annotated[Many[NonEmpty], Field(min_length=1)] = DEFAULT_ZONES
    engines: Mapping[NonEmpty, Engine] = {"vllm": Engine(), "sglang": Engine(), "dynamo": Engine()}
    instance_types: Many[NonEmpty] = ()
    capacity: Mapping[NonEmpty, Mapping[NonEmpty, Count]] = {}

    def has_zone(self, zone: str) -> bool:
        """Say whether a zone is offered; letter case does not matter."""
        return zone.lower() in {known.lower() for known in self.zones}

    def instances_of(self, zone: str) -> tuple[str, ...]:
        """Give the instance types that can be claimed in a zone."""
        return tuple(
            kind for known, kinds in self.capacity.items() if known.lower() == zone.lower() for kind in kinds
        )


@dataclass(slots=True, eq=False)
class ParametersError(Exception):
    """A parameters file that cannot be used, and why."""

    path: Path
    errors: tuple[FieldError, ...]

    def __str__(self) -> str:
        return f"{self.path}: " + "; ".join(map(str, self.errors))


def load(path: Path | None, zones: Sequence[str] = DEFAULT_ZONES) -> Parameters:
    """Give the parameters of a file; `zones` for one that names none. Raises ParametersError."""
    document = None if path is None else _read(path)
    document = {} if document is None else document
    if not isinstance(document, Mapping):
        raise _error(path, [FieldError("", "must be an object")])
    parsed = parse(Parameters, {"zones": list(zones), **document}, ())
    errors = parsed if isinstance(parsed, list) else list(_contradictions(parsed))
    if errors or isinstance(parsed, list):
        raise _error(path, errors)
    return parsed


def _read(path: Path) -> Any:
    try:
        return single(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _error(path, [FieldError("", f"cannot be read: {error.strerror}")]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _error(path, [FieldError("", f"is no YAML: {' '.join(str(error).split())}")]) from None


def _contradictions(parameters: Parameters) -> Iterable[FieldError]:
    lower = [zone.lower() for zone in parameters.zones]
    for index, zone in enumerate(lower):
        if zone in lower[:index]:
            yield FieldError(f"zones[{index}]", "is there already, in another letter case perhaps")
    for zone in parameters.capacity:
        if not parameters.has_zone(zone):
            yield FieldError(f"capacity.{zone}", "is not among zones")


def _error(path: Path | None, errors: Sequence[FieldError]) -> ParametersError:
    return ParametersError(path or Path("parameters"), tuple(errors))
