"""Definition files in, consistent definitions or all of their errors out.

A file holds YAML or JSON documents `{kind: Gateway|Deployment, spec: {…}}`; a folder stands for the
`.yaml`, `.yml` and `.json` files directly in it. Nothing is watched here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from igw_model.definitions import Definitions, combine, derived_id
from igw_model.deployment import Deployment, parse_deployment
from igw_model.document import FieldError
from igw_model.gateway import Gateway, parse_gateway

from igw_store.documents import SUFFIXES, definition_files, read, told
from igw_store.sources import Source, source


class DefinitionError(NamedTuple):
    """A rule that a definition breaks, and where: file, document (from 1; 0 for the whole file), field path."""

    file: str
    document: int
    path: str
    reason: str

    def __str__(self) -> str:
        place = f"{self.file}, document {self.document}" if self.document else self.file
        return f"{place}: {self.path}: {self.reason}" if self.path else f"{place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the files say: consistent definitions, or every error in them."""

    definitions: Definitions
    errors: tuple[DefinitionError, ...] = ()
    sources: tuple[Source, ...] = ()
    """Each definition as it was written, gateways first."""


@dataclass(frozen=True, slots=True)
class _Document:
    file: str
    number: int
    content: Any

    @property
    def origin(self) -> str:
        """Say where it stands."""
        return f"{self.file}, document {self.number}"


def load(paths: Sequence[Path], organization: str | None = None) -> Loaded:
    """Read definition files; `organization` is for gateways and deployments that name none."""
    errors: list[DefinitionError] = []
    documents: list[_Document] = []
    for path in _files(paths, errors):
        documents += _documents(path, errors)
    origins: dict[int, _Document] = {}
    gateways: list[Gateway] = []
    deployments: list[Deployment] = []
    for document in documents:
        match _parse(document.content, organization):
            case Gateway() as gateway:
                gateways.append(gateway)
                origins[id(gateway)] = document
            case Deployment() as deployment:
                deployments.append(deployment)
                origins[id(deployment)] = document
            case field_errors:
                errors += (DefinitionError(document.file, document.number, *_split(e)) for e in field_errors)
    if errors:
        return Loaded(Definitions(), tuple(errors))
    match combine(gateways, deployments):
        case Definitions() as definitions:
            return Loaded(
                definitions, sources=tuple(_sources([*gateways, *deployments], origins, definitions))
            )
        case violations:
            broken = ((origins[id(value)], error) for value, error in violations)
            return Loaded(
                Definitions(), tuple(DefinitionError(d.file, d.number, e.path, e.reason) for d, e in broken)
            )


def _sources(
    values: Sequence[Gateway | Deployment], origins: Mapping[int, _Document], definitions: Definitions
) -> Iterator[Source]:
    # What was combined is in the order of what went in; each deployment's gateways are ids now.
    resolved: Sequence[Gateway | Deployment] = (*definitions.gateways, *definitions.deployments)
    for value, result in zip(values, resolved, strict=True):
        document = origins[id(value)]
        yield source(document.content["spec"], result, document.origin)


def _split(error: FieldError) -> tuple[str, str]:
    return error.path, error.reason


def _files(paths: Iterable[Path], errors: list[DefinitionError]) -> Iterator[Path]:
    for path in paths:
        try:
            found = definition_files(path)
        except FileNotFoundError:
            errors.append(DefinitionError(str(path), 0, "", "no such file or folder"))
            continue
        except OSError as error:
            errors.append(DefinitionError(str(path), 0, "", f"cannot be read: {error.strerror}"))
            continue
        if not found:
            errors.append(DefinitionError(str(path), 0, "", f"no {', '.join(SUFFIXES)} file in this folder"))
        yield from found


def _documents(path: Path, errors: list[DefinitionError]) -> list[_Document]:
    try:
        contents = read(path)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        errors.append(DefinitionError(str(path), 0, "", f"cannot be read: {told(error)}"))
        return []
    documents = [_Document(str(path), number, content) for number, content in enumerate(contents, 1)]
    documents = [document for document in documents if document.content is not None]
    if not documents:
        # A file that is being written is empty for a moment; taken at its word it would remove everything.
        errors.append(DefinitionError(str(path), 0, "", "holds no definition"))
    return documents


def _parse(content: Any, organization: str | None) -> Gateway | Deployment | list[FieldError]:
    if not isinstance(content, Mapping) or not isinstance(content.get("spec"), Mapping):
        return [FieldError("", "must be an object {kind: Gateway|Deployment, spec: {…}}")]
    unknown = [FieldError(str(key), "unknown field") for key in content if key not in {"kind", "spec"}]
    match content.get("kind"):
        case "Gateway":
            parsed: Gateway | Deployment | list[FieldError] = parse_gateway(
                _completed("gateway", content["spec"], organization)
            )
        case "Deployment":
            parsed = parse_deployment(_completed("deployment", content["spec"], organization))
        case _:
            return [FieldError("kind", "must be Gateway or Deployment"), *unknown]
    if isinstance(parsed, list):
        return [_explained(error) for error in parsed] + unknown
    return unknown or parsed


def _completed(kind: str, spec: Mapping[str, Any], organization: str | None) -> dict[str, Any]:
    """Fill in what a file may leave out: the organisation, and an id that is always the same."""
    completed = dict(spec)
    if completed.get("organizationId") is None and organization:
        completed["organizationId"] = organization
    if completed.get("id") is None:
        completed["id"] = derived_id(
            kind, _text(completed.get("organizationId")), _text(completed.get("name"))
        )
    return completed


def _text(value: Any) -> str:
    """Give a text, and nothing for what is none and will be refused: all of it written out may have no end."""
    return value if isinstance(value, str) else ""


def _explained(error: FieldError) -> FieldError:
    if error == FieldError("organizationId", "is required"):
        return FieldError(error.path, "is required: set it here or with IGW_ORGANIZATION_ID")
    return error
