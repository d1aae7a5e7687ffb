"""Files of ``{kind, spec}`` documents in, as `igw up -f` reads them and also CapacityClaim; manifests out.

What `igw get -o yaml` prints is such a file: `status` beside `spec` is read over. Nothing is sent here.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from igw_store.documents import definition_files, parsed, told

from igw_cli.client import Exit, FailedError
from igw_cli.objects import CLAIM, DEPLOYMENT, GATEWAY, KINDS, Kind

STDIN = "-"
_SOME_ID = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object as it is wanted, and where that is written. A W&B key may be in `spec`: it is never shown."""

    kind: Kind
    spec: Mapping[str, Any]
    origin: str

    @property
    def name(self) -> str:
        """Give the name, or what stands for it in messages."""
        return str(self.spec.get("name") or self.spec.get("id") or self.origin)


class ManifestsError(FailedError):
    """Every error in the files, a line each."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("\n".join(errors), Exit.INVALID)


def manifests(paths: Sequence[str]) -> list[Manifest]:
    """Give what the files hold, gateways first. Raises ManifestsError with every error there is."""
    errors: list[str] = []
    read: list[Manifest] = []
    for file, text in _texts(paths, errors):
        for number, content in enumerate(_contents(file, text, errors), 1):
            if content is not None:
                _add(f"{file}, document {number}", content, read, errors)
    if not errors and not read:
        errors.append(f"{', '.join(paths)}: holds no definition")
    if errors:
        raise ManifestsError(errors)
    return sorted(read, key=lambda manifest: KINDS.index(manifest.kind))


def _texts(paths: Sequence[str], errors: list[str]) -> Iterator[tuple[str, str]]:
    for path in paths:
        if path == STDIN:
            yield "standard input", sys.stdin.read()
            continue
        try:
            for file in definition_files(Path(path)):
                yield str(file), file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            errors.append(f"{path}: cannot be read: {told(error)}")


def _contents(file: str, text: str, errors: list[str]) -> list[Any]:
    try:
        return parsed(text, is_json=file.endswith(".json"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        errors.append(f"{file}: cannot be read: {told(error)}")
        return []


def _add(origin: str, content: Any, read: list[Manifest], errors: list[str]) -> None:
    match content:
        case {"kind": str(word), "spec": Mapping() as spec, **rest} if not set(rest) - {"status"}:
            kind = next((kind for kind in KINDS if kind.document == word), None)
            if kind is None:
                errors.append(f"{origin}: kind: must be {', '.join(kind.document for kind in KINDS)}")
                return
            manifest = Manifest(kind, _plain(spec), origin)
            errors += [f"{origin}: {error}" for error in _broken(manifest)]
            read.append(manifest)
        case {"items": list(items), **rest} if not rest:
            # What `igw get -o json` prints.
            for number, item in enumerate(items, 1):
                _add(f"{origin}, item {number}", item, read, errors)
        case _:
            errors.append(f"{origin}: must be an object {{kind, spec}}")


def _plain(spec: Mapping[str, Any]) -> Any:
    """Give the JSON values that YAML's richer ones stand for: a date is its text."""
    return json.loads(json.dumps(dict(spec), default=str))


def _broken(manifest: Manifest) -> list[str]:
    """Give the rules of its kind that a spec breaks, before anything is sent; the server looks at it again."""
    from igw_model.capacity_claim import parse_capacity_claim  # noqa: PLC0415 - pydantic is slow to import
    from igw_model.deployment import parse_deployment  # noqa: PLC0415
    from igw_model.gateway import parse_gateway  # noqa: PLC0415

    completed = {"id": _SOME_ID, "organizationId": "some", **manifest.spec}
    parsed: Any = None
    if manifest.kind is GATEWAY:
        parsed = parse_gateway(completed)
    elif manifest.kind is DEPLOYMENT:
        parsed = parse_deployment(completed)
    elif manifest.kind is CLAIM:
        parsed = parse_capacity_claim(completed)
    return [f"{error.path}: {error.reason}" for error in parsed] if isinstance(parsed, list) else []
