"""docs/performance.md: a benchmark's text goes between its own marks, with a line that says what it is of."""

import os
import platform
from collections.abc import Iterable, Sequence
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


def table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], verdicts: Sequence[str] | None = None
) -> str:
    """Give a Markdown table, one line a row: columns without a heading are words, the others numbers; verdicts last."""
    lines = [headings, ["---:" if heading else "---" for heading in headings], *rows]
    if verdicts is not None:
        last = ("targets", "---", *verdicts)
        lines = [(*line, more) for line, more in zip(lines, last, strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def told(verdicts: Iterable[tuple[str, bool]]) -> str:
    """Give targets in words, and whether each is reached."""
    return "; ".join(f"{'reached' if ok else '**missed**'}: {what}" for what, ok in verdicts)


def source(program: str, arguments: Sequence[str]) -> str:
    """Give the line that says what a table is of: the command, the day, the machine."""
    command, day = " ".join((f"python bench/{program}", *arguments)), datetime.now(UTC).date()
    return f"`{command}`, {day}, {os.cpu_count()} cores, Python {platform.python_version()}."
