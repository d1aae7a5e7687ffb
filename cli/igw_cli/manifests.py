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

from igw_cli.client import Exit, FailedError
from igw_cli.objects import CLAIM, DEPLOYMENT, GATEWAY, KINDS, Kind

SUFFIXES = (".yaml", ".yml", ".json")
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
            for file in _files(Path(path)):
                yield str(file), file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            errors.append(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'this is no UTF-8'}")


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())


def _contents(file: str, text: str, errors: list[str]) -> list[Any]:
    try:
        if file.endswith(".json"):
            content = json.loads(text)
            return content if isinstance(content, list) else [content]
        return list(yaml.load_all(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        # Without a quotation: the file may hold a key.
        line = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        errors.append(f"{file}: {line}{error.problem}")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = (
            f"line {error.lineno}: {error.msg}"
            if isinstance(error, json.JSONDecodeError)
            else "cannot be read"
        )
        errors.append(f"{file}: {line}")
    return []


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key written twice, as the files of `igw up -f` do."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001 - PyYAML's signature
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        if repeated := next((key for key in keys if keys.count(key) > 1), None):
            raise yaml.constructor.ConstructorError(
                None, None, f"key {repeated!r} is written twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


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
