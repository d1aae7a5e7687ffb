"""Documents in YAML and JSON files: which files a path stands for, what they hold, and why they cannot be read.

Values of any shape come out; what a definition is stands in `files`.
"""

import json
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

SUFFIXES = (".yaml", ".yml", ".json")
MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_REPEATED = 100_000
"""Values that a YAML document has by its aliases alone: a few lines can mean billions."""


def definition_files(path: Path) -> list[Path]:
    """Give the files that a path stands for: itself, or those in the folder. Raises OSError."""
    if not stat.S_ISDIR(path.stat().st_mode):
        return [path]
    return sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and p.is_file())


def told(error: Exception) -> str:
    """Say what is wrong with a file without quoting it: it may hold a key."""
    match error:
        case yaml.MarkedYAMLError(problem=problem, problem_mark=mark) if mark is not None:
            return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
        case yaml.YAMLError():
            return "this is no YAML"
        case OSError():
            return error.strerror or "the system refuses"
        case _:
            return " ".join(str(error).split())


def read(path: Path) -> list[Any]:
    """Give a file's documents. Raises OSError, ValueError, yaml.YAMLError and RecursionError: tell them by `told`."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"larger than {MAX_FILE_BYTES} bytes")
    return parsed(path.read_text(encoding="utf-8"), is_json=path.suffix == ".json")


def parsed(text: str, *, is_json: bool) -> list[Any]:
    """Give a text's documents; errors as `read`. A JSON array is a list of them."""
    if not is_json:
        return list(yaml.load_all(text, Loader=_Loader))
    content = json.loads(text, object_pairs_hook=_unique_pairs)
    return content if isinstance(content, list) else [content]


def single(text: str) -> Any:
    """Give a YAML text's one document, None for an empty one; errors as `read`."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - it is a safe loader


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError(f"key {_repeated(key for key, _ in pairs)!r} is written twice")
    return document


def _repeated(keys: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    return None


class _Loader(yaml.SafeLoader):
    """YAML that refuses what PyYAML takes without a word, or answers with any exception there is."""

    def construct_document(self, node: yaml.Node) -> Any:
        """Refuse aliases that mean far more than is written, or themselves."""
        sizes: dict[int, int] = {}
        if _size(node, sizes) - len(sizes) > MAX_REPEATED:
            raise _error("aliases make this too large", node)
        return super().construct_document(node)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - PyYAML's signature
        """Refuse what a tag does not fit: to PyYAML `!!bool maybe` is a KeyError."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError):
            raise _error(f"this is no {node.tag.rpartition(':')[2]}", node) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        """Refuse a key written twice; PyYAML by itself keeps the last."""
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()  # with a tag it may be anything
        scalars = (key for key, _ in pairs if isinstance(key, yaml.ScalarNode))
        repeated = _repeated(key.value for key in scalars if key.tag != "tag:yaml.org,2002:merge")
        if repeated is not None:
            raise _error(f"key {repeated!r} is written twice", node)
        return super().construct_mapping(node, deep)


def _size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Give how many values a node means; `sizes` has those that are known, by identity, 0 for those begun."""
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise _error("an alias stands within what it means", node)
        return sizes[id(node)]
    sizes[id(node)] = 0
    size = 1
    match node:
        case yaml.SequenceNode():
            size += sum(_size(item, sizes) for item in node.value)
        case yaml.MappingNode():
            size += sum(_size(key, sizes) + _size(value, sizes) for key, value in node.value)
    sizes[id(node)] = size
    return size


def _error(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
