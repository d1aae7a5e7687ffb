"""The targets by name, and what of one is kept in files."""

import ast
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
NAMES: Final = tuple(sorted(path.stem for path in (FOLDER / "targets").glob("[a-z]*.py")))
"""A target is there by its file's being there."""
INPUT_SECONDS: Final = 1.0
"""Of the processor, for one input; most take a thousandth."""
MOST_FILES: Final = 100
MOST_BYTES: Final = 200_000
"""Of a corpus that is kept."""


@dataclass(frozen=True, slots=True)
class Target:
    """One target, its module imported."""

    name: str
    check: Callable[[bytes], None]
    """Raises AssertionError, or what should never be raised, for an input with which a rule does not hold."""
    max_bytes: int
    """Of an input that is made up."""


def target(name: str) -> Target:
    """Import a target."""
    module = importlib.import_module(f"fuzz.targets.{name}")
    return Target(name, module.check, module.MAX_BYTES)


def packages(name: str) -> list[str]:
    """Give the packages whose code a target watches, without importing them: they are to be instrumented first."""
    tree = ast.parse((FOLDER / "targets" / f"{name}.py").read_text(encoding="utf-8"))
    (watched,) = (
        node.value for node in tree.body if isinstance(node, ast.Assign) and _names(node) == ["WATCHED"]
    )
    return list(ast.literal_eval(watched))


def _names(node: ast.Assign) -> list[str]:
    return [target.id for target in node.targets if isinstance(target, ast.Name)]


def corpus(name: str) -> Path:
    """Give the folder of inputs that are tried first."""
    return FOLDER / "corpus" / name


def found(name: str) -> Path:
    """Give the folder of inputs that once broke something."""
    return FOLDER / "found" / name


def dictionary(name: str) -> Path:
    """Give the file of words that inputs are made of, where there is one (libFuzzer, "Dictionaries")."""
    return FOLDER / "dictionaries" / name


def kept(name: str) -> Iterator[Path]:
    """Give all files of a target that are kept."""
    for folder in (corpus(name), found(name)):
        yield from sorted(path for path in folder.glob("*") if path.is_file())
