"""docs/performance.md: a benchmark's text goes between its own marks, with a line that says what it is of."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"


def write(mark: str, text: str) -> None:
    """Put text between a mark's comments. Raises ValueError when the page has none."""
    page = PAGE.read_text(encoding="utf-8")
    begin, end = (f"<!-- {mark}:{edge} -->" for edge in ("begin", "end"))
    before, found, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"the page has no {begin} … {end}")
    PAGE.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def source(program: str, arguments: Sequence[str]) -> str:
    """Give the line that says what a table is of: the command, the day, the machine."""
    command, day = " ".join((f"python bench/{program}", *arguments)), datetime.now(UTC).date()
    return f"`{command}`, {day}, {os.cpu_count()} cores, Python {platform.python_version()}."
