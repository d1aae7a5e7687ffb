"""Documents in YAML and JSON files: which files a path stands for, what they hold, and why they cannot be read.

Values of any shape come out; what a definition is stands in `files`.
"""

import json
import stat
from pathlib import Path
from typing import Any

import yaml

SUFFIXES = (".yaml", ".yml", ".json")
MAX_FILE_BYTES = 16 * 1024 * 1024


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
        return list(yaml.load_all(text, Loader=_UniqueKeyLoader))
    content = json.loads(text, object_pairs_hook=_unique_pairs)
    return content if isinstance(content, list) else [content]


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} is written twice")
    return document


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML that refuses a key written twice; PyYAML by itself keeps the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        repeated = next((key for key in keys if keys.count(key) > 1), None)
        if repeated is not None:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {repeated!r} is written twice", node.start_mark
            )
        return super().construct_mapping(node, deep)
